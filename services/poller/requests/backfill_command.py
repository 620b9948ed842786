"""`tidemark poller backfill` at the terminal."""

# ruff: noqa: T201 - a command line prints

from __future__ import annotations

import asyncio
import sys

from services.poller.errors import Stop
from services.poller.requests.backfill_run import BackfillError, BackfillSettings, Outcome, Wanted, run_backfill
from services.runtime import stopping
from services.runtime.clock import SystemClock, iso_seconds
from services.runtime.logging import configure_logging
from services.runtime.progress import ProgressBar
from services.runtime.registry import RegistryUnavailable
from services.runtime.settings import exit_with, load_or_exit
from services.runtime.since import parse_since


def run(workspace: str, since: str, channel: str | None, *, anew: bool) -> int:
    """Run or go on with a backfill; returns the exit code."""
    now = SystemClock().now()
    try:
        instant = parse_since(since, now)
    except ValueError as error:
        exit_with(str(error))
    if instant >= now:
        exit_with(f"--since {since!r} is not in the past")
    settings = load_or_exit(BackfillSettings)
    configure_logging("backfill", "WARNING")
    try:
        with ProgressBar("backfill") as bar:
            outcome = asyncio.run(
                run_backfill(settings, Wanted(workspace, channel or "", instant), bar.show, anew=anew)
            )
    except (BackfillError, Stop, RegistryUnavailable) as error:
        exit_with(str(error), 1)
    except KeyboardInterrupt:
        exit_with("stopped; run the same command again to go on from here", stopping.exit_code())
    _say(outcome)
    return 0


def _say(outcome: Outcome) -> None:
    if outcome.resumed is not None:
        print(f"went on with the backfill begun at {iso_seconds(outcome.resumed)}")
    print(f"{outcome.targets} targets answered, {outcome.refused} without figures, in {outcome.parts} requests")
    for channel, why in sorted(outcome.left_out.items()):
        print(f"tidemark: channel {channel} was left out: {why}", file=sys.stderr)
