"""Fetching: every error of the HTTP library translated, sizes bounded, redirects and private addresses refused."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from schemas.events import RawKind
from services.platforms.base import Call
from services.poller.asking.fetch import Fetcher, target_of
from services.poller.errors import (
    AnswerTooLarge,
    BrokenAnswer,
    ForbiddenAddress,
    NotSent,
    PollerError,
    RetryLater,
    TimedOut,
    Unreachable,
)
from services.runtime.addresses import is_public
from tests.support.platform_transport import Chunks, PlatformTransport, json_answer

CALL = Call(RawKind.POST_METRICS, "GET", "/2/tweets", (("ids", "1,2"), ("q", "a b&c=ü"), ("q", "List(urn:li:1,x)")))
BASE = "https://platform.example"
LIMIT = 100_000


def fetcher(answer: Callable[[httpx.Request], httpx.Response], **options: Any) -> tuple[Fetcher, PlatformTransport]:
    transport = PlatformTransport(answer)
    return Fetcher({}, transports=lambda *_: transport, body_max_bytes=LIMIT, **options), transport


def all_errors() -> list[type[Exception]]:
    """Every error class that httpx has, so that a new one is noticed."""
    return [
        kind
        for kind in vars(httpx).values()
        if isinstance(kind, type) and issubclass(kind, Exception) and kind is not httpx.HTTPStatusError
    ]


def build(kind: type[Exception]) -> Exception:
    for arguments in (("boom",), ()):
        try:
            return kind(*arguments)
        except TypeError:
            continue
    raise AssertionError(kind)


@pytest.mark.parametrize("kind", [*all_errors(), OSError, ConnectionResetError, UnicodeEncodeError])
async def test_no_error_of_the_library_escapes(kind: type[Exception]) -> None:
    error = UnicodeEncodeError("ascii", "ü", 0, 1, "no") if kind is UnicodeEncodeError else build(kind)

    def answer(_: httpx.Request) -> httpx.Response:
        raise error

    with pytest.raises(PollerError) as raised:
        await fetcher(answer)[0].fetch("x", CALL, BASE, {"authorization": "Bearer hush"})
    assert "hush" not in str(raised.value)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (httpx.ConnectTimeout("t"), TimedOut),
        (httpx.ReadTimeout("t"), TimedOut),
        (httpx.PoolTimeout("t"), TimedOut),
        (httpx.ConnectError("c"), Unreachable),
        (httpx.ReadError("c"), Unreachable),
        (httpx.RemoteProtocolError("p"), BrokenAnswer),
        (httpx.DecodingError("d"), BrokenAnswer),
        (httpx.LocalProtocolError("l"), NotSent),
        (httpx.UnsupportedProtocol("u"), NotSent),
    ],
)
async def test_translation(error: Exception, expected: type[PollerError]) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        raise error

    with pytest.raises(expected):
        await fetcher(answer)[0].fetch("x", CALL, BASE, {})


async def test_a_token_that_is_no_header_is_not_sent() -> None:
    made, transport = fetcher(lambda _: json_answer(200, b"{}"))
    with pytest.raises(NotSent):
        await made.fetch("x", CALL, BASE, {"authorization": "Bearer \ud800"})
    assert transport.requests == []


async def test_a_body_that_breaks_off_is_no_answer() -> None:
    made, _ = fetcher(lambda _: httpx.Response(200, stream=Chunks(b"{", fails=httpx.ReadError("reset"))))
    with pytest.raises(Unreachable):
        await made.fetch("x", CALL, BASE, {})


async def test_a_call_as_a_whole_has_a_time() -> None:
    class Slow(PlatformTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await asyncio.Event().wait()
            raise AssertionError

    slow = Slow(lambda _: json_answer(200, b"{}"))
    with pytest.raises(TimedOut):
        await Fetcher({}, transports=lambda *_: slow, timeout_seconds=0.01).fetch("x", CALL, BASE, {})


async def test_what_is_sent_and_what_comes_back() -> None:
    made, transport = fetcher(lambda _: json_answer(404, b'{"n":1}', x_rate_limit_remaining="7"))
    reply = await made.fetch("x", CALL, BASE, {"authorization": "Bearer t"})
    (request,) = transport.requests
    assert str(request.url) == f"{BASE}/2/tweets?ids=1,2&q=a%20b%26c%3D%C3%BC&q=List(urn%3Ali%3A1,x)"
    assert request.headers["authorization"] == "Bearer t"
    assert (reply.status, reply.body, reply.headers["x-rate-limit-remaining"]) == (404, b'{"n":1}', "7")


async def test_a_json_body_is_posted() -> None:
    made, transport = fetcher(lambda _: json_answer(200, b"{}"))
    await made.fetch("tiktok", Call(RawKind.POST_METRICS, "POST", "/v2/video/query/", json={"a": [1]}), BASE, {})
    assert transport.requests[0].content == b'{"a":[1]}'
    assert transport.requests[0].headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("configured", "call_base", "expected"),
    [
        ({}, None, "https://platform.example/2/tweets"),
        ({}, "https://other.example", "https://other.example/2/tweets"),
        ({"x": "http://127.0.0.1:9/"}, "https://other.example", "http://127.0.0.1:9/2/tweets"),
        ({"x": "http://127.0.0.1:9/base"}, None, "http://127.0.0.1:9/base/2/tweets"),
        ({"y": "http://127.0.0.1:9"}, None, "https://platform.example/2/tweets"),
    ],
)
async def test_where_a_call_goes(configured: dict[str, str], call_base: str | None, expected: str) -> None:
    transport = PlatformTransport(lambda _: json_answer(200, b"{}"))
    call = Call(RawKind.POST_METRICS, "GET", "/2/tweets", base_url=call_base)
    await Fetcher(configured, transports=lambda *_: transport).fetch("x", call, BASE, {})
    assert str(transport.requests[0].url) == expected


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/v25.0/", b"/v25.0/"),
        ("/2/a b", b"/2/a%20b"),
        ("/rest/x/urn%3Ali", b"/rest/x/urn%3Ali"),
        ("/ü", b"/%C3%BC"),
        ("/a\r\nhost: b", b"/a%0D%0Ahost:%20b"),
        ("/v1/locations/1:fetch", b"/v1/locations/1:fetch"),
        ("/a?b#c", b"/a%3Fb%23c"),
    ],
)
def test_paths_as_sent(path: str, sent: bytes) -> None:
    assert target_of(Call(RawKind.POST_METRICS, "GET", path)) == sent


async def test_connections_are_used_again_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.poller.asking.fetch.MOST_IDLE", 3)
    made: list[PlatformTransport] = []

    def connect(_: str, __: bool) -> PlatformTransport:
        made.append(PlatformTransport(lambda _: json_answer(200, b"{}")))
        return made[-1]

    fetching = Fetcher({}, transports=connect)
    for _ in range(3):
        await fetching.fetch("x", CALL, BASE, {})
    assert len(made) == 1
    for number in range(10):
        await fetching.fetch("bluesky", CALL, f"https://host{number}.example", {})
    assert sum(len(idle) for idle in fetching._idle.values()) == 3
    await fetching.close()


async def test_a_redirect_is_an_answer() -> None:
    made, transport = fetcher(
        lambda _: httpx.Response(302, headers={"location": "http://127.0.0.1/"}, stream=Chunks(b""))
    )
    assert (await made.fetch("x", CALL, BASE, {})).status == 302
    assert len(transport.requests) == 1


async def test_no_cookie_comes_back() -> None:
    made, transport = fetcher(lambda _: json_answer(200, b"{}", set_cookie="session=1"))
    for _ in range(2):
        await made.fetch("x", CALL, BASE, {})
    assert "cookie" not in transport.requests[1].headers


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_compressed_answers(encoding: str) -> None:
    body = b'{"a":"' + b"x" * 50_000 + b'"}'
    packed = gzip.compress(body, mtime=0) if encoding == "gzip" else zlib.compress(body)
    made, _ = fetcher(lambda _: httpx.Response(200, headers={"content-encoding": encoding}, stream=Chunks(packed, 11)))
    assert (await made.fetch("x", CALL, BASE, {})).body == body


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"content-encoding": "gzip"}, b"no gzip"),
        ({"content-encoding": "gzip"}, gzip.compress(b"x" * 1000, mtime=0)[:-12]),
        ({"content-encoding": "br"}, b"x"),
    ],
)
async def test_what_cant_be_decompressed(headers: dict[str, str], body: bytes) -> None:
    made, _ = fetcher(lambda _: httpx.Response(200, headers=headers, stream=Chunks(body)))
    with pytest.raises(BrokenAnswer):
        await made.fetch("x", CALL, BASE, {})


async def test_an_empty_compressed_answer_is_empty() -> None:
    made, _ = fetcher(lambda _: httpx.Response(204, headers={"content-encoding": "gzip"}, stream=Chunks(b"")))
    assert (await made.fetch("x", CALL, BASE, {})).body == b""


async def test_a_large_answer_is_cut_off_early() -> None:
    stream = Chunks(b"x" * 100 * LIMIT)
    made, _ = fetcher(lambda _: httpx.Response(200, stream=stream))
    with pytest.raises(AnswerTooLarge):
        await made.fetch("x", CALL, BASE, {})
    assert stream.sent <= 2 * LIMIT


async def test_a_bomb_is_cut_off_early() -> None:
    stream = Chunks(gzip.compress(b"0" * 50_000_000, mtime=0), 512)
    made, _ = fetcher(lambda _: httpx.Response(200, headers={"content-encoding": "gzip"}, stream=stream))
    with pytest.raises(AnswerTooLarge):
        await made.fetch("x", CALL, BASE, {})
    assert stream.sent < 2000


@pytest.mark.parametrize("size", [LIMIT, LIMIT + 1])
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_the_limit_is_exact(size: int, encoding: str) -> None:
    body = b"x" * size
    packed = gzip.compress(body, mtime=0) if encoding == "gzip" else body
    made, _ = fetcher(lambda _: httpx.Response(200, headers={"content-encoding": encoding}, stream=Chunks(packed)))
    if size <= LIMIT:
        assert (await made.fetch("x", CALL, BASE, {})).body == body
    else:
        with pytest.raises(AnswerTooLarge):
            await made.fetch("x", CALL, BASE, {})


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "192.168.1.1", "169.254.169.254", "::1", "fe80::1%eth0",
                                     "0.0.0.0", "::ffff:127.0.0.1", "2002:7f00:1::", "224.0.0.1", "fd00::1",
                                     "100.64.0.1"])  # fmt: skip
def test_private_addresses(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses(address: str) -> None:
    assert is_public(address)


async def test_a_name_that_leads_home_is_refused_unless_configured() -> None:
    closed_port = "http://localhost:9"
    with pytest.raises(ForbiddenAddress, match="BASE_URL"):
        await Fetcher({}).fetch("x", CALL, closed_port, {})
    with pytest.raises(ForbiddenAddress):
        await Fetcher({"youtube": closed_port}).fetch("x", CALL, "http://127.0.0.1:9", {})
    with pytest.raises(RetryLater):
        await Fetcher({"x": closed_port}).fetch("x", CALL, BASE, {})
