"""Helpers for the wording of messages to people. Pure."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """A count with its noun in the right number: `1 row`, `0 rows`, `2 rows`. For nouns whose plural takes an s."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
