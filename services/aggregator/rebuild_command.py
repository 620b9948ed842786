"""The console side of `tidemark rebuild`: settings, a progress bar, an exit code."""

from __future__ import annotations

import asyncio
import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from services.aggregator.audit.run import AuditSettings
from services.aggregator.audit.store import AuditFailed
from services.aggregator.clickhouse import ClickHouse
from services.aggregator.rebuild import Step, run_rebuild
from services.aggregator.rebuild_runs import RebuildError
from services.aggregator.survey import Survey
from services.aggregator.topic_reader import TopicUnreadable
from services.runtime import stopping
from services.runtime.clock import SystemClock
from services.runtime.patience import saying
from services.runtime.registry import RegistryUnavailable
from services.runtime.settings import SettingsError, exit_with
from services.runtime.wording import counted

_LINE_SECONDS = 2.0
_SILENT_SECONDS = 8.0
_UNITS = {
    "looking": "partitions of topics compared with the tables",
    "mending": "partitions with their catalog mirrored anew",
    "folding": "events folded",
    "handover": "partitions handed over",
    "done": "partitions on the new generation",
}


class _Display:
    """Shows a rebuild's progress: a bar on a terminal, a line every two seconds elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"), TimeRemainingColumn(), console=console,
        )  # fmt: skip
        self._task: TaskID | None = None
        self._phase = ""
        self._began = (0.0, 0)
        self._told_at = 0.0
        self.line = "rebuild: starting"

    def show(self, step: Step) -> None:
        """Show the progress: redraw the bar, or print a line at most every two seconds."""
        now = time.monotonic()
        if step.phase != self._phase:
            self._phase, self._began, self._told_at = step.phase, (now, step.done), 0.0
            if self._task is not None:
                self._progress.stop_task(self._task)
            self._task = None
        rate = (step.done - self._began[1]) / max(0.001, now - self._began[0])
        text = f"{rate:,.0f}/s" if step.phase == "folding" else ""
        self.line = f"rebuild: {_UNITS[step.phase]}: {step.done} of {step.total}"
        if self._console.is_terminal:
            if self._task is None:
                self._progress.start()
                self._task = self._progress.add_task(_UNITS[step.phase], total=step.total, rate=text)
            self._progress.update(self._task, completed=step.done, total=step.total, rate=text)
        elif now - self._told_at > _LINE_SECONDS or step.done >= step.total:
            self._told_at = now
            self._console.print(f"{_UNITS[step.phase]}: {step.done} of {step.total} {text}".rstrip())

    def wait(self, line: str) -> None:
        """Print why nothing happens yet; each line once."""
        if line != self.line:
            self.line = line
            self._console.print(line)

    def stop(self) -> None:
        """Remove the bar, and leave the terminal as it was before."""
        self._progress.stop()


def run(handover_seconds: float, *, is_taking_over: bool) -> int:
    """Run a rebuild, or continue a stopped one; returns the exit code.

    Args:
        handover_seconds: how long to wait for the owners of partitions.
        is_taking_over: go on in the place of a run that lives.
    """
    try:
        settings = AuditSettings.load()
    except SettingsError as error:
        exit_with(str(error))
    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    display = _Display(console)
    store = ClickHouse(settings)
    clock = SystemClock()
    survey = Survey(settings, clock)
    started = time.monotonic()
    try:
        with saying(lambda: display.line, every_seconds=_SILENT_SECONDS):
            unmapped = asyncio.run(
                run_rebuild(
                    store,
                    clock,
                    settings.topic_partitions,
                    survey,
                    display.show,
                    handover_seconds,
                    is_taking_over=is_taking_over,
                    on_wait=display.wait,
                )
            )
    except (RebuildError, AuditFailed, TopicUnreadable, RegistryUnavailable) as error:
        exit_with(str(error), 1)
    except KeyboardInterrupt:
        exit_with("stopped; run `tidemark rebuild` again to continue from here", stopping.exit_code())
    finally:
        display.stop()
        store.close()
    for reason, count in sorted(unmapped.items()):
        console.print(f"{counted(count, 'event')} could not be mapped: {reason}")
    console.print(f"rebuilt in {time.monotonic() - started:.0f} s")
    return 0
