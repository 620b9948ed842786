"""The public views of ClickHouse as the migrations leave them: what analysts and their tools may rely on. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from schemas.clickhouse_rights import MIGRATIONS_DIR

PUBLIC: Final = (
    "post_snapshots",
    "channel_snapshots",
    "latest_post_metrics",
    "post_totals",
    "channel_totals",
    "posts",
    "channels",
    "raw_events",
)
"""The views that the contract names, in its order."""

_CREATED = re.compile(r"CREATE (?:OR REPLACE VIEW|VIEW IF NOT EXISTS) (\w+) [^\n]*\(\n(.*?)\n\) AS ", re.DOTALL)
_COLUMN = re.compile(r"^ {4}`([A-Za-z_.]+)` (.+?) COMMENT '((?:[^']|'')*)',?$")
_COMMENT = re.compile(r"\nCOMMENT '((?:[^']|'')*)';")


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its type in ClickHouse's words, and its comment."""

    name: str
    type: str
    comment: str

    @property
    def is_nullable(self) -> bool:
        """Whether null is among its values."""
        return "Nullable(" in self.type

    @property
    def is_time(self) -> bool:
        """Whether it holds instants."""
        return "DateTime" in self.type


@dataclass(frozen=True, slots=True)
class View:
    """One public view."""

    name: str
    comment: str
    columns: tuple[Column, ...]


@cache
def public_views(folder: Path = MIGRATIONS_DIR) -> dict[str, View]:
    """Every public view by name, in the contract's order, as the newest migration defines it.

    Raises:
        ValueError: a line among a view's columns is no column with a comment.
    """
    found = {}
    for path in sorted(folder.glob("*.sql")):
        text = path.read_text(encoding="utf-8")
        for match in _CREATED.finditer(text):
            comment = _COMMENT.search(text, match.end())
            if comment is None:
                raise ValueError(f"{path.name}: the view {match[1]} has no comment")
            columns = tuple(_column(path, line) for line in match[2].splitlines())
            found[match[1]] = View(match[1], _unquoted(comment[1]), columns)
    return {name: found[name] for name in PUBLIC}


def _column(path: Path, line: str) -> Column:
    match = _COLUMN.match(line)
    if match is None:
        raise ValueError(f"{path.name}: no column with a comment: {line.strip()}")
    return Column(match[1], match[2], _unquoted(match[3]))


def _unquoted(text: str) -> str:
    return text.replace("''", "'")
