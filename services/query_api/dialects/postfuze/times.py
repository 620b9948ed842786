"""Instants as PostFuze's range parameters take them. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from services.query_api.errors import Invalid
from services.runtime.clock import to_millis

_UNIX_SECONDS = re.compile(r"[0-9]{1,11}", re.ASCII)
# A `+` that nobody encoded arrives as a space.
_ISO = re.compile(r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)([Zz]|[ +-]\d\d:?\d\d)?)?", re.ASCII)
# The last instant that every store can hold and every reply can show.
_LATEST = datetime(2200, 1, 1, tzinfo=UTC)
_EARLIEST = datetime(1, 1, 2, tzinfo=UTC)


def parse_time(name: str, text: str) -> int:
    """Digits are unix seconds; ISO 8601 without an offset is UTC, and a date alone its midnight.

    Args:
        name: of the parameter, for the refusal.

    Returns:
        ms.

    Raises:
        Invalid: it is neither, or a time that doesn't exist.
    """
    if _UNIX_SECONDS.fullmatch(text):
        seconds = int(text)
        if seconds < _LATEST.timestamp():
            return seconds * 1000
    elif (iso := _ISO.fullmatch(text)) is not None:
        day, time, offset = iso.groups()
        try:
            moment = datetime.fromisoformat(f"{day}T{time or '00:00'}{(offset or 'Z').upper().replace(' ', '+')}")
            if _EARLIEST <= moment < _LATEST:
                return to_millis(moment)
        except (ValueError, OverflowError):
            pass  # such a day, hour or offset doesn't exist
    raise Invalid(f"{name}: must be unix seconds or an ISO 8601 time before the year 2200.")
