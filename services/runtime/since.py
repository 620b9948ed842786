"""Instants as people write them at the command line. Pure."""

from __future__ import annotations

import re

from services.runtime.instants import parse_instant

_AGO = re.compile(r"(\d+)([smhd])")
_UNIT_MILLIS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def parse_since(text: str, now: int) -> int:
    """Parse an age (`90s`, `15m`, `2h`, `3d`), or an instant as in every parameter (`instants.py`), to ms.

    Args:
        now: the instant that ages count back from, ms.

    Raises:
        ValueError: the text is neither.
    """
    if match := _AGO.fullmatch(text):
        return now - int(match[1]) * _UNIT_MILLIS[match[2]]
    try:
        return parse_instant(text)
    except ValueError as error:
        raise ValueError(f"--since {text!r} is neither like 15m, 2h or 3d nor an instant: {error}") from None
