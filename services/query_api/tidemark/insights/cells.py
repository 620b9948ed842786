"""The hours of the week in which the hours of a span lie, by the clock of a zone. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from zoneinfo import ZoneInfo

from services.query_api.tidemark.analysis.ranges import Span
from services.runtime.clock import utc

HOURS = 24
CELLS = 7 * HOURS


def cells_of(hours: Sequence[Span], tz: ZoneInfo) -> list[int]:
    """The cell of each hour: 0 for Monday from 0 to 1 o'clock, up to 167 for Sunday from 23 to 24 o'clock."""
    found = []
    for hour in hours:
        local = utc(hour.start).astimezone(tz)
        found.append(local.weekday() * HOURS + local.hour)
    return found
