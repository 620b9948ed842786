"""`tidemark audit` at the terminal: differences to standard output, progress and summary to standard error."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from services.aggregator.audit.run import AuditSettings, Options, Summary, audit
from services.aggregator.audit.store import AuditFailed, Difference
from services.aggregator.topic_reader import TopicUnreadable
from services.runtime.clock import SystemClock
from services.runtime.registry import RegistryUnavailable
from services.runtime.settings import exit_with, load_or_exit

CLEAN, DIFFERENT, UNUSABLE = 0, 1, 2
_LINE_SECONDS = 5.0


def run(options: Options) -> int:
    """Audit and print; returns the exit code: 0 clean, 1 when anything differs."""
    settings = load_or_exit(AuditSettings)
    summary = Summary()
    try:
        with ProgressBar("audit") as bar:
            for difference in audit(settings, options, SystemClock(), bar.show, summary):
                for line in lines(difference):
                    bar.print(line)
    except (AuditFailed, TopicUnreadable, RegistryUnavailable) as error:
        exit_with(str(error), UNUSABLE)
    verdict = f"{summary.differences} differ" if summary.differences else "no differences"
    share = f", a sample of {options.sample.fraction:.2%}" if options.sample.fraction < 1 else ""
    print(  # noqa: T201 - a command line prints
        f"audit: {verdict}; {summary.rows} rows in {summary.parts} parts and {summary.rollups} rollups "
        f"in {summary.seconds:.1f} s{share}",
        file=sys.stderr,
    )
    return DIFFERENT if summary.differences else CLEAN


def lines(difference: Difference) -> list[str]:
    """A difference as tab-separated lines, one a field."""
    return [
        "\t".join(
            (
                difference.check,
                difference.workspace_id,
                difference.label,
                name,
                f"stored {_text(stored)}",
                f"recomputed {_text(recomputed)}",
            )
        )
        for name, stored, recomputed in difference.fields
    ]


def _text(value: str | None) -> str:
    return "null" if value is None else value.replace("\t", " ").replace("\n", " ")


class ProgressBar:
    """A bar on a terminal, a line every few seconds elsewhere; both on standard error.

    Args:
        title: of what is done.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._console = Console(stderr=True)
        self._bar: Bar | None = None
        self._said_at = time.monotonic()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task(self._title, total=None)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, what: str, done: int, steps: int) -> None:
        """Say how far it is."""
        if self._bar is not None:
            self._bar.update(self._task, description=f"{self._title}: {what}", completed=done, total=steps)
        elif time.monotonic() - self._said_at >= _LINE_SECONDS:
            self._said_at = time.monotonic()
            print(f"{self._title}: {done} of {steps}, {what}", file=sys.stderr, flush=True)  # noqa: T201

    def print(self, line: str) -> None:
        """Print a line to standard output without disturbing the bar."""
        if self._bar is not None and sys.stdout.isatty():
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, flush=True)  # noqa: T201
