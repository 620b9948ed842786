"""`tidemark workspace`: what concerns one tenant as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.commands.usable import usable

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
