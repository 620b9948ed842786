"""Instants in a zone, the buckets of a span, the span before."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.query_api.tidemark.analysis.ranges import (
    MOST_BUCKETS,
    Span,
    Step,
    before,
    buckets,
    shown,
    zone,
)
from services.runtime.clock import to_millis, utc
from services.runtime.instants import parse_instant, start_of_day

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
# With changes of the clock at midnight, at noon of UTC, by half hours, and hours that begin at a quarter.
ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",
    "America/Havana",
    "Asia/Kathmandu",
    "Asia/Kolkata",
]
# Instants shortly before a change of the clock in some of them.
CHANGES = [
    "2026-03-28T12:00Z", "2026-10-24T12:00Z", "2026-03-07T12:00Z", "2026-10-31T12:00Z", "2018-11-03T12:00Z",
    "2018-02-17T12:00Z",
]  # fmt: skip


def at(text: str) -> int:
    return to_millis(datetime.fromisoformat(text))


spans = st.builds(
    lambda change, offset, minutes: Span(at(change) + offset, at(change) + offset + minutes * MINUTE),
    st.sampled_from(CHANGES),
    st.integers(-DAY, DAY),
    st.integers(1, 3 * 24 * 60),
)


@given(span=spans, name=st.sampled_from(ZONES), step=st.sampled_from(Step))
def test_buckets_begin_where_hours_or_days_of_the_zone_do(span: Span, name: str, step: Step) -> None:
    tz = zone(name)
    found = buckets(span, step, tz)

    def piece(instant: int) -> object:
        local = utc(instant).astimezone(tz)
        # An hour that comes twice is two hours.
        return local.date() if step is Step.DAY else (local.date(), local.hour, local.utcoffset())

    minutes = range(span.start // MINUTE * MINUTE + MINUTE, span.end, MINUTE)
    edges = [instant for instant in minutes if piece(instant) != piece(instant - 1)]
    assert [bucket.start for bucket in found] == [span.start, *edges]
    assert [bucket.end for bucket in found] == [*edges, span.end]


@given(
    start=st.integers(0, 7 * 10**12),
    length=st.integers(1, 40 * DAY),
    name=st.sampled_from(["Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca"]),
)
def test_each_instant_is_in_exactly_one_bucket(start: int, length: int, name: str) -> None:
    for step, longest in ((Step.HOUR, HOUR), (Step.DAY, 26 * HOUR)):
        found = buckets(Span(start, start + length), step, zone(name))
        assert found[0].start == start
        assert found[-1].end == start + length
        assert all(one.end == other.start for one, other in pairwise(found))
        assert all(0 < bucket.end - bucket.start <= longest for bucket in found)


def test_a_day_that_a_zone_left_out_is_no_bucket() -> None:
    span = Span(at("2011-12-29T10:00Z"), at("2012-01-01T10:00Z"))
    # Apia went from the 29th to the 31st of December.
    assert [shown(bucket.start) for bucket in buckets(span, Step.DAY, zone("Pacific/Apia"))] == [
        "2011-12-29T10:00:00Z",
        "2011-12-30T10:00:00Z",
        "2011-12-31T10:00:00Z",
    ]


def test_too_many_buckets() -> None:
    span = Span(0, (MOST_BUCKETS + 1) * HOUR)
    with pytest.raises(ValueError, match="more than 10000 points"):
        buckets(span, Step.HOUR, zone("UTC"))
    assert len(buckets(Span(0, MOST_BUCKETS * HOUR), Step.HOUR, zone("UTC"))) == MOST_BUCKETS


@pytest.mark.parametrize(
    ("text", "name", "instant"),
    [
        ("2026-06-28T09:14:22Z", "Europe/Berlin", "2026-06-28T09:14:22Z"),
        ("2026-06-28T09:14:22+02:00", "UTC", "2026-06-28T07:14:22Z"),
        ("2026-06-28T09:14:22 02:00", "UTC", "2026-06-28T07:14:22Z"),
        ("2026-06-28T09:14", "Europe/Berlin", "2026-06-28T07:14:00Z"),
        ("2026-06-28", "Europe/Berlin", "2026-06-27T22:00:00Z"),
        ("2026-06-28T00:00:00.25Z", "UTC", "2026-06-28T00:00:00.250Z"),
        # Midnight did not exist: the day began at one.
        ("2018-11-04", "America/Sao_Paulo", "2018-11-04T03:00:00Z"),
        # Midnight came twice: the day began at the first.
        ("2026-11-01", "America/Havana", "2026-11-01T04:00:00Z"),
    ],
)
def test_instants(text: str, name: str, instant: str) -> None:
    assert shown(parse_instant(text, zone(name))) == instant


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "1969-01-01", "2300-01-01", "0001-01-01T00:00+23:00"])
def test_no_instants(text: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        parse_instant(text, zone("UTC"))


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "../../etc/passwd", "/etc/localtime", "europe/berlin ", "Europe"])
def test_no_zones(name: str) -> None:
    with pytest.raises(ValueError, match="IANA"):
        zone(name)


@given(
    first=st.dates(date(2015, 1, 1), date(2030, 1, 1)),
    length=st.integers(1, 60),
    name=st.sampled_from(ZONES),
)
def test_whole_days_are_compared_with_as_many_days(first: date, length: int, name: str) -> None:
    tz = zone(name)
    span = Span(start_of_day(first, tz), start_of_day(first + timedelta(days=length), tz))
    found = before(span, tz)
    assert found.end == span.start
    assert len(buckets(found, Step.DAY, tz)) == length


@given(span=spans)
def test_any_other_span_is_compared_with_as_much_time(span: Span) -> None:
    found = before(Span(span.start // DAY * DAY + 1, span.end + 2 * DAY), UTC_ZONE)
    assert found.end - found.start == span.end + 2 * DAY - found.end


UTC_ZONE = zone("UTC")


def test_a_week_over_a_change_of_the_clock() -> None:
    tz = zone("Europe/Berlin")
    span = Span(parse_instant("2026-10-26", tz), parse_instant("2026-11-02", tz))
    assert [shown(instant) for instant in before(span, tz)] == ["2026-10-18T22:00:00Z", "2026-10-25T23:00:00Z"]
    assert datetime(2026, 10, 25, 23, tzinfo=UTC).astimezone(tz).hour == 0
