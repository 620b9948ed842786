"""`tidemark catalog`: write channels and posts through the admin API, and export them from their topics."""

# ruff: noqa: T201 - a command line prints

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from services.commands.admin_api import (
    LOCAL,
    AdminKey,
    ApiUrl,
    Workspace,
    Written,
    ask,
    checked_id,
    checked_ids,
    order,
    workspace_path,
)
from services.commands.usable import usable
from services.runtime.settings import exit_with

catalog = typer.Typer(help="Write channels and posts, through the admin API.", no_args_is_help=True)


@catalog.command("apply")
def catalog_apply(
    file: Annotated[
        typer.FileBinaryRead, typer.Argument(help="NDJSON, one channel or post a line; - reads standard input.")
    ],
    admin_key: AdminKey,
    api: ApiUrl = LOCAL,
) -> None:
    """Write many channels and posts; prints each rejected line, and exits 1 when any was rejected."""
    lines = file.read()
    answer = ask("POST", api, admin_key, "/admin/v1/catalog", Written, content=lines)
    print(f"accepted {answer.accepted}, rejected {len(answer.rejected)}")
    for rejected in answer.rejected:
        print(f"line {rejected.line}: {rejected.error}", file=sys.stderr)
    for workspace, named in _channels_named(lines).items():
        known = ask("GET", api, admin_key, workspace_path(workspace), Workspace).channels
        for channel in sorted(named - {held.channel_id for held in known}):
            print(
                f"tidemark: a post of {workspace} names the channel {channel}, which the catalog does not hold; the "
                "target is not polled until the channel is written",
                file=sys.stderr,
            )
    raise typer.Exit(1 if answer.rejected else 0)


def _channels_named(lines: bytes) -> dict[str, set[str]]:
    """The channels named by the posts among catalog lines, by workspace; lines that can't be read are passed over."""
    from schemas.keys import is_id

    found: dict[str, set[str]] = {}
    for line in lines.splitlines():
        try:
            written = json.loads(line)
            if written["type"] == "post":
                named = {target["channel_id"] for target in written.get("targets", [])}
                if is_id(written["workspace_id"]):
                    found.setdefault(written["workspace_id"], set()).update(filter(is_id, named))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue  # the API's answer names such a line
    return found


@catalog.command("export")
def catalog_export(workspace: Annotated[str | None, typer.Option(help="Only this workspace.")] = None) -> None:
    """Print all channels and posts as the lines that `catalog apply` reads; tokens are left out."""
    from services.aggregator.catalog_export import ExportSettings, exported
    from services.aggregator.topic_reader import TopicUnreadable
    from services.runtime.registry import RegistryUnavailable

    settings = usable(ExportSettings, role="catalog-export")
    try:
        for line in exported(settings, workspace):
            print(json.dumps(line, ensure_ascii=False))
    except (TopicUnreadable, RegistryUnavailable) as error:
        exit_with(str(error), 1)


@catalog.command("delete")
def catalog_delete(
    workspace: Annotated[str, typer.Argument(help="The workspace.", callback=checked_id)],
    admin_key: AdminKey,
    channel: Annotated[
        list[str] | None, typer.Option(help="A channel's id; may be repeated.", callback=checked_ids)
    ] = None,
    post: Annotated[list[str] | None, typer.Option(help="A post's id; may be repeated.", callback=checked_ids)] = None,
    api: ApiUrl = LOCAL,
) -> None:
    """Delete channels and posts: they read 404 everywhere, and a later write restores them with their history."""
    if not channel and not post:
        exit_with("say what to delete: --channel ID or --post ID (both may be repeated)")
    for kind, ids in (("channels", channel), ("posts", post)):
        for own_id in ids or ():
            order("DELETE", api, admin_key, workspace_path(workspace, kind, own_id))
            print(f"deleted {own_id}")
