"""Parameters, refusals and replies of series, totals and exports, over fakes."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import httpx
import pytest
from starlette.types import Message

from services.query_api.errors import ReadsUnavailable, TooManyRequests
from services.query_api.reads.clickhouse import StreamBroken
from services.query_api.reads.query import Post, PostQuestion, TargetQuestion
from services.query_api.reads.sources import Sources
from services.query_api.serving.endpoint import Request
from services.query_api.tidemark.analysis.exports import Exports
from services.query_api.tidemark.analysis.parameters import ExportParameters
from services.query_api.tidemark.analysis.slots import ExportsBusy, Slots
from tests.support.query_api import NOW, FakeApi, FakeStore, fake_api, target

SPAN = {"from": "2026-06-01", "to": "2026-06-03"}
FIRST, SECOND = 1_780_272_000_000, 1_780_358_400_000
LIKES, COMMENTS, WATCH = 3, 5, 14


@pytest.fixture
def api() -> FakeApi:
    """A workspace with a channel, a post of two targets and a target."""
    found = fake_api()
    found.add_channel("w1", "c1")
    targets = (target("t1"), target("t2"))
    found.read_model.answers[PostQuestion("w1", "p1")] = Post("p1", "published", None, None, NOW, targets)
    found.read_model.answers[TargetQuestion("w1", "t1")] = targets[0]
    return found


def spoken(*places: int) -> list[list[Any]]:
    """The masks of a workspace whose answers speak of these metrics, none as of a range of dates."""
    return [[sum(1 << place for place in places), 0]]


async def get(api: FakeApi, path: str, *, accept: str = "*/*", **params: str) -> httpx.Response:
    headers = {**api.add_key("w1", "k"), "accept": accept}
    # An empty mapping would take away what the path asks.
    return await api.client.get(f"/tidemark/v1/{path}", params=params or None, headers=headers)


@pytest.mark.parametrize(
    ("path", "params", "said"),
    [
        ("posts/p1/series", {}, "metrics"),
        ("posts/p1/series", {"metrics": "followers"}, "metrics: must be some of views"),
        ("posts/p1/series", {"metrics": "reach", "mode": "increments"}, "with mode=increments"),
        ("channels/c1/series", {"metrics": "poll_votes", "source": "channel"}, "metrics: must be some of followers"),
        ("targets/t1/series", {"metrics": "likes", "step": "week"}, "step"),
        ("targets/t1/series", {"metrics": "likes", "mode": "sum"}, "mode"),
        ("targets/t1/series", {"metrics": "likes", "tz": "Nowhere"}, "tz: must be the IANA name"),
        ("targets/t1/series", {"metrics": "likes", "from": "x"}, "from: must be unix seconds, or an ISO 8601 time"),
        ("targets/t1/series", {"metrics": "likes", "to": "2300-01-01"}, "to: must be from 1970"),
        (
            "targets/t1/series",
            {"metrics": "likes", "from": "2026-06-02", "to": "2026-06-02"},
            "from: must be before to",
        ),
        ("targets/t1/series", {"metrics": "likes", "from": "2020-01-01", "step": "hour"}, "more than 10000 points"),
        ("targets/t1/series", {"metrics": "likes", "format": "parquet"}, "format"),
        ("totals", {"attribution": "both"}, "attribution"),
        ("totals", {"compare": "year"}, "compare"),
        ("totals", {"metrics": "likes"}, "metrics"),
        ("exports/posts", {"format": "json"}, "format"),
        ("exports/posts", {"channel_id": "no id"}, "channel_id"),
        ("exports/posts", {"from": "2026-06-02", "to": "2026-06-01"}, "from: must be before to"),
        ("exports/channels", {"from": "2026-06-02"}, "from, to: this data set has no times"),
    ],
)
async def test_bad_parameters(api: FakeApi, path: str, params: dict[str, str], said: str) -> None:
    reply = await get(api, path, **params)
    assert (reply.status_code, reply.json()["code"]) == (422, "invalid_parameter")
    assert said in reply.json()["message"]
    assert not api.store.asked


@pytest.mark.parametrize(
    "path",
    ["posts/p9/series?metrics=likes", "targets/t9/series?metrics=likes", "channels/c9/series?metrics=likes",
     "channels/c9/totals", "exports/raw-events", "exports/posts?channel_id=c9"],
)  # fmt: skip
async def test_what_is_not_there(api: FakeApi, path: str) -> None:
    api.add_channel("w2", "c9")
    reply = await get(api, path)
    assert (reply.status_code, reply.json()["code"]) == (404, "not_found")
    assert not api.store.asked


async def test_a_series(api: FakeApi) -> None:
    api.store.answers["spoken_metrics"] = spoken(LIKES, COMMENTS, WATCH)
    api.store.answers["post_series"] = [
        [FIRST - 1, "5", 1, "0", 0, "0", 0],
        [FIRST, "0", 0, "0", 0, "81500", 1],
        [SECOND, "-2", 0, "1", 1, "0", 0],
    ]
    reply = await get(api, "posts/p1/series", metrics="likes,engagements,watch_time_seconds", **SPAN)
    assert reply.text == (
        '{"post_id":"p1","metrics":["likes","engagements","watch_time_seconds"],"from":"2026-06-01T00:00:00Z",'
        '"to":"2026-06-03T00:00:00Z","step":"day","tz":"UTC","mode":"cumulative","points":['
        '{"start":"2026-06-01T00:00:00Z","end":"2026-06-02T00:00:00Z","likes":5,"engagements":5,"watch_time_seconds":81.500},'
        '{"start":"2026-06-02T00:00:00Z","end":"2026-06-03T00:00:00Z","likes":3,"engagements":4,"watch_time_seconds":81.500}]}'
    )
    (first, _), (name, asked) = api.store.asked
    assert (first, name) == ("spoken_metrics", "post_series")
    assert asked == {
        "workspace": "w1",
        "targets": ["t1", "t2"],
        "start": FIRST,
        "end": SECOND + 86_400_000,
        "edges": [FIRST, SECOND],
    }


async def test_a_series_as_a_table(api: FakeApi) -> None:
    api.store.answers = {"spoken_metrics": spoken(LIKES), "post_series": [[SECOND, "7", 2]]}
    reply = await get(api, "targets/t1/series", accept="text/csv", metrics="likes", mode="increments", **SPAN)
    assert reply.headers["content-type"].startswith("text/csv")
    assert list(csv.reader(io.StringIO(reply.text))) == [
        ["start", "end", "likes"],
        ["2026-06-01T00:00:00Z", "2026-06-02T00:00:00Z", ""],
        ["2026-06-02T00:00:00Z", "2026-06-03T00:00:00Z", "7"],
    ]


async def test_a_channel_has_figures_of_its_posts_and_of_itself(api: FakeApi) -> None:
    api.store.answers = {
        "spoken_metrics": spoken(LIKES),
        "post_series": [[FIRST, "1", 1]],
        "channel_series": [[FIRST, "90", 1]],
    }
    reply = await get(api, "channels/c1/series", metrics="likes,followers", **SPAN)
    assert reply.json()["points"][1] == {
        "start": "2026-06-02T00:00:00Z", "end": "2026-06-03T00:00:00Z", "likes": 1, "followers": 90,
    }  # fmt: skip
    api.store.asked.clear()
    await get(api, "channels/c1/series", metrics="views", source="channel", **SPAN)
    assert [name for name, _ in api.store.asked] == ["channel_series"]


async def test_the_span_of_who_asks_for_none(api: FakeApi) -> None:
    reply = (await get(api, "channels/c1/totals")).json()
    end = NOW // 1000 * 1000
    ((_, asked),) = api.store.asked
    assert (asked["start"], asked["end"]) == (end - 28 * 86_400_000, end)
    assert reply["compared_with"] is None


async def test_published_totals_compared(api: FakeApi) -> None:
    def row(is_current: int, likes: int, count: int) -> list[Any]:
        # Of the likes, 12 are of targets that have a rate.
        figures: list[Any] = ["0", 0] * 17
        figures[LIKES * 2 : LIKES * 2 + 2] = [str(likes), count]
        figures[30:32] = ["1500", count]
        return [is_current, "12", "48", *figures]

    api.store.answers["published_totals"] = [row(1, 30, 1), row(0, 20, 2)]
    found = (await get(api, "totals", compare="previous", **SPAN)).json()
    assert found["compared_with"] == {"from": "2026-05-30T00:00:00Z", "to": "2026-06-01T00:00:00Z"}
    assert found["metrics"]["likes"] == {"value": 30, "previous": 20, "change": 0.5}
    assert found["metrics"]["engagements"] == {"value": 30, "previous": 20, "change": 0.5}
    # Of two posts there is no mean.
    assert found["metrics"]["avg_watch_time_seconds"] == {"value": 1.5, "previous": None, "change": None}
    assert found["metrics"]["views"] == {"value": None, "previous": None, "change": None}
    assert found["metrics"]["engagement_rate"]["value"] == 0.25
    assert "followers" not in found["metrics"]
    assert not {"rated_engagements", "rate_base"} & set(found["metrics"])


async def test_received_totals_compared(api: FakeApi) -> None:
    def grown(asked: dict[str, Any]) -> list[list[Any]]:
        assert asked["edges"] == asked["opens"]
        # Both windows in one answer: growth, a number of differences, and nothing of which there is a rate.
        return [[start, "8" if start == FIRST else "0", 1, "0", "0", 0] for start in asked["edges"]]

    api.store.answers = {"spoken_metrics": spoken(LIKES), "post_series": grown}
    found = (await get(api, "channels/c1/totals", attribution="received", compare="previous", **SPAN)).json()
    assert found["metrics"]["likes"] == {"value": 8, "previous": 0, "change": None}
    assert found["metrics"]["followers"] == {"value": None, "previous": None, "change": None}
    assert found["metrics"]["reach"]["value"] is None


async def test_what_no_answer_speaks_of_is_not_looked_for(api: FakeApi) -> None:
    api.store.answers["spoken_metrics"] = spoken(COMMENTS)
    reply = await get(api, "posts/p1/series", metrics="likes", **SPAN)
    assert [point["likes"] for point in reply.json()["points"]] == [None, None]
    assert [name for name, _ in api.store.asked] == ["spoken_metrics"]


@pytest.mark.parametrize("path", ["totals", "posts/p1/series?metrics=likes", "exports/posts"])
async def test_without_clickhouse(api: FakeApi, path: str) -> None:
    api.store.error = ReadsUnavailable()
    reply = await get(api, path)
    assert (reply.status_code, reply.json()["code"]) == (503, "analytics_unavailable")
    assert "retry-after" in reply.headers


async def test_an_export(api: FakeApi) -> None:
    api.store.answers["export_post-snapshots"] = [["a"], ["b"]]
    reply = await get(api, "exports/post-snapshots", channel_id="c1", format="ndjson", tz="Europe/Berlin", **SPAN)
    assert reply.text == "['a']\n['b']\n"
    assert reply.headers["content-type"] == "application/x-ndjson"
    assert reply.headers["content-disposition"] == 'attachment; filename="post-snapshots.ndjson"'
    ((_, asked),) = api.store.asked
    assert asked == {
        "workspace": "w1", "channel": "c1", "from": FIRST - 7_200_000, "to": SECOND + 79_200_000, "is_open": 0,
    }  # fmt: skip


class Endless(FakeStore):
    """Gives chunks for as long as it is asked, or breaks off after the first."""

    def __init__(self, *, breaks: bool = False) -> None:
        super().__init__()
        self.breaks = breaks
        self.closed = 0

    async def stream(
        self, name: str, sql: str, parameters: dict[str, Any], fmt: str, settings: Mapping[str, Any] | None = None
    ) -> AsyncGenerator[bytes, None]:
        try:
            yield b"first\n"
            while not self.breaks:
                yield b"more\n"
            raise StreamBroken
        finally:
            self.closed += 1


def request(key_id: str = "k") -> Request[ExportParameters]:
    return Request("w1", key_id, {"dataset": "posts"}, ExportParameters(), (), NOW)


async def test_a_key_has_so_many_exports_at_a_time(api: FakeApi) -> None:
    store = Endless()
    sources = Sources(store, api.directory, api.read_model)
    exports = Exports(Slots(3, 3, 2, seconds=0.2))

    async def begin(key_id: str) -> AsyncGenerator[bytes, None]:
        chunks = (await exports.answer(sources, request(key_id))).chunks
        assert isinstance(chunks, AsyncGenerator)
        await anext(chunks)
        return chunks

    first, _second = await begin("k"), await begin("k")
    with pytest.raises(TooManyRequests) as refused:
        await begin("k")
    assert refused.value.headers == ((b"retry-after", b"5"),)
    other = await begin("another")
    with pytest.raises(ExportsBusy):
        await begin("third")
    await first.aclose()
    await other.aclose()
    assert store.closed == 2
    await begin("k")


async def test_what_breaks_off_is_not_ended(api: FakeApi) -> None:
    store = Endless(breaks=True)
    broken = fake_api(clickhouse=store)
    key = broken.add_key("w1", "k")
    sent: list[Message] = []

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError("nothing is received")

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "GET", "path": "/tidemark/v1/exports/posts", "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in key.items()],
    }  # fmt: skip
    await broken.client._transport.app(scope, receive, send)  # type: ignore[attr-defined]
    assert sent[0]["status"] == 200
    assert all(message.get("more_body") for message in sent[1:])
    assert store.closed == 1
