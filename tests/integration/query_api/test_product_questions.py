"""The questions of PowerPost, PostFlow and PostFuze, answered from real tables."""

from __future__ import annotations

import orjson

from services.query_api.directory import Directory
from services.query_api.reads.query import (
    AccountFigures,
    AccountHistoryQuestion,
    AccountQuestion,
    HealthQuestion,
    LivePostQuestion,
    PostScoresQuestion,
    Target,
    TargetQuestion,
)
from services.query_api.reads.read_model import ClickHouseReadModel
from services.runtime.clock import iso_millis
from tests.integration.query_api.rows import Store
from tests.support.query_api import NOW, answered, channel, target, values

DAY = 86_400_000


def know(directory: Directory, *channels: str, workspace_id: str = "w1") -> None:
    for channel_id in channels:
        directory.apply((workspace_id, channel_id), channel(workspace_id, channel_id))


async def test_a_target_is_found_by_its_id(store: Store, directory: Directory, read_model: ClickHouseReadModel) -> None:
    know(directory, "c1")
    store.post("w1", "p1", [target("t1"), target("t2", values=values(views=3), captured_at=NOW)])
    store.post("w1", "p2", [target("draft", status="draft")])
    store.post("w1", "p3", [target("dead", status="deleted"), target("lost", "c9")])
    store.post("w1", "p4", [target("gone")])
    store.post("w1", "p4", [target("gone")], is_deleted=1)
    store.post("w2", "p1", [target("foreign")])
    found = await answered(read_model, TargetQuestion("w1", "t2"))
    assert (found.target_id, found.values[0], found.captured_at) == ("t2", 3, NOW)
    assert (await answered(read_model, TargetQuestion("w1", "draft"))).status == "draft"
    for name in ("dead", "lost", "gone", "foreign", "unknown"):
        assert await read_model.answer(TargetQuestion("w1", name)) is None


async def test_a_post_is_scored_among_what_its_channels_published_and_measured(
    store: Store, directory: Directory, read_model: ClickHouseReadModel
) -> None:
    know(directory, "c1", "c2")

    def measured(name: str, channel_id: str = "c1", ago: int = DAY, **figures: int) -> Target:
        return target(name, channel_id, published_at=NOW - ago, captured_at=NOW, values=values(**figures))

    store.post("w1", "p1", [measured("low", likes=1, views=10), measured("alone", "c2", likes=1)])
    store.post("w1", "p2", [measured("high", likes=1, comments=8, impressions=20)])
    store.post("w1", "p3", [measured("first", ago=90 * DAY), measured("too-old", ago=90 * DAY + 1, likes=99)])
    store.post("w1", "p4", [target("unmeasured"), target("failed", status="failed", captured_at=NOW)])
    store.post("w1", "p5", [measured("future", ago=-1, likes=99)])
    store.post("w2", "p1", [measured("foreign", likes=99)])
    answer = await answered(read_model, PostScoresQuestion("w1", "p1", NOW))
    assert [one.target_id for one in answer.post.targets] == ["low", "alone"]
    assert answer.scores["c1"].tenths == {"first": 17, "low": 50, "high": 83}
    assert answer.scores["c1"].counts == (0, 1, 0, 0, 1, 0, 0, 0, 1, 0)
    assert answer.scores["c2"].tenths == {"alone": 50}
    assert await read_model.answer(PostScoresQuestion("w1", "unknown", NOW)) is None


async def test_an_account_has_its_latest_figures_and_the_newest_payload(
    store: Store, directory: Directory, read_model: ClickHouseReadModel
) -> None:
    know(directory, "c1", "c2")
    store.channel_period("w1", "c1", "lifetime", None, None, followers=10, posts_count=3)
    store.channel_period("w1", "c1", "day", NOW - 2 * DAY, NOW - DAY, reach=5)
    store.channel_period("w1", "c1", "day", NOW - 3 * DAY, NOW - 2 * DAY, reach=4, profile_views=2)
    store.channel_snapshot("w1", "c1", "a", NOW - 5, followers=10)
    store.channel_snapshot("w1", "c1", "b", NOW - 5, ("day", NOW - 2 * DAY, NOW - DAY), reach=5)
    store.raw_event("w1", "b", "x", [], {"newest": True})
    account = await answered(read_model, AccountQuestion("w1", "c1"))
    assert account.snapshot is not None
    assert (account.platform, account.is_live, account.snapshot.captured_at) == ("x", False, NOW - 5)
    assert account.snapshot.figures == AccountFigures(followers=10, posts_count=3, reach=5, profile_views=2)
    assert orjson.loads(orjson.dumps(account.snapshot.raw)) == {"newest": True}
    assert (await answered(read_model, AccountQuestion("w1", "c2"))).snapshot is None
    assert await read_model.answer(AccountQuestion("w2", "c1")) is None


