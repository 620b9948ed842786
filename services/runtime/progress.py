"""Progress of a command: a bar at a terminal, elsewhere a line every few seconds."""

# ruff: noqa: T201 - a command line prints

from __future__ import annotations

import sys
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from services.runtime.patience import saying


class ProgressBar:
    """Shows progress on standard error, so that standard output can be piped.

    Args:
        title: a few words that name the work.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._console = Console(stderr=True)
        self._bar: Progress | None = None
        self._line = f"{title}: starting"
        self._speaking = ExitStack()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar = Progress(
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
        else:
            # By the clock and not by steps, since a step can wait for an engine that does not answer.
            self._speaking.enter_context(saying(lambda: self._line))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._speaking.close()
        if self._bar is not None:
            self._bar.stop()

    def show(self, what: str, done: int, steps: int) -> None:
        """Show that `done` of `steps` steps are done, and what the present step is."""
        if self._bar is not None:
            self._bar.update(self._task, description=f"{self._title}: {what}", completed=done, total=steps)
        else:
            self._line = f"{self._title}: {done} of {steps}, {what}"

    def print(self, line: str) -> None:
        """Print a line to standard output without disturbing the bar."""
        if self._bar is not None and sys.stdout.isatty():
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, flush=True)
