"""Products' endpoints and Tidemark's own answer from the store, with every query of ClickHouse refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from schemas.topic_names import CHANNEL_ROLLUPS, CHANNELS, POST_ROLLUPS, POSTS
from services.query_api.drops import drop_things
from services.query_api.errors import ReadsUnavailable
from services.query_api.live import LiveReads, Pulled
from services.query_api.reads import own, patience
from services.query_api.reads.at_once import AtOnce
from services.query_api.reads.clickhouse import ClickHouse
from services.query_api.reads.own import OwnReads
from services.query_api.reads.patience import Patience
from services.query_api.reads.read_model import ClickHouseReadModel
from services.query_api.reads.snapshots import ReadSnapshots
from services.query_api.store.handle import Store, Touched
from services.query_api.store.layout import TOPICS
from tests.support import told
from tests.support.memory_brokers import MemoryBrokers
from tests.support.query_api import NOW, FakeApi, FakeStore, ManualClock, fake_api
from tests.support.stores import store_of, until
from tests.support.waiting import wait_until_async

AT = NOW - 60_000
X = told.values(
    impressions=400, likes=10, comments=2, shares=5, quotes=1, saves=3, clicks=1, profile_clicks=4, video_views=7,
    poll_votes=0, views=0, reach=0, dislikes=0, other_clicks=0, follows=0, watch_time_seconds=0,
    avg_watch_time_seconds=0,
)  # fmt: skip


class NoPoller:
    """A link that nobody takes requests from."""

    async def ask(self, *_: Any, **__: Any) -> Pulled | None:
        return None


class Api:
    """The application over a store, and a ClickHouse that refuses every query until it is told otherwise."""

    def __init__(self, store: Store, brokers: MemoryBrokers, *, is_at_once: bool, cache_bytes: int | None) -> None:
        self.store = store
        self.brokers = brokers
        self.clickhouse = FakeStore()
        self.clickhouse.error = ReadsUnavailable()
        self.stale: list[bool] = []
        self.own = OwnReads(store, lambda: self.stale.append(True))
        late: Patience[ReadSnapshots] = Patience(1 << 20, lambda read: read.held_bytes)
        explanations: Patience[Any] = Patience(1 << 20)
        self.api: FakeApi = fake_api(
            clickhouse=self.clickhouse,
            own_reads=self.own,
            cache_bytes=cache_bytes,
            at_once=(lambda directory: AtOnce(store, directory)) if is_at_once else None,
            explanations=explanations,
            reads=lambda directory: LiveReads(
                ClickHouseReadModel(cast("ClickHouse", self.clickhouse), directory, own_reads=self.own, late=late),
                NoPoller(),
                directory,
                ManualClock(),
            ),
        )
        self.api.add_channel("w1", "c1", "x")
        self.headers: Mapping[str, str] = self.api.add_key("w1", "key")

    async def get(self, path: str, **more: Any) -> httpx.Response:
        return await self.api.client.get(path, headers=self.headers, **more)


def filled() -> MemoryBrokers:
    """Topics with a post of two targets, and the windows of their channel."""
    brokers = told.topics()
    told.put(brokers, CHANNELS, "w1/c1", told.channel("w1", "c1"))
    targets = [told.target("t1", published_at=NOW - 5 * 86_400_000), told.target("t2", published_at=NOW - 3_600_000)]
    told.put(brokers, POSTS, "w1/p1", told.post("w1", "p1", targets))
    told.put(brokers, POST_ROLLUPS, "w1/p1", told.figures("w1", "p1", {"t1": X, "t2": told.values(likes=1)}, at=AT))
    for length in ("24h", "7d", "28d"):
        window = told.window("w1", "c1", length, start=NOW - 86_400_000, end=NOW, likes=11, engagements=21, views=400)
        told.put(brokers, CHANNEL_ROLLUPS, f"w1/c1/{length}", window)
    return brokers


@asynccontextmanager
async def api_of(folder: Path, *, is_at_once: bool, cache_bytes: int | None = None) -> AsyncIterator[Api]:
    brokers = filled()
    async with store_of(folder, brokers) as (store, _):
        yield Api(store, brokers, is_at_once=is_at_once, cache_bytes=cache_bytes)


@pytest.fixture(params=[True, False], ids=["at_once", "by_the_read_model"])
async def api(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Api]:
    """Once with answers without waiting, and once without."""
    async with api_of(tmp_path, is_at_once=request.param) as made:
        yield made


async def test_postme_shows_a_post_and_a_channel(api: Api) -> None:
    post = (await api.get("/api/v1/posts/p1/insights")).json()
    assert post["totals"]["likes"] == 11
    assert [(each["channel_id"], each["likes"]) for each in post["channels"]] == [("c1", 11)]
    channel = await api.get("/api/v1/channels/c1/insights?range=7d")
    assert channel.status_code == 200
    assert channel.json()["totals"]["likes"] == 11
    assert (await api.get("/api/v1/posts/p2/insights")).status_code == 404
    assert api.clickhouse.asked == []


async def test_what_is_asked_for_again_is_kept_until_the_store_shows_something_newer(tmp_path: Path) -> None:
    async with api_of(tmp_path, is_at_once=True, cache_bytes=1 << 20) as api:
        cache = api.api.cache
        assert cache is not None

        def changed(touched: Sequence[Touched]) -> None:
            for entry in touched:
                drop_things([cache], [(TOPICS[entry.topic_at], entry.parts, entry.is_gone)])

        api.store.on_change = changed
        sizes = []
        for _ in range(3):
            assert (await api.get("/api/v1/posts/p1/insights")).json()["totals"]["likes"] == 11
            sizes.append(len(cache))
        assert sizes == [0, 1, 1]
        told.put(api.brokers, POST_ROLLUPS, "w1/p1", told.figures("w1", "p1", {"t1": told.values(likes=50)}, at=AT))

        async def is_shown() -> bool:
            return bool((await api.get("/api/v1/posts/p1/insights")).json()["totals"]["likes"] == 50)

        await wait_until_async(is_shown, 20, "the newer figures are shown")


async def test_powerpost_shows_a_target(api: Api) -> None:
    api.headers = {**api.headers, "x-workspace-id": "w1"}
    reply = await api.get("/api/v1/post-items/t1/analytics")
    assert reply.status_code == 200
    assert reply.json()["metrics"]["likes"] == 10
    assert (await api.get("/api/v1/post-items/t9/analytics")).status_code == 404
    assert api.clickhouse.asked == []


async def test_postfuze_shows_the_last_snapshot_of_a_post(api: Api) -> None:
    reply = await api.get("/api/v1/posts/p1/analytics")
    assert reply.status_code == 200
    assert [row["likes"] for row in reply.json()["metrics_by_account"]] == [10, 1]
    assert api.clickhouse.asked == []


async def test_postflow_compares_posts_and_openpost_asks_clickhouse_for_snapshots_alone(api: Api) -> None:
    flow = await api.get("/v1/posts/p1/metrics")
    # Of two: the greater is above one and equal to itself, the lesser equal to itself.
    assert [(entry["likes"], entry["score"]) for entry in flow.json()] == [(10, 7.5), (1, 2.5)]
    assert api.clickhouse.asked == []
    assert (await api.get("/v1/analytics/post/p1")).status_code == 503
    api.clickhouse.error = None
    post = await api.get("/v1/analytics/post/p1")
    assert [entry["likes"] for entry in post.json()["data"]["targets"]] == [10, 1]
    assert {name for name, _ in api.clickhouse.asked} == {"target_snapshots"}


async def test_scores_of_a_large_channel_are_made_some_at_a_time_and_of_a_huge_one_by_clickhouse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with api_of(tmp_path, is_at_once=True) as api:
        shown = (await api.get("/v1/posts/p1/metrics")).json()
        monkeypatch.setattr(own, "SCORED_AT_ONCE", 1)
        assert (await api.get("/v1/posts/p1/metrics")).json() == shown
        assert api.clickhouse.asked == []
        monkeypatch.setattr(own, "MOST_SCORED", 1)
        assert (await api.get("/v1/posts/p1/metrics")).status_code == 503
        assert {name for name, _ in api.clickhouse.asked} == {"scored_targets"}


async def test_tidemark_shows_pages_of_posts(api: Api) -> None:
    whole = {f"t{number}": X for number in range(4)}
    for number in range(2, 6):
        targets = [told.target(f"u{number}", published_at=NOW)]
        told.put(api.brokers, POSTS, f"w1/p{number}", told.post("w1", f"p{number}", targets))
        told.put(api.brokers, POST_ROLLUPS, f"w1/p{number}", told.figures("w1", f"p{number}", {f"u{number}": X}, at=AT))
    told.put(api.brokers, POST_ROLLUPS, "w1/p1", told.figures("w1", "p1", {**whole, "t1": X, "t2": X}, at=AT))

    def is_seen() -> bool:
        with api.store.view() as view:
            return view.post_of("w1", "t3") == "p1" and view.post("w1", "p5") is not None

    await until(is_seen, "the store shows all of them")
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(3):
        asked = {"limit": "2"} if cursor is None else {"limit": "2", "cursor": cursor}
        page = (await api.get("/tidemark/v1/posts", params=asked)).json()
        seen += [post["id"] for post in page["data"]]
        cursor = page["next_cursor"]
    assert seen == ["p1", "p2", "p3", "p4", "p5"]
    assert cursor is None
    assert api.clickhouse.asked == []


async def test_tidemark_shows_posts_and_targets(api: Api) -> None:
    # All that the platform reports is known of the first target; the second has reasons that only answers tell.
    reply = await api.get("/tidemark/v1/targets/t1")
    assert reply.status_code == 200
    target = reply.json()
    assert (target["metrics"]["likes"], target["post_id"], target["captured_at"][:4]) == (10, "p1", "2026")
    assert api.clickhouse.asked == []
    many = await api.get("/tidemark/v1/targets", params={"ids": "t1,t9"})
    assert [entry["id"] for entry in many.json()["data"]] == ["t1"]
    assert many.json()["missing"] == ["t9"]
    assert api.clickhouse.asked == []
    # Why the others are null only ClickHouse tells.
    assert (await api.get("/tidemark/v1/posts/p1")).status_code == 503
    api.clickhouse.error = None
    assert (await api.get("/tidemark/v1/posts/p1")).json()["metrics"]["likes"] == 11
    assert {name for name, _ in api.clickhouse.asked} == {"tidemark_target_answers"}


def _raw(event_id: str, target_id: str, status: int) -> list[Any]:
    """A row of an answer as received, with a payload that is no JSON."""
    asked = ["/2/tweets", {"ids": f"e-{target_id}"}, [target_id], ["p1"], [f"e-{target_id}"]]
    return [event_id, "c1", "x", "POST_METRICS", *asked, status, "bm8=", AT, "LIVE"]


async def test_what_an_answer_means_is_read_once(api: Api) -> None:
    clickhouse = api.clickhouse
    clickhouse.error = None
    clickhouse.answers = {
        "tidemark_target_answers": [["t2", "e1", 200, AT + 1]],
        "tidemark_requests": [["e1", "/2/tweets", {"ids": "e-t2"}, ["t2"], ["e-t2"]]],
        "tidemark_events": [_raw("e1", "t2", 200)],
    }
    first = await api.get("/tidemark/v1/targets/t2")
    # By its status alone it would be good.
    assert first.json()["reasons"]["impressions"] == "error"
    assert [name for name, _ in clickhouse.asked] == ["tidemark_target_answers", "tidemark_requests", "tidemark_events"]
    clickhouse.asked.clear()
    assert (await api.get("/tidemark/v1/targets/t2")).content == first.content
    assert [name for name, _ in clickhouse.asked] == ["tidemark_target_answers"]


async def test_figures_are_the_newest_where_clickhouse_takes_too_long(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "WAIT_SECONDS", 0.01)
    clickhouse = api.clickhouse
    clickhouse.error = None
    stood = [["e1", "t2", AT, told.values(likes=1)]]
    clickhouse.answers = {
        "target_snapshots": stood,
        "workspace_snapshots": stood,
        "tidemark_target_answers": [["t2", "e1", 500, AT]],
    }
    paths = ("/v1/analytics/post/p1", "/v1/analytics?days=30", "/tidemark/v1/targets/t2")
    before = [(await api.get(path)).json() for path in paths]
    clickhouse.goes = asyncio.Event()
    told.put(api.brokers, POST_ROLLUPS, "w1/p1", told.figures("w1", "p1", {"t1": X, "t2": told.values(likes=9)}, at=AT))

    async def is_shown() -> bool:
        return bool((await api.get(paths[0])).json()["data"]["totals"]["likes"] == 19)

    await wait_until_async(is_shown, 20, "the newer figures are shown")
    post, listed, target = [(await api.get(path)).json() for path in paths]
    assert [entry["likes"] for entry in post["data"]["targets"]] == [10, 9]
    assert post["data"]["targets"][1]["snapshots"] == before[0]["data"]["targets"][1]["snapshots"]
    assert len(listed["data"]) == 1
    assert listed == before[1]
    assert target["metrics"]["likes"] == 9
    assert target["reasons"] == before[2]["reasons"]
    assert target["reasons"]["impressions"] == "error"
    # Another number of days was not read.
    waiting = asyncio.create_task(api.get("/v1/analytics?days=29"))
    done, _ = await asyncio.wait({waiting}, timeout=0.2)
    assert not done
    # What is gone meanwhile is not shown.
    told.put(api.brokers, POSTS, "w1/p1", told.post("w1", "p1", [told.target("t1")]))

    async def is_gone() -> bool:
        return bool((await api.get(paths[1])).json() == {"data": []})

    await wait_until_async(is_gone, 20, "its snapshots are not shown")
    clickhouse.goes.set()
    await waiting


async def test_what_was_read_a_moment_ago_makes_replies_that_are_kept_until_something_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "WAIT_SECONDS", 0.01)
    async with api_of(tmp_path, is_at_once=False, cache_bytes=1 << 20) as api:
        cache = api.api.cache
        assert cache is not None

        seen: list[Touched] = []

        def changed(touched: Sequence[Touched]) -> None:
            seen.extend(touched)
            for entry in touched:
                drop_things([cache], [(TOPICS[entry.topic_at], entry.parts, entry.is_gone)])

        api.store.on_change = changed
        clickhouse = api.clickhouse
        clickhouse.error = None
        clickhouse.answers = {"workspace_snapshots": [["e1", "t2", AT, told.values(likes=1)]]}
        # Addresses of one question, each with a reply of its own.
        first, second, third = (f"/v1/analytics?days=30&same={number}" for number in range(3))
        content = (await api.get(first)).content
        clickhouse.goes = asyncio.Event()
        assert (await api.get(second)).content == content
        asked = len(clickhouse.asked)
        for path in (first, second):
            assert (await api.get(path)).content == content
        assert len(clickhouse.asked) == asked, "both replies are kept"
        # From here on what was read may be old: replies that are made of it are shown, and not kept.
        told.put(api.brokers, POST_ROLLUPS, "w1/p1", told.figures("w1", "p1", {"t2": told.values(likes=9)}, at=AT))
        await until(lambda: bool(seen), "the change is known")
        assert (await api.get(third)).content == content
        clickhouse.answers = {"workspace_snapshots": [["e2", "t2", AT, told.values(likes=9)]]}
        clickhouse.goes.set()

        async def is_newest() -> bool:
            return bool((await api.get(third)).json()["data"][0]["likes"] == 9)

        await wait_until_async(is_newest, 5, "the next reader is shown the newest")


async def test_a_window_that_does_not_hold_any_more_is_computed(api: Api) -> None:
    told.put(api.brokers, CHANNEL_ROLLUPS, "w1/c1/7d", told.window("w1", "c1", "7d", valid_until=NOW - 1_000, likes=99))

    def is_seen() -> bool:
        with api.store.view() as view:
            window = view.window("w1", "c1", "7d")
            return window is not None and window.valid_until == NOW - 1_000

    await until(is_seen, "the store shows it")
    assert (await api.get("/api/v1/channels/c1/insights?range=7d")).status_code == 503
    api.clickhouse.error = None
    reply = await api.get("/api/v1/channels/c1/insights?range=7d")
    assert (reply.status_code, reply.json()["totals"]["likes"]) == (200, 0)


async def test_clickhouse_answers_while_the_store_may_be_old(api: Api) -> None:
    api.brokers.go_away()
    await until(lambda: not api.store.is_current, "it says so")
    api.clickhouse.error = None
    # ClickHouse knows no such post, and is asked first.
    assert (await api.get("/api/v1/posts/p1/insights")).status_code == 404
    assert api.stale == []
    api.clickhouse.error = ReadsUnavailable()
    reply = await api.get("/api/v1/posts/p1/insights")
    assert reply.status_code == 200
    assert api.stale, "what is made now is not kept"
    await until(lambda: api.own.stale_seconds > 0, "its age is known")
    api.brokers.come_back()
    await until(lambda: api.store.is_current, "it is current again")
    assert api.own.stale_seconds == 0


async def test_without_figures_of_targets_clickhouse_answers(api: Api) -> None:
    figures = told.figures("w1", "p1", {"t1": X, "t2": told.values(likes=1)}, at=AT, is_old=True)
    told.put(api.brokers, POST_ROLLUPS, "w1/p1", figures)

    def is_seen() -> bool:
        with api.store.view() as view:
            return view.incomplete == 1

    await until(is_seen, "the store shows it")
    assert (await api.get("/api/v1/posts/p1/insights")).status_code == 503
    assert {name for name, _ in api.clickhouse.asked} == {"posts"}
