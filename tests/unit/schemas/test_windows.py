"""Windows of a channel: which of the platform's own days make one."""

from __future__ import annotations

import pytest

from schemas.metrics import CH_VIEWS, NO_CHANNEL_VALUES, VIEWS
from schemas.windows import DAY, HOUR, ChannelPeriod, window_totals

# A midnight; days that are told end at it or a few days before.
MIDNIGHT = 20_000 * DAY


def day(start: int, end: int) -> ChannelPeriod:
    values = list(NO_CHANNEL_VALUES)
    values[CH_VIEWS] = 10
    return ChannelPeriod("day", start, end, tuple(values))


@pytest.mark.parametrize("shift", [-HOUR, 0, HOUR])
def test_a_change_of_the_clock_leaves_no_gap(shift: int) -> None:
    # Days before the change end an hour off the midnight at which the first day after it begins.
    after = [day(MIDNIGHT - (n + 1) * DAY, MIDNIGHT - n * DAY) for n in range(3)]
    before = [day(MIDNIGHT - (n + 1) * DAY + shift, MIDNIGHT - n * DAY + shift) for n in range(3, 7)]
    found = window_totals([], [*before, *after], 7 * DAY, MIDNIGHT + HOUR, is_measured=False)
    assert (found.source, found.start, found.end) == ("channel", MIDNIGHT - 7 * DAY + shift, MIDNIGHT)
    assert found.values[VIEWS] == 70


def test_a_missing_day_makes_no_window() -> None:
    days = [day(MIDNIGHT - (n + 1) * DAY, MIDNIGHT - n * DAY) for n in range(8) if n != 3]
    found = window_totals([], days, 7 * DAY, MIDNIGHT + HOUR, is_measured=True)
    assert found.source == "posts"
    assert window_totals([], days, DAY, MIDNIGHT + HOUR, is_measured=True).source == "channel"
