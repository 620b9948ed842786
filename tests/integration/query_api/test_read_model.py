"""Questions answered from real tables."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from schemas.metrics import IMPRESSIONS, INT64_MAX, LIKES, MILLIS_MAX, VIEWS, WATCH_TIME
from services.query_api.directory import Directory
from services.query_api.reads.query import (
    ChannelWindowQuestion,
    PostHistoryQuestion,
    PostQuestion,
    SnapshotsQuestion,
)
from services.query_api.reads.read_model import ClickHouseReadModel
from tests.integration.query_api.rows import Store
from tests.support.query_api import NOW, answered, channel, target, values

DAY = 86_400_000
SINCE = NOW - 30 * DAY


def know(directory: Directory, *channels: str, workspace_id: str = "w1") -> None:
    for channel_id in channels:
        directory.apply((workspace_id, channel_id), channel(workspace_id, channel_id))


async def test_a_post_has_its_targets_in_order_with_their_figures(
    store: Store, directory: Directory, read_model: ClickHouseReadModel
) -> None:
    know(directory, "c1", "c2")
    measured = target("t2", "c1", values=values(views=5, watch_time_seconds=1500), captured_at=NOW)
    store.post("w1", "p1", [measured, target("t1", "c2", detail={"enabled": False})])
    post = await answered(read_model, PostQuestion("w1", "p1"))
    assert [one.target_id for one in post.targets] == ["t2", "t1"]
    assert post.targets[0].values[WATCH_TIME] == 1500
    assert post.targets[0].captured_at == NOW
    assert post.targets[1].captured_at is None
    assert post.targets[1].detail == {"enabled": False}


async def test_what_is_deleted_foreign_or_unknown_is_not_there(
    store: Store, directory: Directory, read_model: ClickHouseReadModel
) -> None:
    know(directory, "c1")
    store.post("w1", "gone", [target("t1")])
    store.post("w1", "gone", [target("t1")], is_deleted=1)
    store.post("w2", "foreign", [target("t1")])
    for post_id in ("gone", "foreign", "unknown"):
        assert await read_model.answer(PostQuestion("w1", post_id)) is None
    assert await read_model.answer(ChannelWindowQuestion("w1", "unknown", "7d", NOW)) is None
    assert await read_model.answer(SnapshotsQuestion("w1", "unknown", SINCE, 500)) is None


async def test_targets_of_deleted_channels_and_deleted_targets_are_left_out(
    store: Store, directory: Directory, read_model: ClickHouseReadModel
) -> None:
    know(directory, "c1")
    store.post("w1", "p1", [target("t1", "c9"), target("t2"), target("t3", status="deleted")])
    post = await answered(read_model, PostQuestion("w1", "p1"))
    assert [one.target_id for one in post.targets] == ["t2"]


async def test_the_largest_figures_come_whole(
    store: Store, directory: Directory, read_model: ClickHouseReadModel
) -> None:
    know(directory, "c1")
    largest = values(views=INT64_MAX, watch_time_seconds=MILLIS_MAX)
    bounds = {"window_start": NOW - DAY, "window_end": NOW}
    store.window("w1", "c1", "24h", parts=[largest], source="posts", **bounds)
    window = await answered(read_model, ChannelWindowQuestion("w1", "c1", "24h", NOW))
    assert (window.values[VIEWS], window.values[WATCH_TIME]) == (INT64_MAX, MILLIS_MAX)


async def test_only_the_active_generation_is_read(
    store: Store, directory: Directory, read_model: ClickHouseReadModel
) -> None:
    know(directory, "c1")
    store.post("w1", "p1", [target("t1", values=values(views=1), captured_at=NOW)])
    store.post("w1", "p1", [target("t1", values=values(views=2), captured_at=NOW)], generation=1)
    assert (await answered(read_model, PostQuestion("w1", "p1"))).targets[0].values[VIEWS] == 1
    store.insert("active_generations", [{"generation": 1}])
    assert (await answered(read_model, PostQuestion("w1", "p1"))).targets[0].values[VIEWS] == 2


async def test_many_posts_share_a_query(store: Store, directory: Directory, read_model: ClickHouseReadModel) -> None:
    know(directory, "c1")
    for number in range(5):
        store.post("w1", f"p{number}", [target(f"t{number}", values=values(views=number), captured_at=NOW)])
    questions = [PostQuestion("w1", f"p{number % 7}") for number in range(300)]
    posts = await asyncio.gather(*(read_model.answer(question) for question in questions))
    for question, post in zip(questions, posts, strict=True):
        number = int(question.post_id[1:])
        assert (post.targets[0].values[VIEWS] if post else None) == (number if number < 5 else None)


async def test_a_batch_of_long_ids_fits_into_a_query(
    store: Store, directory: Directory, read_model: ClickHouseReadModel
) -> None:
    know(directory, "c1")
    long = "p" * 120
    store.post("w1", f"{long}7", [target("t1")])
    posts = await asyncio.gather(*(read_model.answer(PostQuestion("w1", f"{long}{n}")) for n in range(256)))
    assert [number for number, post in enumerate(posts) if post] == [7]


async def test_a_stored_window_answers_where_it_is_exact(
    store: Store, directory: Directory, read_model: ClickHouseReadModel
) -> None:
    know(directory, "c1")
    store.window(
        "w1",
        "c1",
        "7d",
        parts=[values(impressions=10, likes=1, watch_time_seconds=2500)],
        source="posts",
        window_start=NOW - 8 * DAY,
        window_end=NOW - DAY,
        valid_from=NOW - DAY,
        valid_until=NOW + DAY,
        followers=8421,
    )
    window = await answered(read_model, ChannelWindowQuestion("w1", "c1", "7d", NOW))
    assert (window.source, window.start, window.end) == ("posts", NOW - 7 * DAY, NOW)
    assert (window.views_or_impressions, window.engagements, window.followers) == (10, 1, 8421)
    assert window.values[WATCH_TIME] == 2500


@pytest.mark.parametrize("end", [NOW - DAY, NOW + DAY + 1000])
async def test_outside_its_bounds_a_window_is_summed_from_the_posts(
    store: Store, directory: Directory, read_model: ClickHouseReadModel, end: int
) -> None:
    know(directory, "c1")
    store.window(
        "w1",
        "c1",
        "24h",
        parts=[values(views=999)],
        source="posts",
        window_start=NOW - DAY,
        window_end=NOW,
        valid_from=NOW - DAY,
        valid_until=NOW + DAY,
    )
    inside = target("t1", published_at=end - DAY, values=values(views=3), captured_at=NOW)
    outside = target("t2", published_at=end, values=values(views=4), captured_at=NOW)
    store.post("w1", "p1", [inside, outside])
    store.channel_period("w1", "c1", "lifetime", None, None, followers=12)
    window = await answered(read_model, ChannelWindowQuestion("w1", "c1", "24h", end))
    assert (window.source, window.views_or_impressions, window.followers) == ("posts", 3, 12)
    assert (window.start, window.end) == (end - DAY, end)


async def test_a_window_of_a_channel_never_measured_is_none(
    directory: Directory, read_model: ClickHouseReadModel
) -> None:
    know(directory, "c1")
    window = await answered(read_model, ChannelWindowQuestion("w1", "c1", "28d", NOW))
    assert (window.source, window.views_or_impressions, window.followers) == ("none", None, None)


async def test_native_days_make_a_window_where_no_row_is_stored(
    store: Store, directory: Directory, read_model: ClickHouseReadModel
) -> None:
    know(directory, "c1")
    midnight = NOW // DAY * DAY
    store.channel_period("w1", "c1", "day", midnight - DAY, midnight, views=77, engagements=50)
    inside = target("t1", published_at=midnight - DAY, values=values(likes=34), captured_at=NOW)
    outside = target("t2", published_at=midnight, values=values(likes=1000), captured_at=NOW)
    store.post("w1", "p1", [inside, outside])
    window = await answered(read_model, ChannelWindowQuestion("w1", "c1", "24h", NOW // 1000 * 1000))
    assert (window.source, window.views_or_impressions, window.engagements) == ("channel", 77, 50)
    assert window.values[LIKES] == 34, "what the platform does not tell is of the posts within the same bounds"
    assert (window.start, window.end) == (midnight - DAY, midnight)


async def test_snapshots_show_the_target_as_it_then_stood(
    store: Store, directory: Directory, read_model: ClickHouseReadModel
) -> None:
    know(directory, "c1")
    store.channel("w1", "c1")
    store.post("w1", "p1", [target("t1")])
    views, impressions, likes = 1 << VIEWS, 1 << IMPRESSIONS, 1 << LIKES
    at = [NOW - 5_000 + 1_000 * number for number in range(5)]
    store.snapshot("w1", "t1", "e0", at[0], values(impressions=100, likes=1))
    store.snapshot("w1", "t1", "e1", at[1], values(impressions=7), ranged=impressions)
    store.snapshot("w1", "t1", "e2", at[2], values(views=5), ranged=views)
    store.snapshot("w1", "t1", "e3", at[3], values(), spoken=likes)
    store.snapshot("w1", "t1", "e4", at[4], values(views=6))
    rows = await answered(read_model, SnapshotsQuestion("w1", None, SINCE, 500))
    seen = [(row.event_id, row.values[VIEWS], row.values[IMPRESSIONS], row.values[LIKES]) for row in rows]
    assert seen == [
        ("e4", 6, 100, None),  # a lifetime figure replaces a ranged one
        ("e3", 5, 100, None),  # the answer spoke of likes and hid them
        ("e2", 5, 100, 1),  # a ranged figure stands while there is no other
        ("e1", None, 100, 1),  # a ranged figure never replaces a lifetime one
        ("e0", None, 100, 1),
    ]


async def test_an_older_answer_that_came_late_changes_only_later_rows(
    store: Store, directory: Directory, read_model: ClickHouseReadModel
) -> None:
    know(directory, "c1")
    store.channel("w1", "c1")
    store.post("w1", "p1", [target("t1")])
    store.snapshot("w1", "t1", "b", NOW - 1000, values(likes=2))
    store.snapshot("w1", "t1", "a", NOW - 1000, values(likes=1, views=9))
    rows = await answered(read_model, SnapshotsQuestion("w1", None, SINCE, 500))
    # One instant: rows are in the order of their ids, and the greater id counts.
    assert [(row.event_id, row.values[LIKES], row.values[VIEWS]) for row in rows] == [("a", 1, 9), ("b", 2, 9)]


async def test_snapshots_before_the_days_count_but_are_not_shown(
    store: Store, directory: Directory, read_model: ClickHouseReadModel
) -> None:
    know(directory, "c1")
    store.channel("w1", "c1")
    store.post("w1", "p1", [target("t1")])
    store.snapshot("w1", "t1", "old", SINCE - 1, values(likes=4))
    store.snapshot("w1", "t1", "new", SINCE, values(views=1))
    rows = await answered(read_model, SnapshotsQuestion("w1", None, SINCE, 500))
    assert [(row.event_id, row.values[LIKES]) for row in rows] == [("new", 4)]


async def test_a_list_is_bounded_and_ordered(
    store: Store, directory: Directory, read_model: ClickHouseReadModel
) -> None:
    know(directory, "c1", "c2")
    for channel_id in ("c1", "c2"):
        store.channel("w1", channel_id)
    store.post("w1", "p1", [target("tb"), target("ta"), target("tc", "c2")])
    for number in range(3):
        for name in ("tb", "ta", "tc"):
            store.snapshot("w1", name, f"e{number}", NOW - number, values(likes=number))
    rows = await answered(read_model, SnapshotsQuestion("w1", None, SINCE, 4))
    assert [(row.target_id, row.event_id) for row in rows] == [("ta", "e0"), ("tb", "e0"), ("tc", "e0"), ("ta", "e1")]
    rows = await answered(read_model, SnapshotsQuestion("w1", "c2", SINCE, 500))
    assert [(row.target_id, row.channel_id) for row in rows] == [("tc", "c2")] * 3


async def test_snapshots_belong_to_whom_the_catalog_says(
    store: Store, directory: Directory, read_model: ClickHouseReadModel
) -> None:
    know(directory, "c1", "c2")
    store.channel("w1", "c1")
    store.channel("w1", "c2", is_deleted=1)
    store.post("w1", "p1", [target("t1"), target("t2", "c2")])
    store.post("w1", "p2", [target("t3")], is_deleted=1)
    store.post("w2", "p1", [target("t4")])
    for workspace_id, name in (("w1", "t1"), ("w1", "t2"), ("w1", "t3"), ("w1", "t9"), ("w2", "t4"), ("w2", "t1")):
        store.snapshot(workspace_id, name, f"e-{workspace_id}", NOW - 1, values(likes=1), channel_id="claimed")
    rows = await answered(read_model, SnapshotsQuestion("w1", None, SINCE, 500))
    assert [(row.target_id, row.channel_id, row.event_id) for row in rows] == [("t1", "c1", "e-w1")]


async def test_a_repeated_event_is_one_row(store: Store, directory: Directory, read_model: ClickHouseReadModel) -> None:
    know(directory, "c1")
    store.channel("w1", "c1")
    store.post("w1", "p1", [target("t1")])
    for likes in (1, 2):
        store.snapshot("w1", "t1", "e1", NOW - 1, values(likes=likes))
    rows = await answered(read_model, SnapshotsQuestion("w1", None, SINCE, 500))
    assert [row.values[LIKES] for row in rows] == [2]


async def test_rows_carry_their_own_part_of_the_payload(
    store: Store, directory: Directory, read_model: ClickHouseReadModel
) -> None:
    know(directory, "c1")
    store.channel("w1", "c1")
    store.post("w1", "p1", [target("t1"), target("t2"), target("t3")])
    body = {
        "data": [{"id": "2", "public_metrics": {"like_count": 2}}, {"id": "1", "public_metrics": {"like_count": 1}}]
    }
    store.raw_event("w1", "e1", "x", [("t1", "1"), ("t2", "2")], body, request={"ids": "1,2"})
    for name in ("t1", "t2"):
        store.snapshot("w1", name, "e1", NOW - 1, values(likes=1))
    store.snapshot("w1", "t3", "lost", NOW - 1, values(likes=1))
    store.raw_event("w1", "strange", "myspace", [("t3", "3")], ["what"])
    store.snapshot("w1", "t3", "strange", NOW - 2, values(likes=1))
    rows = await answered(read_model, SnapshotsQuestion("w1", None, SINCE, 500))
    assert {row.target_id: orjson.loads(orjson.dumps(row.part)) for row in rows} == {
        "t1": body["data"][1],
        "t2": body["data"][0],
        "t3": {},
    }


async def test_a_history_has_each_target_with_its_own_rows(
    store: Store, directory: Directory, read_model: ClickHouseReadModel
) -> None:
    know(directory, "c1")
    store.post("w1", "p1", [target("t1", values=values(likes=9), captured_at=NOW), target("t2")])
    store.post("w1", "p2", [target("t3")])
    for number in range(4):
        store.snapshot("w1", "t1", f"e{number}", NOW - number, values(likes=9 - number))
    store.snapshot("w1", "t3", "e0", NOW, values(likes=1))
    history = await answered(read_model, PostHistoryQuestion("w1", "p1", SINCE, 3))
    assert [one.target_id for one in history.post.targets] == ["t1", "t2"]
    assert {name: [row.event_id for row in rows] for name, rows in history.snapshots.items()} == {
        "t1": ["e0", "e1", "e2"]
    }
    assert await read_model.answer(PostHistoryQuestion("w1", "unknown", SINCE, 3)) is None
