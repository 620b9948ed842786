"""Large answers over fakes and a real server: unread ones give way, long series are streamed, payloads are bounded."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import httpx
import orjson
import pytest
import uvicorn

from schemas.events import PlatformRaw, RawTarget
from services.platforms.json_reading import Parsed, json_object
from services.query_api.reads.payloads import grouped
from services.query_api.reads.query import (
    AccountFigures,
    AccountHistory,
    AccountHistoryQuestion,
    AccountSnapshot,
    Snapshot,
    SnapshotsQuestion,
)
from services.query_api.reads.snapshots import _parts
from services.query_api.tidemark.resources import explain
from services.runtime.http_limits import HttpLimits, limited_protocol
from tests.support.parsing import counted
from tests.support.proportion import MOST, growth
from tests.support.query_api import FakeApi, fake_api, values

RANGE = "/api/v1/social-accounts/c1/metrics"
LARGE = Snapshot("e", "t1", "c1", 0, values(likes=1), orjson.Fragment(b'"' + b"x" * 4_000_000 + b'"'))


@asynccontextmanager
async def serving(api: FakeApi) -> AsyncIterator[int]:
    """The application behind a real socket; its port."""
    app = api.client._transport.app  # type: ignore[attr-defined]  # as it was made
    config = uvicorn.Config(
        app, port=0, http=limited_protocol(HttpLimits()), ws="none", log_config=None, lifespan="off"
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(10):
            while not server.started:  # noqa: ASYNC110 - uvicorn tells it no other way
                await asyncio.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        server.force_exit = True
        await task


async def unread(stack: AsyncExitStack, port: int, path: str, headers: Any) -> None:
    """A request whose reply nobody reads."""
    held = stack.enter_context(socket.socket())
    held.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    held.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(held, ("127.0.0.1", port))
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    await loop.sock_sendall(held, f"GET {path} HTTP/1.1\r\nhost: a\r\n{lines}\r\n".encode())


@pytest.mark.parametrize("tenants", [1, 8])
async def test_unread_answers_leave_others_their_turn(tenants: int) -> None:
    """A tenant's own unread ones hold two turns at most; those of many give way to whoever waits."""
    api = fake_api()

    async def answer(question: Any) -> Any:
        assert isinstance(question, SnapshotsQuestion)
        return (LARGE,)

    api.read_model.answer = answer  # type: ignore[method-assign]  # for every workspace
    quiet = api.add_key("quiet", "quiet")
    async with serving(api) as port, AsyncExitStack() as stack:
        for number in range(24):
            name = f"greedy{number % tenants}"
            await unread(stack, port, "/v1/analytics", api.add_key(name, name))
        await asyncio.sleep(0.5)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
            reply = await client.get("/v1/analytics", headers=quiet)
            assert reply.status_code == 200
            assert len(reply.content) > 4_000_000


class Counted:
    """The parts of a series, and whether it was closed."""

    def __init__(self, parts: Sequence[Sequence[AccountSnapshot]]) -> None:
        self.parts = parts
        self.is_closed = False

    async def read(self) -> AsyncGenerator[Sequence[AccountSnapshot], None]:
        try:
            for part in self.parts:
                yield part
        finally:
            self.is_closed = True


@pytest.mark.parametrize("sizes", [[2, 1, 3], [1], [], [2, 0, 1]])
async def test_a_streamed_series_is_the_whole_one(sizes: list[int]) -> None:
    figures = AccountFigures(1, 2, 3, 4, 5, 6)
    rows = [AccountSnapshot(number, figures, {"n": number}) for number in range(1, 20)]
    first, left = rows[:2], iter(rows[2:])
    parts = [[next(left) for _ in range(size)] for size in sizes]
    whole = AccountHistory("c1", "x", [*first, *(row for part in parts for row in part)])
    api = fake_api()
    key = api.add_key("w1", "good")
    rest = Counted(parts)
    replies = []
    for answer in (whole, AccountHistory("c1", "x", first, rest.read())):
        question = AccountHistoryQuestion("w1", "c1", 1_000, 2_000)
        api.read_model.answers[question] = answer
        replies.append(await api.client.get(RANGE, params={"since": "1", "until": "2"}, headers=key))
    assert [reply.status_code for reply in replies] == [200, 200]
    assert replies[0].content == replies[1].content
    assert replies[1].headers["cache-control"] == "private"
    assert rest.is_closed


def test_payloads_are_read_in_groups_that_fit_into_memory() -> None:
    sizes = {"a": 3, "b": 3, "c": 9, "d": 1, "e": 1}
    groups = list(grouped([*sizes, "lost"], sizes, most_bytes=6))
    assert groups == [(["a", "b"], 6), (["c"], 9), (["d", "e", "lost"], 2)]
    assert list(grouped([], {})) == []


