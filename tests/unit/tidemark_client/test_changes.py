"""The client's readers of changes: pages and events in order, resumed behind the last one after whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import httpx
import orjson
import pytest

from services.query_api.tidemark.changes.models import ACCOUNT_CHANGE, DELETED_CHANGE, PAGE, POST_CHANGE
from tests.unit.tidemark_client.test_client import Wire, no_waits, problem
from tidemark_client import Tidemark, TidemarkError
from tidemark_client.models import AccountData, PostData

__all__ = ["no_waits"]


def event(number: int, change: Any = POST_CHANGE) -> bytes:
    return b"id: c%d\nevent: %b\ndata: %b\n\n" % (number, change["type"].encode(), orjson.dumps(change))


class Broken(httpx.SyncByteStream):
    """A reply that breaks off after its chunks."""

    def __init__(self, *chunks: bytes) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks
        raise httpx.ReadError("connection reset")


def stream(*chunks: bytes, is_broken: bool = False) -> httpx.Response:
    headers = {"content-type": "text/event-stream"}
    if is_broken:
        return httpx.Response(200, headers=headers, stream=Broken(*chunks))
    return httpx.Response(200, headers=headers, content=b"".join(chunks))


def answers(*replies: httpx.Response | Exception) -> Callable[[httpx.Request], httpx.Response]:
    left = iter(replies)

    def answer(_: httpx.Request) -> httpx.Response:
        reply = next(left)
        if isinstance(reply, Exception):
            raise reply
        return reply

    return answer


def cursors(wire: Wire) -> list[str | None]:
    return [request.url.params.get("cursor") for request in wire.requests]


def test_pages_follow_each_other_to_the_end() -> None:
    more = {**PAGE, "next_cursor": "c1", "has_more": True}
    wire = Wire(answers(httpx.Response(200, json=more), httpx.Response(200, json={**PAGE, "next_cursor": "c2"})))
    pages = list(wire.client().changes(types=("post", "account"), page_size=3))
    assert [page.next_cursor for page in pages] == ["c1", "c2"]
    assert cursors(wire) == [None, "c1"]
    assert dict(wire.requests[0].url.params) == {"types": "post,account", "limit": "3"}
    post, account, deleted = pages[0].changes
    assert isinstance(post.state, PostData)
    assert post.state.metrics["likes"] == 1894
    assert isinstance(account.state, AccountData)
    assert account.state.type == "account.token_expired"
    assert (deleted.deleted, deleted.state, deleted.data) == (True, None, None)
    assert post.data == POST_CHANGE["data"]


def test_whoever_follows_waits_and_comes_back(no_waits: list[float]) -> None:
    empty = {"changes": [], "next_cursor": "c1", "has_more": False}
    away = [httpx.ConnectError("refused")] * 9
    wire = Wire(
        answers(httpx.Response(200, json=empty), *away, httpx.Response(200, json={**PAGE, "next_cursor": "c2"}))
    )
    page = next(wire.client().changes("c0", follows=True))
    assert page.next_cursor == "c2"
    assert cursors(wire) == ["c0", *["c1"] * 10]
    assert wire.requests[0].url.params["wait"] == "20"


def test_a_cursor_that_expired_ends_every_reader() -> None:
    reads: list[Callable[[Tidemark], Iterator[Any]]] = [
        lambda client: client.changes("c0", follows=True),
        lambda client: client.changes("c0"),
        lambda client: client.stream("c0"),
    ]
    for read in reads:
        wire = Wire(lambda _: problem(410, "cursor_expired"))
        with pytest.raises(TidemarkError, match="cursor_expired"):
            next(read(wire.client()))
        assert len(wire.requests) == 1


def test_a_stream_resumes_behind_the_last_event(no_waits: list[float]) -> None:
    wire = Wire(
        answers(
            stream(b":\n", event(1), event(2)[:20], is_broken=True),
            problem(503, "changes_unavailable", **{"retry-after": "7"}),
            httpx.ConnectError("refused"),
            stream(b":\n", event(2), event(3, ACCOUNT_CHANGE)),
            stream(event(4, DELETED_CHANGE)),
        )
    )
    found = list(islice(wire.client().stream(types=("post",)), 4))
    assert [change.cursor for change in found] == ["c1", "c2", "c3", "c4"]
    assert [change.type for change in found] == ["post", "post", "account", "channel"]
    assert cursors(wire) == [None, "c1", "c1", "c1", "c3"]
    assert wire.requests[0].headers["accept"] == "text/event-stream"
    assert 7.0 in no_waits, "as long as the server says"
    assert len(no_waits) == 4


def test_a_stream_from_now_has_a_place_before_the_first_event(no_waits: list[float]) -> None:
    place = {"changes": [], "next_cursor": "c0", "has_more": False}
    wire = Wire(answers(httpx.Response(200, json=place), stream(b":\n", is_broken=True), stream(event(1))))
    assert next(wire.client().stream("now")).cursor == "c1"
    assert cursors(wire) == ["now", "c0", "c0"]


def test_a_revoked_key_ends_a_stream() -> None:
    wire = Wire(answers(stream(event(1)), problem(401, "unauthorized")))
    changes = wire.client().stream()
    assert next(changes).cursor == "c1"
    with pytest.raises(TidemarkError, match="unauthorized"):
        next(changes)


def test_another_content_is_no_stream() -> None:
    wire = Wire(answers(httpx.Response(200, json={}), stream(event(1))))
    assert next(wire.client().stream()).cursor == "c1"
