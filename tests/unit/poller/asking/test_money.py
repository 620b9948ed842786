"""What polls cost: each resource once a UTC day, a month's budget spread over its days, the freshest posts first."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
import pytest

from schemas.events import Origin, PlatformRaw, RawKind, RawTarget
from schemas.spending import MICROS, days_left, forecast, month_end
from services.platforms.base import Call, Channel, Target
from services.platforms.x import PLATFORM as X
from services.platforms.x import PRICES
from services.poller.asking.money import FREE_SHARE, RESERVE_SHARE, Ledger, micros
from services.runtime.clock import MILLIS_PER_DAY, MILLIS_PER_HOUR

CHANNEL = Channel("w1", "c1", "44")
# The tenth of a month of thirty days, 06:00 UTC.
NOW = int(datetime(2026, 11, 10, 6, tzinfo=UTC).timestamp() * 1000)
MIDNIGHT = NOW - 6 * MILLIS_PER_HOUR
POST, MEDIA, USER = 5_000, 5_000, 10_000


def ledger(dollars: float | None = None, *payers: str) -> Ledger:
    return Ledger("x", X, None if dollars is None else micros(Decimal(str(dollars))), lambda: set(payers))


def posts(*numbers: int, age: int = MILLIS_PER_HOUR, post_type: str = "text") -> list[Target]:
    return [Target(f"t{n}", f"p{n}", str(10**18 + n), post_type, NOW - age) for n in numbers]


def calls_of(target: Target) -> list[Call]:
    return X.post_calls(CHANNEL, [target], NOW)


def answer(
    *numbers: int, workspace_id: str = "w1", at: int = NOW, media: bool = False, status: int = 200
) -> PlatformRaw:
    data: list[dict[str, Any]] = [{"id": str(10**18 + n)} for n in numbers]
    body: dict[str, Any] = {"data": data}
    if media:
        for item in data:
            item["attachments"] = {"media_keys": [f"13_{item['id']}"]}
        body["includes"] = {"media": [{"media_key": f"13_{item['id']}"} for item in data]}
    targets = tuple(RawTarget(f"t{n}", f"p{n}", str(10**18 + n)) for n in numbers)
    return PlatformRaw(
        "e", workspace_id, "c1", "x", RawKind.POST_METRICS, "/2/tweets", {}, targets, status, orjson.dumps(body), at,
        Origin.SCHEDULE,
    )  # fmt: skip


def users(workspace_id: str = "w1") -> PlatformRaw:
    return replace(
        answer(), workspace_id=workspace_id, kind=RawKind.CHANNEL_METRICS, endpoint="/2/users",
        body=orjson.dumps({"data": [{"id": "44"}]}),
    )  # fmt: skip


def spend(books: Ledger, count: int, workspace_id: str = "w1", now: int = NOW, first: int = 5_000) -> None:
    """Book reads of so many posts."""
    books.book(answer(*range(first, first + count), workspace_id=workspace_id), now)


def test_a_resource_costs_once_a_utc_day_whoever_reads_it() -> None:
    books = ledger()
    assert books.book(answer(1, 2), NOW) == 2 * POST
    assert books.book(answer(2, 3), NOW + 1) == POST
    assert books.book(answer(1, workspace_id="w2"), NOW + 2) == 0
    assert books.book(answer(1), MIDNIGHT + MILLIS_PER_DAY - 1) == 0
    assert books.book(answer(1), MIDNIGHT + MILLIS_PER_DAY) == POST
    assert books.book(users(), MIDNIGHT + MILLIS_PER_DAY) == USER
    assert books.book(answer(8, status=503), MIDNIGHT + MILLIS_PER_DAY) == 0
    assert books.state(NOW).spent == 4 * POST + USER


def test_media_cost_as_well_and_are_asked_for_only_where_a_video_may_be() -> None:
    books = ledger()
    (plain,), (video,), (unknown,) = posts(1), posts(2, post_type="video"), posts(3, post_type="")
    assert [books.cost_of(calls_of(one), NOW) for one in (plain, video, unknown)] == [POST, POST + MEDIA, POST + MEDIA]
    assert books.book(answer(2, media=True), NOW) == POST + MEDIA
    assert books.cost_of(calls_of(video), NOW) == 0
    assert not any("expansions" in dict(call.query) for call in calls_of(plain))


def test_without_a_budget_nothing_is_held_back() -> None:
    books = ledger()
    spend(books, 100_000)
    sifted = books.sift("w1", posts(1, 2, age=3 * MILLIS_PER_DAY), calls_of, NOW)
    assert (len(sifted.affordable), sifted.held_back) == (2, [])
    assert books.closed_until(calls_of(posts(1)[0])[0], NOW) == 0
    assert books.state(NOW).left is None


# Left for scheduled polls of 21 days, of which the tenth of November has one: $10.50 less the reserve.
DAY_PART = int(10.5 * MICROS * (1 - RESERVE_SHARE)) // 21


def test_half_of_a_day_s_part_is_free_then_old_posts_keep_the_pace() -> None:
    books = ledger(10.5)
    old = posts(1, age=3 * MILLIS_PER_DAY)
    spend(books, int(DAY_PART * FREE_SHARE) // POST - 1)
    assert books.sift("w1", old, calls_of, NOW).affordable == old
    spend(books, 1, first=9_000)
    assert books.sift("w1", old, calls_of, NOW).held_back == old
    # Late in the day as much is within the pace again.
    assert books.sift("w1", old, calls_of, MIDNIGHT + 23 * MILLIS_PER_HOUR).affordable == old


def test_the_freshest_come_first_and_may_use_up_the_day() -> None:
    books = ledger(10.5)
    left = 3
    spend(books, DAY_PART // POST - left)
    old, fresh = posts(*range(10), age=2 * MILLIS_PER_DAY), posts(*range(20, 25))
    sifted = books.sift("w1", [*old, *fresh], calls_of, NOW)
    assert sifted.affordable == fresh[:left]
    assert set(sifted.held_back) == {*old, *fresh[left:]}
    assert NOW < sifted.until <= MIDNIGHT + MILLIS_PER_DAY
    spend(books, left, first=9_000)
    spent_day = books.sift("w1", fresh, calls_of, NOW)
    assert (spent_day.affordable, spent_day.until) == ([], MIDNIGHT + MILLIS_PER_DAY)
    # A post that was read today costs nothing, and is asked for whatever is spent.
    books.book(answer(23), NOW)
    assert books.sift("w1", fresh, calls_of, NOW).affordable == [fresh[3]]


def test_a_workspace_beyond_its_part_keeps_to_the_pace_with_fresh_posts_too() -> None:
    books = ledger(10.5, "w1", "w2")
    spend(books, int(DAY_PART * FREE_SHARE) // POST)
    fresh = posts(1)
    assert books.sift("w1", fresh, calls_of, NOW).held_back == fresh
    assert books.sift("w2", fresh, calls_of, NOW).affordable == fresh


def test_what_was_not_spent_is_there_on_later_days() -> None:
    books, later = ledger(10.5), NOW + 10 * MILLIS_PER_DAY
    part = int(10.5 * MICROS * (1 - RESERVE_SHARE)) // days_left(later)
    assert part > DAY_PART
    fresh = [replace(target, published_at=later) for target in posts(*range(part // POST + 1))]
    assert len(books.sift("w1", fresh, calls_of, later).affordable) == part // POST


def test_live_pulls_stop_last_and_what_was_read_today_never() -> None:
    books = ledger(1.0)
    (call,) = calls_of(posts(1)[0])
    spend(books, 196)
    assert books.sift("w1", posts(1), calls_of, NOW).affordable == []
    assert books.closed_until(call, NOW) == 0
    spend(books, 4, first=9_000)
    assert books.state(NOW).left == 0
    assert books.closed_until(call, NOW) == month_end(NOW)
    books.book(answer(1), NOW)
    assert books.closed_until(call, NOW) == 0


def test_calls_under_way_count_until_their_answers_are_booked() -> None:
    books = ledger(0.01)
    (first,), (second,), (third,) = (calls_of(target) for target in posts(1, 2, 3))
    held = [books.begin(first, NOW), books.begin(second, NOW)]
    assert books.closed_until(third, NOW)
    books.end(held.pop())
    assert not books.closed_until(third, NOW)


def test_records_of_other_processes_count_and_a_late_one_changes_nothing() -> None:
    mine, other = ledger(10.5), ledger(10.5)
    spend(other, 10, "w9")
    early = other.record("w9", "2026-11", NOW)
    spend(other, 10, "w9", first=9_000)
    late = other.record("w9", "2026-11", NOW)
    for record in (late, early, late):
        mine.take(record)
    assert mine.state(NOW).by_workspace == {"w9": 20 * POST}
    assert (late.reads, late.share, late.priced_on) == ({"post": 20}, micros(Decimal("10.5")), X.priced_on)


def test_a_restart_loses_nothing_and_counts_nothing_twice() -> None:
    before = ledger(10.5)
    first, unrecorded = answer(1, 2), answer(3, at=NOW + 1000)
    before.book(first, first.captured_at)
    record = before.record("w1", "2026-11", NOW)
    before.book(unrecorded, unrecorded.captured_at)
    after = ledger(10.5)
    after.take(record)
    after.seen("w1", calls_of(posts(1)[0]), NOW, NOW + 2000)
    after.seen("w1", calls_of(posts(3)[0]), NOW + 1000, NOW + 2000)
    for event in (first, unrecorded, unrecorded):
        after.replay(event, NOW + 2000)
    assert after.state(NOW).spent == before.state(NOW).spent == 3 * POST
    assert after.cost_of(calls_of(posts(1)[0]), NOW + 2000) == 0


def test_months_are_apart_and_old_ones_are_let_go() -> None:
    books = ledger(10.5)
    for month in range(6):
        spend(books, 1, now=NOW + month * 31 * MILLIS_PER_DAY)
        books.take(books.record("w1", "2026-11" if not month else "2027-01", NOW))
    assert books.state(NOW + 155 * MILLIS_PER_DAY).spent == POST


@pytest.mark.parametrize(
    ("days", "now", "expected"),
    [
        ([0] * 31, NOW, 0),
        # A dollar a day for nine days and a quarter of the tenth's: as much for all thirty.
        ([MICROS] * 9 + [MICROS // 4] + [0] * 21, NOW, 30 * MICROS),
        # The first hours of a month say little: at most twice of them a day.
        ([MICROS] + [0] * 30, int(datetime(2026, 11, 1, 0, 30, tzinfo=UTC).timestamp() * 1000), 60 * MICROS),
    ],
)
def test_a_forecast_goes_on_with_the_last_days(days: list[int], now: int, expected: int) -> None:
    assert forecast(days, now) == pytest.approx(expected, rel=0.02)


def test_prices_are_a_setting_with_their_date() -> None:
    cheaper = X.configured({PRICES.name: "post=0.001@2027-01-01"})
    assert cheaper.prices == {**X.prices, "post": Decimal("0.001")}
    assert (X.priced_on, cheaper.priced_on) == ("2026-11-30", "2027-01-01")
    assert X.configured({}) is X
