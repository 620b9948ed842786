"""Asking again for less."""

from __future__ import annotations

import pytest

from schemas.events import RawKind
from services.platforms import platform
from services.platforms.base import Call, Channel, Target
from services.poller.asking.smaller import asks_for, halves, metric_halves, metrics_of, without_metrics, without_target

CHANNEL = Channel("w1", "c1", "ext")


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
        ("like_count,insights.metric(views).period(day)", "views", "like_count"),
        ("like_count,insights.metric(views)", "insights", "like_count,insights.metric(views)"),
        ("reactions.limit(0).summary(a,b),shares", "shares", "reactions.limit(0).summary(a,b)"),
        ("views,video_views", "views", "video_views"),
        ("views", "views", None),
        ("insights.metric(views)", "views", None),
        ("views,reach", "likes", "views,reach"),
        ("a.b,axb", "a.b", "axb"),
    ],
)
def test_without_one_metric(before: str, metric: str, after: str | None) -> None:
    smaller = without_metrics(Call(RawKind.POST_METRICS, "GET", "/", (("ids", "1"), ("fields", before))), (metric,))
    assert (smaller.query[1][1] if smaller else None) == after


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


def test_metrics_in_the_addresses_of_a_batch() -> None:
    part = {"method": "GET", "relative_url": "e1?fields=shares,insights.metric(a,b).period(lifetime)&x=1"}
    escaped = {"method": "GET", "relative_url": "e2/insights?metric=a%2Cb&period=lifetime"}
    call = Call(RawKind.POST_METRICS, "POST", "/", json={"batch": [part, escaped]})
    assert metrics_of(call) == ["a", "b"]
    left = without_metrics(call, ("a",))
    assert left is not None
    assert [one["relative_url"] for one in left.json["batch"]] == [
        "e1?fields=shares,insights.metric(b).period(lifetime)&x=1", "e2/insights?metric=b&period=lifetime",
    ]  # fmt: skip
    assert without_metrics(call, ("a", "b")) is None
    assert without_metrics(call, ("c",)) is call
    only = without_metrics(Call(RawKind.POST_METRICS, "POST", "/", json=[part]), ("a", "b"))
    assert only is not None
    assert only.json[0]["relative_url"] == "e1?fields=shares&x=1"


def test_several_fields_named_at_once_are_left_out_together() -> None:
    fields = (
        "shares,reactions.limit(0).summary(total_count),comments.limit(0).summary(total_count),insights.metric(a,b)"
    )
    named = "reactions.limit(0).summary(total_count),comments.limit(0).summary(total_count)"
    call = Call(RawKind.POST_METRICS, "GET", "/e1", (("fields", fields),))
    assert asks_for(call, named)
    left = without_metrics(call, (named,))
    assert left is not None
    assert left.query == (("fields", "shares,insights.metric(a,b)"),)
    # Named in another order, or apart in the list, they are the same fields.
    apart = ",".join(reversed([*named.split(",comments")[:1], "shares", "comments" + named.split(",comments")[1]]))
    again = without_metrics(Call(RawKind.POST_METRICS, "GET", "/e1", (("fields", apart),)), (named,))
    assert again is not None
    assert again.query == (("fields", "shares"),)


def test_an_id_is_no_metric() -> None:
    targets = (Target("t", "p", "views"), Target("u", "q", "reach"))
    call = Call(RawKind.POST_METRICS, "GET", "/", (("ids", "views,reach"), ("metric", "views,likes")), targets=targets)
    left = without_metrics(call, ("views",))
    assert left is not None
    assert left.query == (("ids", "views,reach"), ("metric", "likes"))
    assert asks_for(call, "likes")
    assert not asks_for(call, "reach")
    assert not asks_for(call, "")
