"""`tidemark backup`: what can't be made again, in one file, and back into an empty installation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from services.commands.usable import usable

backup = typer.Typer(help="Save what can't be made again to a file, and restore it.", no_args_is_help=True)
File = Annotated[Path, typer.Argument(help="The backup's file.", dir_okay=False)]


@backup.command("create")
def backup_create(
    file: File,
    wait_seconds: Annotated[
        float, typer.Option(min=0, help="How long the aggregator may take to store what platform.raw holds.")
    ] = 60,
) -> None:
    """Write catalog, tokens (as ciphertext), keys (as hashes) and raw events to a new file that you alone can read."""
    from services.aggregator.backup.command import BackupSettings, run_create

    usable(BackupSettings, role="backup")
    raise typer.Exit(run_create(file, wait_seconds))


@backup.command("restore")
def backup_restore(
    file: File,
    force: Annotated[
        bool, typer.Option("--force", help="Also into an installation that holds data: the backup comes on top.")
    ] = False,
    lost: Annotated[
        Literal["everything", "kafka", "clickhouse", "registry"],
        typer.Option(help="What is gone; of what is not, nothing is replaced by an older state."),
    ] = "everything",
) -> None:
    """Verify a backup, then write what was lost from it; goes on with a restore that was stopped."""
    from services.aggregator.backup.command import BackupSettings, run_restore

    usable(BackupSettings, role="restore")
    raise typer.Exit(run_restore(file, is_forced=force, lost=lost))
