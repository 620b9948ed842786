"""Streams of changes: events with the cursor behind each, resumed without a gap, ended when they have to end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest

from services.query_api.errors import CursorExpired, Invalid, ReadsUnavailable
from services.query_api.observability import STREAMS
from services.query_api.reads.sources import Sources
from services.query_api.reads.subscribing import SharedPages
from services.query_api.serving.endpoint import Request
from services.query_api.serving.packing import coding_for
from services.query_api.store.handle import StoreUnavailable
from services.query_api.tidemark.changes import stream
from services.query_api.tidemark.changes.models import CHANGE_SCHEMA, STREAM
from services.query_api.tidemark.changes.parameters import StreamParameters
from services.query_api.tidemark.changes.stream import stream_changes
from services.runtime.cursors import Place
from tests.support.query_api import NOW
from tests.support.stores import until
from tests.unit.query_api.tidemark.changes.api import CURSORS, INCARNATION, Subscribed, subscribed
from tests.unit.query_api.tidemark.resources.test_endpoints import conforms


class Event(NamedTuple):
    """A server-sent event."""

    id: str
    event: str
    data: Any


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Subscribed]:
    async with subscribed(tmp_path / "store") as made:
        yield made


def sources_of(api: Subscribed) -> Sources:
    return api.api.sources


def asked(workspace: str = "w1", last: str = "", **parameters: Any) -> Request[StreamParameters]:
    headers = ((b"last-event-id", last.encode()),) if last else ()
    return Request(workspace, "key_key", {}, StreamParameters(**parameters), headers, NOW)


class Reader:
    """Reads a stream, event by event; comments are counted."""

    def __init__(self, api: Subscribed, last: str = "", **parameters: Any) -> None:
        self._api = api
        self._asked = asked(last=last, **parameters)
        self._chunks: Any = None
        self._left: list[Event] = []
        self.comments = 0
        self.chunks = 0

    async def next(self) -> Event:
        """The next event."""
        if self._chunks is None:
            self._chunks = (await stream_changes(sources_of(self._api), self._asked)).chunks
        while not self._left:
            chunk = await asyncio.wait_for(anext(self._chunks), 20)
            self.chunks += 1
            assert self.comments < 5, "nothing comes"
            if chunk.startswith(b":"):
                assert b"\n\n" not in chunk, "some clients take a blank line for an event"
                self.comments += 1
            else:
                self._left = events_of(chunk.decode())
        return self._left.pop(0)

    async def close(self) -> None:
        await self._chunks.aclose()


def events_of(text: str) -> list[Event]:
    found = []
    assert text.endswith("\n\n")
    for block in text[:-2].split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        data = orjson.loads(fields["data"])
        assert conforms(data, CHANGE_SCHEMA)
        assert list(fields) == ["id", "event", "data"]
        found.append(Event(fields["id"], fields["event"], data))
    return found


async def test_everything_that_exists_comes_first_and_then_what_changes(api: Subscribed) -> None:
    await api.channel()
    await api.account()
    await api.post(likes=1)
    reader = Reader(api)
    first = [await reader.next() for _ in range(3)]
    assert {event.event for event in first} == {"post", "channel", "account"}
    assert [event.data["type"] for event in first] == [event.event for event in first]
    assert reader.comments == 1, "the reply begins at once"
    await api.figures(likes=2)
    event = await reader.next()
    assert (event.event, event.data["id"], event.data["data"]["metrics"]["likes"]) == ("post", "p1", 2)
    page = await api.page(f"?cursor={event.id}")
    assert page["changes"] == []
    await reader.close()


@pytest.mark.parametrize("by_header", [True, False])
async def test_each_events_id_is_the_cursor_behind_it(api: Subscribed, by_header: bool) -> None:
    await api.channel()
    for number in range(4):
        await api.post(f"p{number}", likes=number)
    reader = Reader(api)
    events = [await reader.next() for _ in range(5)]
    await reader.close()
    for number, event in enumerate(events[:-1]):
        resumed = Reader(api, last=event.id) if by_header else Reader(api, cursor=event.id)
        rest = [(await resumed.next()).data["id"] for _ in events[number + 1 :]]
        await resumed.close()
        assert rest == [later.data["id"] for later in events[number + 1 :]]


async def test_the_last_events_id_counts_before_the_cursor(api: Subscribed) -> None:
    await api.channel()
    await api.post(likes=1)
    page = await api.page()
    reader = Reader(api, last=page["next_cursor"], cursor="now")
    await api.figures(likes=9)
    assert (await reader.next()).data["data"]["metrics"]["likes"] == 9
    await reader.close()


async def test_only_wanted_types_come(api: Subscribed) -> None:
    await api.channel()
    await api.account()
    await api.post(likes=1)
    reader = Reader(api, types="account")
    assert (await reader.next()).event == "account"
    await api.figures(likes=2)
    await api.account(kind="account.recovered")
    assert (await reader.next()).data["data"]["type"] == "account.recovered"
    await reader.close()


async def test_a_comment_comes_while_nothing_changes(api: Subscribed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_SECONDS", 0.05)
    made = await stream_changes(sources_of(api), asked(cursor="now"))
    async with aclosing(made.chunks) as chunks:  # type: ignore[type-var]  # it is a generator
        for _ in range(4):
            assert await asyncio.wait_for(anext(chunks), 10) == b":\n"


async def test_a_page_is_made_once_for_readers_at_one_place(api: Subscribed) -> None:
    await api.channel()
    await api.post(likes=1)
    readers = [Reader(api, cursor="now") for _ in range(20)]
    waiting = [asyncio.create_task(reader.next()) for reader in readers]
    await until(lambda: len(api.store._waiting.get("w1", ())) == 20, "all wait")
    # Those who are new have looked once, each for itself.
    await asyncio.sleep(0.3)
    looked = len(api.api.store.asked)
    await api.figures(likes=2)
    events = await asyncio.gather(*waiting)
    assert {event.data["data"]["metrics"]["likes"] for event in events} == {2}
    assert len({event.id for event in events}) == 1
    assert len(api.api.store.asked) - looked <= 2, "one page, and one query at most for its answers and places"
    for reader in readers:
        await reader.close()


async def test_readers_that_came_one_after_the_other_are_all_told(api: Subscribed) -> None:
    await api.channel()
    await api.post(likes=1)
    readers, waiting = [Reader(api, cursor="now") for _ in range(12)], []
    for number, reader in enumerate(readers, 1):
        waiting.append(asyncio.create_task(reader.next()))
        await until(lambda number=number: len(api.store._waiting.get("w1", ())) == number, "it has begun")  # type: ignore[misc]
        # Its first page, which shows nothing, is the newest that was made at this place.
        await asyncio.sleep(0.02)
    looked = len(api.api.store.asked)
    await api.figures(likes=2)
    events = await asyncio.wait_for(asyncio.gather(*waiting), 10)
    assert {event.data["data"]["metrics"]["likes"] for event in events} == {2}
    assert len(api.api.store.asked) - looked <= 2, "one page for all of them"
    for reader in readers:
        await reader.close()


async def test_open_streams_are_counted_and_replies_that_wait_are_not_timed(api: Subscribed) -> None:
    await api.channel()
    before = STREAMS._value.get()
    reader = Reader(api)
    await reader.next()
    assert STREAMS._value.get() == before + 1
    await reader.close()
    assert STREAMS._value.get() == before
    await api.page()
    headers = {"authorization": "Bearer admin-key-of-the-tests"}
    text = (await api.api.client.get("/metrics", headers=headers)).text
    assert 'tidemark_query_api_requests_total{endpoint="/tidemark/v1/changes",product="tidemark",status="200"}' in text
    assert 'tidemark_query_api_request_seconds_count{endpoint="/tidemark/v1/changes",product="tidemark"} 0.0' in text


async def test_a_revoked_key_ends_the_stream(api: Subscribed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_LOOK_SECONDS", 0.05)
    await api.channel()
    for scopes in ((), ("webhooks:write",)):
        api.headers = api.api.add_key("w1", "key")
        reader = Reader(api)
        await reader.next()
        if scopes:
            api.api.add_key("w1", "key", scopes)
        else:
            api.api.keys.apply(("w1", "key_key"), None)
        with pytest.raises(StopAsyncIteration):
            await reader.next()


async def test_the_servers_end_ends_the_stream(api: Subscribed) -> None:
    await api.channel()
    reader = Reader(api)
    await reader.next()
    waiting = asyncio.create_task(reader.next())
    await until(lambda: api.store._waiting, "it waits")
    api.api.subscriptions.close()
    with pytest.raises(StopAsyncIteration):
        await asyncio.wait_for(waiting, 5)
    assert not api.store._waiting, "nobody waits for the store any more"


async def test_a_store_that_is_lost_ends_the_stream(api: Subscribed, monkeypatch: pytest.MonkeyPatch) -> None:
    await api.channel()
    reader = Reader(api)
    await reader.next()

    def lost(_: bool) -> None:
        raise StoreUnavailable

    monkeypatch.setattr(api.store, "begin", lost)
    for event in list(api.store._waiting["w1"]):
        event.set()
    with pytest.raises(StopAsyncIteration):
        await reader.next()


async def test_the_stream_goes_on_once_clickhouse_answers_again(api: Subscribed) -> None:
    await api.channel()
    reader = Reader(api, cursor="now")
    waiting = asyncio.create_task(reader.next())
    await until(lambda: api.store._waiting, "it waits")
    api.api.store.error = ReadsUnavailable()
    await api.channel(username="new")
    await until(lambda: any(name == "tidemark_channels" for name, _ in api.api.store.asked), "it was asked")
    api.api.store.error = None
    assert (await waiting).data["data"]["username"] == "new"
    await reader.close()


async def test_a_bad_cursor_is_refused_before_anything_is_sent(api: Subscribed) -> None:
    await api.channel()
    place = Place((0,) * 5, (0,) * 5)
    for cursor, error in (
        ("garbage", Invalid),
        (CURSORS.written("w2", place, NOW, INCARNATION), Invalid),
        (CURSORS.written("w1", place, NOW - 91 * 86_400_000, INCARNATION), CursorExpired),
    ):
        with pytest.raises(error):
            await stream_changes(sources_of(api), asked(cursor=cursor))
        with pytest.raises(error):
            await stream_changes(sources_of(api), asked(last=cursor))


async def test_pages_that_began_before_a_reader_came_to_its_cursor_are_not_its_own() -> None:
    pages, made = SharedPages(), 0

    async def make() -> int:
        nonlocal made
        made += 1
        await asyncio.sleep(0)
        return made

    assert await asyncio.gather(*(pages.page("key", 0.0, make) for _ in range(5))) == [1] * 5
    assert await pages.page("key", 0.0, make) == 1
    assert await pages.page("key", float("inf"), make) == 2
    assert await pages.page("other", 0.0, make) == 3


async def test_a_page_that_fails_is_made_again_and_a_reader_that_leaves_takes_it_from_nobody() -> None:
    pages, may_end = SharedPages(), asyncio.Event()

    async def fail() -> int:
        raise ReadsUnavailable

    async def slow() -> int:
        await may_end.wait()
        return 7

    with pytest.raises(ReadsUnavailable):
        await pages.page("key", 0.0, fail)
    leaving = asyncio.create_task(pages.page("key", 0.0, slow))
    await asyncio.sleep(0)
    staying = asyncio.create_task(pages.page("key", 0.0, fail))
    await asyncio.sleep(0)
    leaving.cancel()
    may_end.set()
    assert await staying == 7


def test_streams_are_not_compressed() -> None:
    assert coding_for("text/event-stream", ((b"accept-encoding", b"gzip, zstd"),)) is None


def test_the_sample_is_an_event() -> None:
    (event,) = events_of(STREAM)
    assert event.event == "post"


@pytest.mark.parametrize("is_header", [True, False])
async def test_a_stream_that_is_resumed_with_further_types_tells_all_of_them(api: Subscribed, is_header: bool) -> None:
    await api.channel()
    await api.account()
    await api.post(likes=1)
    reader = Reader(api, types="post")
    first = await reader.next()
    await reader.close()
    reader = Reader(api, last=first.id) if is_header else Reader(api, cursor=first.id)
    events = [await reader.next() for _ in range(2)]
    assert {event.event for event in events} == {"channel", "account"}
    await reader.close()
