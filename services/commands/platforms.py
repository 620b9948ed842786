"""`tidemark platforms`: what a platform takes of a channel, asked before or beside the polls."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from services.commands.usable import usable

platforms = typer.Typer(help="See what a platform takes of a channel.", no_args_is_help=True)


@platforms.command("check")
def platforms_check(
    platform: Annotated[str, typer.Option(help="The platform's name, such as instagram.")],
    channel: Annotated[
        str, typer.Option(help="The channel; with a token given here, the platform's id of the account.")
    ],
    workspace: Annotated[str | None, typer.Option(help="The channel's workspace; by default all are searched.")] = None,
    post: Annotated[
        list[str] | None, typer.Option(help="The platform's id of a post to ask for; may be repeated.")
    ] = None,
    post_type: Annotated[str, typer.Option(help="Of these posts, such as instagram-reel.")] = "",
    token_file: Annotated[
        Path | None, typer.Option(help="Holds an access token; then no catalog is needed. Or TIDEMARK_CHECK_TOKEN.")
    ] = None,
) -> None:
    """Make one of each call for a channel and print what works, what is refused, and what mends it; exits 1 then."""
    from services.platforms import configured_platforms
    from services.poller.requests.check_command import TOKEN_VARIABLE, Wanted, run, unknown_platform

    if platform not in configured_platforms({}):
        unknown_platform(platform)
    if token_file is None and not os.environ.get(TOKEN_VARIABLE):
        from services.poller.requests.check_catalog import CheckSettings

        usable(
            CheckSettings,
            role="platforms-check",
            otherwise=f"or check an account that is in no catalog, by a token: --token-file FILE, or {TOKEN_VARIABLE}",
        )
    raise typer.Exit(run(Wanted(platform, channel, workspace, post or (), post_type, token_file)))