async def test_a_range_shows_the_account_as_it_stood_at_each_answer(
    store: Store, directory: Directory, read_model: ClickHouseReadModel
) -> None:
    know(directory, "c1")
    first_day, second_day = ("day", NOW - 3 * DAY, NOW - 2 * DAY), ("day", NOW - 2 * DAY, NOW - DAY)
    store.channel_snapshot("w1", "c1", "e0", NOW - 20, followers=1, following=7)
    store.channel_snapshot("w1", "c1", "e1", NOW - 15, first_day, reach=3)
    store.channel_snapshot("w1", "c1", "e2", NOW - 10, followers=2)
    store.channel_snapshot("w1", "c1", "e3", NOW - 5, first_day, reach=4)
    store.channel_snapshot("w1", "c1", "e3", NOW - 5, second_day, views=8)
    store.channel_snapshot("w1", "c1", "e3", NOW - 5, second_day, views=9)  # the same event again
    store.channel_snapshot("w1", "c1", "e4", NOW - 5, hidden=["followers"])
    store.channel_snapshot("w1", "c1", "e5", NOW, followers=9)
    store.raw_event("w1", "e3", "x", [], [1])
    history = await answered(read_model, AccountHistoryQuestion("w1", "c1", NOW - 10, NOW))
    assert [(row.captured_at, row.figures, orjson.loads(orjson.dumps(row.raw))) for row in history.snapshots] == [
        (NOW - 10, AccountFigures(2, 7, None, None, 3, None), {}),
        (NOW - 5, AccountFigures(2, 7, None, 9, 4, None), {"data": [1]}),
        # Its own payload is not held any more; that of the figures shown is.
        (NOW - 5, AccountFigures(None, 7, None, 9, 4, None), {"data": [1]}),
    ]
    assert (await answered(read_model, AccountHistoryQuestion("w1", "c1", NOW + 1, NOW + 2))).snapshots == []
    assert await read_model.answer(AccountHistoryQuestion("w1", "unknown", 0, NOW)) is None


async def test_the_answers_of_one_poll_are_one_snapshot(
    store: Store, directory: Directory, read_model: ClickHouseReadModel
) -> None:
    """Two polls of two addresses each, and one more answer to the first address."""
    know(directory, "c1")
    today = ("day", NOW - DAY, NOW)
    for number, at in enumerate((NOW - 9_000_000, NOW - 5_000_000)):
        store.channel_snapshot("w1", "c1", f"profile-{number}", at, followers=10 + number)
        store.channel_snapshot("w1", "c1", f"insights-{number}", at + 2_000, today, reach=20 + number)
        store.raw_event("w1", f"profile-{number}", "x", [], {"n": number}, endpoint="/me", captured_at=iso_millis(at))
        store.raw_event(
            "w1", f"insights-{number}", "x", [], {"i": number}, endpoint="/me/insights",
            captured_at=iso_millis(at + 2_000),
        )  # fmt: skip
    store.channel_snapshot("w1", "c1", "profile-2", NOW - 1000, followers=12)
    store.raw_event("w1", "profile-2", "x", [], {"n": 2}, endpoint="/me", captured_at=iso_millis(NOW - 1000))
    history = await answered(read_model, AccountHistoryQuestion("w1", "c1", NOW - DAY, NOW))
    assert [
        (row.captured_at, row.figures.followers, row.figures.reach, orjson.loads(orjson.dumps(row.raw)))
        for row in history.snapshots
    ] == [
        (NOW - 8_998_000, 10, 20, {"/me/insights": {"i": 0}, "/me": {"n": 0}}),
        (NOW - 4_998_000, 11, 21, {"/me/insights": {"i": 1}, "/me": {"n": 1}}),
        # One answer, and the one whose figures still stand beside it.
        (NOW - 1000, 12, 21, {"/me": {"n": 2}, "/me/insights": {"i": 1}}),
    ]
    # A poll counts where its last answer does, whole.
    for since, until, found in ((NOW - 8_999_000, NOW, 3), (NOW - 8_997_999, NOW, 2), (NOW - DAY, NOW - 4_999_000, 1)):
        spanned = await answered(read_model, AccountHistoryQuestion("w1", "c1", since, until))
        assert len(spanned.snapshots) == found


async def test_health_and_live_posts_without_a_poller(
    store: Store, directory: Directory, read_model: ClickHouseReadModel
) -> None:
    know(directory, "c1")
    store.post("w1", "p1", [target("t1", captured_at=NOW, values=values(likes=1))])
    assert (await answered(read_model, LivePostQuestion("w1", "p1"))).targets[0].captured_at == NOW
    health = await answered(read_model, HealthQuestion("w1", "c1", NOW))
    assert (health.is_healthy, health.is_live, health.checked_at) == (True, False, NOW)
    assert await read_model.answer(HealthQuestion("w1", "unknown", NOW)) is None
