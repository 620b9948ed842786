"""The client's readers of changes: pages and events in order, resumed behind the last one after whatever happens."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import islice
from time import monotonic
from typing import Any

import httpx
import orjson
import pytest

from services.query_api.tidemark.changes.models import ACCOUNT_CHANGE, DELETED_CHANGE, PAGE, POST_CHANGE
from tests.unit.tidemark_client.test_client import Wire, problem
from tidemark_client import Tidemark, TidemarkError
from tidemark_client.changes import FRESH_SECONDS
from tidemark_client.models import AccountData, PostData
from tidemark_client.transport import LONGEST_PAUSE_SECONDS


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


def test_whoever_follows_waits_and_comes_back() -> None:
    empty = {"changes": [], "next_cursor": "c1", "has_more": False}
    away = [httpx.ConnectError("refused")] * 9
    wire = Wire(
        answers(httpx.Response(200, json=empty), *away, httpx.Response(200, json={**PAGE, "next_cursor": "c2"}))
    )
    pages = list(islice(wire.client().changes("c0", follows=True), 2))
    assert [(page.next_cursor, len(page.changes)) for page in pages] == [("c1", 0), ("c2", 3)]
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


def test_a_stream_resumes_behind_the_last_event() -> None:
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
    assert len(wire.waits) == 4
    assert [7 <= wait < 12 for wait in wire.waits] == [False, True, False, False], "as long as the server says"


@pytest.mark.parametrize(
    ("reply", "least"),
    [
        (problem(503, "changes_unavailable", **{"retry-after": "60"}), 60),
        (problem(429, "rate_limited", **{"retry-after": "45"}), 45),
        (problem(503, "maintenance", **{"retry-after": "86400"}), LONGEST_PAUSE_SECONDS),
        (problem(503, "maintenance", **{"retry-after": "0"}), 0.05),
        (problem(503, "maintenance", **{"retry-after": "9" * 400}), LONGEST_PAUSE_SECONDS),
    ],
)
@pytest.mark.parametrize(
    "read",
    [
        lambda client: client.changes("c0", follows=True),
        lambda client: client.stream("c0"),
        lambda client: client.stream("now"),
    ],
    ids=["changes", "stream", "stream from now"],
)
def test_a_follower_waits_as_long_as_the_server_asks(
    read: Callable[[Tidemark], Iterator[Any]], reply: httpx.Response, least: float
) -> None:
    wire = Wire(answers(*[reply] * 40, problem(401, "unauthorized")))
    with pytest.raises(TidemarkError, match="unauthorized"):
        next(read(wire.client()))
    # Calls of which the server asks for no long pause are made up to four times in a row.
    pauses = [wait for wait in wire.waits if wait >= least]
    assert len(pauses) >= 10
    assert all(wait <= least + 10 for wait in pauses)
    assert len(wire.waits) == 40


def test_closing_the_client_ends_a_wait() -> None:
    wire = Wire(lambda _: problem(503, "changes_unavailable", **{"retry-after": "60"}))
    client = Tidemark("http://api/", "key", transport=httpx.MockTransport(wire))
    threading.Timer(0.05, client.close).start()
    began = monotonic()
    with pytest.raises(TidemarkError, match="closed"):
        next(client.changes("c0", follows=True))
    assert monotonic() - began < 30
    assert len(wire.requests) == 1


def test_the_kept_cursor_of_a_follower_grows_no_older_than_an_hour() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        # Held back for as long as the caller lets the server do so.
        wire.now += float(request.url.params["wait"])
        changes = [ACCOUNT_CHANGE] if len(wire.requests) == 1 else []
        return httpx.Response(200, json={"changes": changes, "next_cursor": f"{wire.now}", "has_more": False})

    wire = Wire(answer)
    ages, kept_at = [], 0.0
    for page in islice(wire.client().changes(types=("account",), follows=True), 6):
        ages.append(wire.now - kept_at)
        kept_at = float(page.next_cursor)
    assert len(ages) == 6
    assert set(ages[2:]) == {FRESH_SECONDS}
    # Whoever is ended and begins again keeps a new cursor at once, also where nothing changes.
    page = next(wire.client().changes("c0", types=("account",), follows=True))
    assert (page.changes, float(page.next_cursor)) == ([], wire.now)


def test_the_kept_cursor_of_a_silent_stream_is_renewed() -> None:
    def silence() -> Iterator[bytes]:
        for _ in range(3 * 3600 // 15):
            yield b":\n"
            wire.now += 15

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/changes"):
            return httpx.Response(200, json={"changes": [], "next_cursor": f"t{wire.now:.0f}", "has_more": False})
        first = len(wire.requests) == 1
        chunks = silence() if first else iter([event(9)])
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=chunks)

    wire = Wire(answer)
    kept: list[str] = []
    change = next(wire.client().stream("c0", types=("account",), keep=kept.append))
    assert change.cursor == "c9"
    assert len(kept) == 2
    assert [dict(request.url.params) for request in wire.requests] == [
        {"types": "account", "cursor": "c0"},
        {"types": "account", "cursor": "c0", "limit": "1"},
        {"types": "account", "cursor": kept[0], "limit": "1"},
        {"types": "account", "cursor": kept[1]},
    ], "and resumed from there"


def test_a_stream_is_not_renewed_past_what_it_has_still_to_tell() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/changes"):
            return httpx.Response(200, json={**PAGE, "next_cursor": "too far"})

        def chunks() -> Iterator[bytes]:
            yield b":\n"
            wire.now += FRESH_SECONDS
            yield b":\n"
            raise httpx.ReadError("connection reset")

        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=chunks())

    wire = Wire(lambda request: answer(request) if len(wire.requests) < 3 else stream(event(1)))
    kept: list[str] = []
    assert next(wire.client().stream("c0", keep=kept.append)).cursor == "c1"
    assert (kept, cursors(wire)) == ([], ["c0", "c0", "c0"])


def test_a_stream_from_now_has_a_place_before_the_first_event() -> None:
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
