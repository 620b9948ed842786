"""Shows the services' states to the person at the terminal: a live table while they start, single lines otherwise."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.table import Table

from infra.embedded.console import say
from infra.embedded.service import State

REMINDER_SECONDS = 5.0
REFRESHES_PER_SECOND = 4


class Display(Protocol):
    """Receives every change of a service's state."""

    def show(self, service: str, state: State, detail: str = "") -> None:
        """A service came to a state; `detail` is a few words, such as "in 3.1 s"."""

    def tick(self) -> None:
        """Called several times a second, to redraw or to name the services still awaited."""

    def settle(self) -> None:
        """Called when the start is over: from now on only changes are shown."""


class LineDisplay:
    """One line for each change, and every few seconds a line with the services still awaited; for logs and pipes."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._reminded_at = time.monotonic()

    def show(self, service: str, state: State, detail: str = "") -> None:
        self._since.pop(service, None)
        if state is State.STARTING:
            self._since[service] = time.monotonic()
        if state is not State.WAITING:
            say(f"{service} {state}{'…' if state is State.STARTING else ''} {detail}".rstrip())

    def tick(self) -> None:
        now = time.monotonic()
        if self._since and now - self._reminded_at >= REMINDER_SECONDS:
            self._reminded_at = now
            waits = [f"{name} ({now - since:.0f} s)" for name, since in self._since.items()]
            say(f"waiting for {', '.join(waits)}")

    def settle(self) -> None:
        """Does nothing: single lines need no last state."""


class TableDisplay:
    """A table that is redrawn in place until everything is ready, then lines."""

    def __init__(self, services: Sequence[str]) -> None:
        self._rows: dict[str, tuple[State, str, float]] = {
            name: (State.WAITING, "", time.monotonic()) for name in services
        }
        self._live: Live | None = Live(
            self._table(), console=Console(stderr=True), refresh_per_second=REFRESHES_PER_SECOND
        )
        self._live.start()
        self._lines = LineDisplay()

    def show(self, service: str, state: State, detail: str = "") -> None:
        self._rows[service] = (state, detail, time.monotonic())
        if self._live is None:
            self._lines.show(service, state, detail)
        else:
            self._live.update(self._table())

    def tick(self) -> None:
        if self._live is None:
            self._lines.tick()
        else:
            self._live.update(self._table())

    def settle(self) -> None:
        if self._live is not None:
            self._live.update(self._table())
            self._live.stop()
            self._live = None

    def _table(self) -> Table:
        table = Table(box=None, show_header=False, pad_edge=False)
        styles = {State.READY: "green", State.DONE: "green", State.DOWN: "red", State.STARTING: "yellow"}
        for name, (state, detail, since) in self._rows.items():
            running = f"{time.monotonic() - since:.0f} s" if state is State.STARTING and not detail else detail
            table.add_row(name, f"[{styles.get(state, 'dim')}]{state}[/]", running)
        return table


def display_for(services: Sequence[str]) -> Display:
    """A table on a terminal, lines elsewhere."""
    if Console(stderr=True).is_terminal:
        return TableDisplay(services)
    return LineDisplay()
