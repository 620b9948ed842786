"""Asking again for less."""

from __future__ import annotations

import pytest

from schemas.events import RawKind
from services.platforms import platform
from services.platforms.base import Call, Channel, Target
from services.poller.asking.refusals import Refusals
from services.poller.asking.smaller import halves, metric_halves, metrics_of, without_metric, without_target

CHANNEL = Channel("w1", "c1", "ext")
KEY = ("w1", "c1")


def call_of(count: int) -> Call:
    targets = [Target(f"t{number}", f"p{number}", f"e{number}") for number in range(count)]
    return platform("youtube").post_calls(CHANNEL, targets)[0]


def test_halves_ask_for_the_same_targets_in_order() -> None:
    call = call_of(5)
    parts = halves(platform("youtube"), CHANNEL, call, 0)
    assert [len(part.targets) for part in parts] == [2, 3]
    assert parts[0].targets + parts[1].targets == call.targets
    assert dict(parts[0].query)["id"] == "e0,e1"
    assert halves(platform("youtube"), CHANNEL, call_of(1), 0) == []
    assert halves(platform("youtube"), CHANNEL, Call(RawKind.CHANNEL_METRICS, "GET", "/c"), 0) == []


def test_without_one_target() -> None:
    (left,) = without_target(platform("youtube"), CHANNEL, call_of(3), "e1", 0)
    assert [target.target_id for target in left.targets] == ["t0", "t2"]
    assert without_target(platform("youtube"), CHANNEL, call_of(1), "e0", 0) == []


@pytest.mark.parametrize(
    ("before", "metric", "after"),
    [
        ("views,reach,likes", "reach", "views,likes"),
        ("views,reach", "views", "reach"),
        ("views,reach", "reach", "views"),
        ("like_count,insights.metric(views,reach)", "reach", "like_count,insights.metric(views)"),
        ("like_count,insights.metric(views,reach)", "views", "like_count,insights.metric(reach)"),
        ("views,video_views", "views", "video_views"),
        ("views", "views", None),
        ("insights.metric(views)", "views", None),
        ("views,reach", "likes", None),
        ("a.b,axb", "a.b", "axb"),
    ],
)
def test_without_one_metric(before: str, metric: str, after: str | None) -> None:
    smaller = without_metric(Call(RawKind.POST_METRICS, "GET", "/", (("ids", "1"), ("metric", before))), metric)
    assert (smaller.query[1][1] if smaller else None) == after


def test_refusals_are_remembered_for_a_while_and_a_channel() -> None:
    refusals = Refusals(1000)
    call = Call(RawKind.POST_METRICS, "GET", "/", (("ids", "1"), ("metric", "a,b,c")))
    once = without_metric(call, "b")
    assert once is not None
    twice = without_metric(once, "c")
    assert twice is not None
    refusals.remember(KEY, call, once, 0)
    refusals.remember(KEY, once, twice, 0)
    assert refusals.apply(KEY, call, 999).query[1][1] == "a"
    assert refusals.apply(KEY, call, 1000) is call
    assert refusals.apply(("w1", "c2"), call, 0) is call


@pytest.mark.parametrize(
    ("key", "before", "halved"),
    [
        ("metric", "a,b,c", ["a", "b,c"]),
        ("metric", "a", []),
        ("metric", "", []),
        ("fields", "shares,insights.metric(a,b).period(lifetime)", [
            "shares,insights.metric(a).period(lifetime)", "shares,insights.metric(b).period(lifetime)",
        ]),
        ("fields", "insights.metric(a)", []),
        ("fields", "a,b", []),
    ],
)  # fmt: skip
def test_halves_of_the_metrics(key: str, before: str, halved: list[str]) -> None:
    call = Call(RawKind.POST_METRICS, "GET", "/", (("ids", "1,2"), (key, before)))
    parts = metric_halves(call)
    assert [part.query[1][1] for part in parts] == halved
    assert all(part.query[0] == ("ids", "1,2") for part in parts)


def test_a_metric_that_is_refused_without_being_named_is_found_in_halves() -> None:
    def refused(call: Call) -> bool:
        return "d" in metrics_of(call)

    call = Call(RawKind.POST_METRICS, "GET", "/", (("metric", "a,b,c,d,e"),))
    refusals, answered, pending = Refusals(1000), set[str](), [call]
    while pending:
        asked = pending.pop()
        parts = metric_halves(asked) if refused(asked) else []
        pending.extend(parts)
        if not refused(asked):
            answered.update(metrics_of(asked))
        elif not parts:
            refusals.refuse(KEY, metrics_of(asked)[0], 0)
    assert answered == set("abce")
    assert metrics_of(refusals.apply(KEY, call, 999)) == ["a", "b", "c", "e"]
    assert refusals.apply(KEY, call, 1000) is call
