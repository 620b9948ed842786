"""`tidemark workspace`: what concerns one tenant as a whole."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from services.commands.usable import usable
from services.runtime.settings import exit_with

workspace = typer.Typer(help="What concerns one workspace as a whole.", no_args_is_help=True)


@workspace.command("export")
def workspace_export(
    name: Annotated[str, typer.Argument(help="The workspace.", metavar="WORKSPACE")],
    file: Annotated[Path, typer.Argument(help="The new file.", dir_okay=False)],
) -> None:
    """Write everything that is held of a workspace to a new file: catalog, answers and figures; no tokens, no keys."""
    from services.aggregator.audit.run import AuditSettings
    from services.aggregator.backup.command import run_export

    usable(AuditSettings, role="workspace-export")
    raise typer.Exit(run_export(name, file))


@workspace.command("delete")
def workspace_delete(
    name: Annotated[str, typer.Argument(help="The workspace.", metavar="WORKSPACE")],
    yes: Annotated[bool, typer.Option("--yes", help="Delete without a question.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the proof as JSON.")] = False,
    wait_seconds: Annotated[float, typer.Option(min=0, help="How long the aggregator may take to follow.")] = 120,
) -> None:
    """Delete everything that is held of a workspace for good, and prove it; goes on where it was stopped."""
    from schemas.keys import is_id
    from services.aggregator.audit.run import AuditSettings
    from services.aggregator.erase.command import run

    if not is_id(name):
        exit_with(f"{name!r} is no workspace id: 1-128 characters of A-Z, a-z, 0-9 and ._:-")
    if not yes:
        if not sys.stdin.isatty():
            exit_with(f"this deletes everything of workspace {name} for good; add --yes if that is meant")
        if typer.prompt(f"This deletes everything of workspace {name} for good. Its name, to confirm") != name:
            exit_with("not confirmed; nothing was deleted", 1)
    usable(AuditSettings, role="workspace-delete")
    raise typer.Exit(run(name, wait_seconds, is_json=as_json))
