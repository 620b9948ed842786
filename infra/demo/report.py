"""Prints each answer's request, first lines and count of checked figures; whole answers go to a file."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.markup import escape

HEAD_LINES = 3
HEAD_WIDTH = 118
SHOWN_DIFFERENCES = 10


class Report:
    """Collects the demo's requests, answers and comparisons.

    Args:
        answers: file for whole answers and all comparisons, written anew. None: no file.

    Attributes:
        compared: how many figures were compared.
        wrong: one line for each figure that differs.
    """

    def __init__(self, console: Console, answers: Path | None = None) -> None:
        self.console = console
        self.compared = 0
        self.wrong: list[str] = []
        self._answers = answers
        self._counted = (0, 0)
        if answers is not None:
            answers.parent.mkdir(parents=True, exist_ok=True)
            answers.write_text("", encoding="utf-8")

    def equal(self, what: str, seen: Any, expected: Any) -> None:
        """Compare the answer's value with the expected one, and note the result."""
        self.compared += 1
        if seen == expected:
            self._write(f"right: {what}: {seen!r}")
            return
        difference = f"{what}: the answer has {seen!r}, the sandbox served {expected!r}"
        self.wrong.append(difference)
        self._write(f"WRONG: {difference}")

    def show(self, title: str, request: str, answer: Any) -> None:
        """Print the first lines of an answer under its product's name; later comparisons belong to this answer."""
        self.finish()
        self._write(f"\n== {title}: {request}\n{orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode()}")
        self.console.print(f"\n[bold]{escape(title)}[/bold]  [dim]{escape(request)}[/dim]")
        text = json.dumps(answer, ensure_ascii=False)
        lines = textwrap.wrap(text, HEAD_WIDTH, break_on_hyphens=False)
        for line in lines[:HEAD_LINES]:
            self.console.print(escape(line))
        if len(lines) > HEAD_LINES:
            self.console.print(f"[dim]... and {_counted(len(lines) - HEAD_LINES, 'more line')}[/dim]")

    def finish(self) -> None:
        """Print how many figures were checked since the last answer was shown."""
        compared, wrong = self.compared - self._counted[0], len(self.wrong) - self._counted[1]
        self._counted = (self.compared, len(self.wrong))
        if compared:
            verdict = f"[red]{wrong} of them wrong[/red]" if wrong else "[green]all as the sandbox served them[/green]"
            self.console.print(f"checked: {_counted(compared, 'figure')}, {verdict}")

    def show_differences(self) -> None:
        """Print the first figures that differ, and how many more there are."""
        for line in self.wrong[:SHOWN_DIFFERENCES]:
            self.console.print(f"[red]wrong[/red] {escape(line)}")
        if len(self.wrong) > SHOWN_DIFFERENCES:
            self.console.print(f"... and {len(self.wrong) - SHOWN_DIFFERENCES} more")

    def _write(self, text: str) -> None:
        if self._answers is not None:
            with self._answers.open("a", encoding="utf-8") as file:
                file.write(text + "\n")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