def _event(count: int, size: int) -> list[Any]:
    names = [f"t{number}" for number in range(count)]
    body = {"data": [{"id": name, "text": "x" * size, "public_metrics": {"like_count": 1}} for name in names]}
    encoded = base64.b64encode(orjson.dumps(body)).decode()
    return ["e", "c1", "x", "POST_METRICS", "/2/tweets", {"ids": ",".join(names)}, names, names, names, 200, encoded, 0,
            "SCHEDULE"]  # fmt: skip


def test_a_payload_is_parsed_once_for_all_of_its_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = counted(monkeypatch)
    names = [f"t{number}" for number in range(100)]
    found = _parts("w1", [_event(100, 10)], {"e": names}, 10**9)
    assert len(parsed) == 1
    assert [orjson.loads(found["e"].parts[name] or b"")["id"] for name in names] == names
    with Parsed():
        assert json_object(b'{"a":1}') is json_object(b'{"a":1}')
    assert json_object(b'{"a":1}') is not json_object(b'{"a":1}')


def test_what_was_parsed_is_found_again_however_often_it_is_entered() -> None:
    outer, inner = Parsed(), Parsed()
    with outer:
        held = json_object(b'{"a":1}')
        with inner, inner, outer:
            assert json_object(b'{"a":1}') is held
        assert json_object(b'{"a":1}') is held
        with inner:
            assert json_object(b'{"a":1}') is not held
    assert json_object(b'{"a":1}') is not held
    with outer:
        assert json_object(b'{"a":1}') is held


def _answer(name: str, entries: int) -> PlatformRaw:
    """An answer of a platform about so many targets, each with a post in it."""
    ids = [f"1{number:05}" for number in range(entries)]
    endpoint, body = {
        "reddit": ("/api/info", {"data": {"children": [{"kind": "t3", "data": {"name": f"t3_{one}"}} for one in ids]}}),
        "bluesky": ("/xrpc/app.bsky.feed.getPosts", {"posts": [{"uri": f"at://did:plc:a/c/{one}"} for one in ids]}),
        "x": ("/2/tweets", {"data": [{"id": one} for one in ids]}),
        "youtube": ("/youtube/v3/videos", {"items": [{"id": one} for one in ids]}),
        "pinterest": ("/v5/pins", {"items": [{"id": one} for one in ids]}),
    }[name]
    before = {"reddit": "t3_", "bluesky": "at://did:plc:a/c/"}.get(name, "")
    targets = tuple(RawTarget(one, "p", f"{before}{one}") for one in ids)
    return PlatformRaw(
        "e", "w1", "c1", name, "POST_METRICS", endpoint, {}, targets, 200, orjson.dumps(body), 0, "SCHEDULE"
    )


def _row(event: PlatformRaw) -> list[Any]:
    ids = [[target[column] for target in event.targets] for column in range(3)]
    return [event.event_id, event.channel_id, event.platform, event.kind, event.endpoint, event.request, *ids,
            event.http_status, base64.b64encode(event.body).decode(), event.captured_at, event.origin]  # fmt: skip


@pytest.mark.parametrize("name", ["reddit", "bluesky", "x", "youtube", "pinterest"])
def test_parts_of_twice_the_targets_take_at_most_twice_the_time(name: str) -> None:
    small, large = (_answer(name, entries) for entries in (300, 600))
    found = _parts("w1", [_row(small)], {"e": [target.target_id for target in small.targets]}, 10**9)
    explained = explain._parts(small, {target.target_id for target in small.targets}, 10**9)
    assert found["e"].parts == explained
    assert all(part is not None and target_id.encode() in part for target_id, part in explained.items())

    def snapshots(event: PlatformRaw) -> object:
        return _parts("w1", [_row(event)], {"e": [target.target_id for target in event.targets]}, 10**9)

    def explanation(event: PlatformRaw) -> object:
        return explain._parts(event, {target.target_id for target in event.targets}, 10**9)

    for read in (snapshots, explanation):
        assert growth(partial(read, small), partial(read, large)) <= MOST


def test_parts_of_an_explanation_end_when_there_is_no_more_room() -> None:
    event = _answer("x", 10)
    assert list(explain._parts(event, {target.target_id for target in event.targets}, 20)) == ["100000", "100001"]


def test_parts_end_when_there_is_no_more_room() -> None:
    names = [f"t{number}" for number in range(10)]
    found = _parts("w1", [_event(10, 1_000)], {"e": names}, 3_000)
    assert [name for name in names if found["e"].parts[name] is not None] == names[:3]
