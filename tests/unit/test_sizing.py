"""The page of sizes is reckoned from the results of the benchmarks, and its arithmetic holds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.sizing import SIZES, Assumed, Measured, Sizing, first_limit, measured, polls_of_a_post
from benchmarks.sizing_page import PAGE, page
from schemas.tiers import next_due, rule_of

SECONDS_A_DAY = 86_400


@pytest.fixture(scope="module")
def found() -> Measured:
    return measured()


def test_the_page_is_up_to_date(found: Measured) -> None:
    assert PAGE.read_text(encoding="utf-8") == page(found), "run python -m benchmarks.sizing_page"


@pytest.mark.parametrize("platform", ["youtube", "x", "google_business"])
def test_polls_of_a_post_are_those_of_the_schedule(platform: str) -> None:
    rule = rule_of(platform)
    counts = []
    for number in range(200):
        at: int | None = 0
        polls = 0
        while at is not None:
            polls += 1
            at = next_due(rule, 0, at, f"t{number}", 1.0)
        counts.append(polls)
    reckoned = polls_of_a_post(platform, 90)
    assert reckoned == pytest.approx(sum(counts) / len(counts), rel=0.03, abs=1.1)


def test_sizes_grow_with_posts(found: Measured) -> None:
    small, middle, large = (Sizing(posts, found) for posts in SIZES)
    for name in ("snapshots", "events", "kafka_bytes", "clickhouse_bytes", "clickhouse_raw_bytes", "x_dollars_a_month"):
        assert getattr(large, name) == pytest.approx(100 * getattr(middle, name))
        assert getattr(middle, name) == pytest.approx(100 * getattr(small, name))
    assert (small.pollers, small.aggregators, small.brokers) == (1, 1, 3)
    for one in (small, middle, large):
        assert one.partitions >= max(one.pollers, one.aggregators)
        assert one.partitions % small.partitions == 0


def test_enough_processes_for_the_peak(found: Measured) -> None:
    plan = Assumed()
    for posts in (*SIZES, 7_654_321):
        one = Sizing(posts, found, plan)
        assert one.pollers * found.calls_a_second * plan.share_used >= one.events / SECONDS_A_DAY * plan.peak
        assert one.aggregators * plan.share_used >= one.aggregator_cores_at_peak
        assert one.brokers * plan.broker_gib * 2**30 >= one.kafka_bytes


def test_the_first_limit_is_the_fullest(found: Measured) -> None:
    one = Sizing(1_000_000, found)
    fullest = one.limits[0]
    just_below, just_above = (Sizing(int(one.posts / fullest.used * share), found) for share in (0.99, 1.01))
    assert first_limit(just_below).startswith("none: the fullest is ")
    assert first_limit(just_above).startswith(f"{fullest.platform}'s {fullest.group}: ")
    # YouTube's: 10,000 units a day, a unit a call.
    (youtube,) = [use for use in one.limits if use.platform == "youtube"]
    assert youtube.used == pytest.approx(one.calls("youtube") / 10_000)


def test_the_bill_of_x_by_hand(found: Measured) -> None:
    only_x = Sizing(90_000, replace(found, targets_a_call={"x": 20.0}))
    # 30,000 posts a month on four dates each, and 1,000 accounts on 30 days.
    assert only_x.x_dollars_a_month == pytest.approx(30_000 * 4 * 0.005 + 1_000 * 30 * 0.010)
