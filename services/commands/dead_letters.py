"""`tidemark dead-letters`: list, show and redrive raw events that could not be mapped."""

from __future__ import annotations

from typing import Annotated

import typer

from services.commands.usable import usable
from services.runtime.settings import exit_with

dead_letters = typer.Typer(help="Look at raw events that could not be mapped.", no_args_is_help=True)

Reasons = Annotated[list[str] | None, typer.Option("--reason", help="Only this reason; may be repeated.")]
OfWorkspace = Annotated[str | None, typer.Option("--workspace", help="Only this workspace.")]
Since = Annotated[str | None, typer.Option(help="Failed since: 15m, 2h, 3d ago, or an ISO instant.")]


@dead_letters.command("list")
def dead_letters_list(
    reason: Reasons = None,
    workspace: OfWorkspace = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many of the newest letters to print.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Print time, origin, workspace, reason and detail of each dead letter, oldest first."""
    from services.aggregator.dead_letter_commands import DeadLetterSettings, list_letters, make_filter

    usable(DeadLetterSettings, role="dead-letters")
    list_letters(make_filter(reason, workspace, since), limit, as_json=as_json)


@dead_letters.command("show")
def dead_letters_show(
    origin: Annotated[str, typer.Argument(help="topic/partition/offset, as `list` prints it.")],
) -> None:
    """Print one dead letter with its payload, anything like a token blanked."""
    from services.aggregator.dead_letter_commands import DeadLetterSettings, show

    usable(DeadLetterSettings, role="dead-letters")
    raise typer.Exit(show(origin))


@dead_letters.command("redrive")
def dead_letters_redrive(
    reason: Reasons = None,
    every_reason: Annotated[bool, typer.Option("--every-reason", help="Letters of every reason.")] = False,
    workspace: OfWorkspace = None,
    since: Since = None,
    dry_run: Annotated[bool, typer.Option(help="Only print how many messages would be sent.")] = False,
) -> None:
    """After a fix: send the messages of dead letters to platform.raw again, in order; safe to repeat."""
    from services.aggregator.dead_letter_commands import DeadLetterSettings, make_filter, redrive

    usable(DeadLetterSettings, role="redrive")
    if bool(reason) == every_reason:
        exit_with("say which reasons: --reason REASON (may be repeated), or --every-reason")
    raise typer.Exit(redrive(make_filter(reason, workspace, since), is_dry=dry_run))
