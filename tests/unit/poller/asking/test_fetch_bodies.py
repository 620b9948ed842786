"""Bodies that a hostile or broken server sends: what they cost is bounded, and what is no whole answer is none."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import AsyncIterator

import httpcore
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import RawKind
from services.platforms.abilities import RefreshCall
from services.platforms.base import Call
from services.poller.asking.fetch import MOST_MEMBERS, Fetcher, Reply
from services.poller.errors import AnswerTooLarge, BrokenAnswer, PollerError
from tests.support.platform_transport import Chunks, PlatformTransport

CALL = Call(RawKind.POST_METRICS, "GET", "/2/tweets")
BASE = "https://platform.example"
LIMIT = 200_000
PACKED = gzip.compress(b"{}", mtime=0)
NOTHING = gzip.compress(b"", mtime=0)
HEADER = NOTHING[:10]
EMPTY_BLOCK = b"\x00\x00\x00\xff\xff"
# More than is ever read of a body that holds nothing.
MOST_READ = 2 * LIMIT


class Endless(httpx.AsyncByteStream):
    """A start, and then the same again and again, until the reader has had enough."""

    def __init__(self, start: bytes, again: bytes) -> None:
        self._start = start
        self._again = again
        self.sent = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._start
        while self.sent < 100 * LIMIT:
            self.sent += len(self._again)
            yield self._again


async def fetched(stream: httpx.AsyncByteStream, encoding: str) -> Reply:
    transport = PlatformTransport(
        lambda _: httpx.Response(200, headers={"content-encoding": encoding} if encoding else {}, stream=stream)
    )
    return await Fetcher({}, transports=lambda *_: transport, body_max_bytes=LIMIT).fetch("x", CALL, BASE, {})


ENDLESS = {
    "text after the end": ("gzip", PACKED, b"x" * 4096, BrokenAnswer),
    "text after the end of zlib": ("deflate", zlib.compress(b"{}"), b"x" * 4096, BrokenAnswer),
    "zeros after the end": ("gzip", PACKED, b"\0" * 4096, BrokenAnswer),
    "blocks that hold nothing": ("gzip", HEADER, EMPTY_BLOCK * 800, BrokenAnswer),
    "blocks of zlib that hold nothing": ("deflate", zlib.compress(b"")[:2], EMPTY_BLOCK * 800, BrokenAnswer),
    "members that hold nothing": ("gzip", PACKED, NOTHING * 200, BrokenAnswer),
    "one such member at a time": ("gzip", PACKED, NOTHING, BrokenAnswer),
    "a file name without an end": ("gzip", HEADER[:3] + b"\x08" + HEADER[4:], b"a" * 4096, BrokenAnswer),
    "members that are full": ("gzip", PACKED, gzip.compress(b"x" * 60_000), AnswerTooLarge),
    "streams of zlib": ("deflate", zlib.compress(b"{}"), zlib.compress(b"x" * 60_000), BrokenAnswer),
    "a bomb": ("gzip", gzip.compress(b"0" * 50_000_000, 1)[:-8], b"0" * 4096, AnswerTooLarge),
    "text": ("", b"{", b" " * 4096, AnswerTooLarge),
    "text, a byte at a time": ("identity", b"{", b" ", AnswerTooLarge),
    "what was not asked for": ("br", b"\x0b\x01\x80{}\x03", b"x" * 4096, BrokenAnswer),
    "what is not known": ("zstd", b"\x28\xb5\x2f\xfd\x20\x02\x11\x00\x00{}", b"x" * 4096, BrokenAnswer),
    "gzip in gzip": ("gzip, gzip", gzip.compress(PACKED), b"x" * 4096, BrokenAnswer),
}


@pytest.mark.parametrize("case", ENDLESS)
async def test_a_body_without_an_end_is_soon_given_up(case: str) -> None:
    encoding, start, again, expected = ENDLESS[case]
    stream = Endless(start, again)
    with pytest.raises(expected):
        await fetched(stream, encoding)
    assert stream.sent <= MOST_READ


@pytest.mark.parametrize("case", ENDLESS)
async def test_token_endpoints_give_such_a_body_up_as_well(case: str) -> None:
    encoding, start, again, expected = ENDLESS[case]
    stream = Endless(start, again)
    transport = PlatformTransport(lambda _: httpx.Response(200, headers={"content-encoding": encoding}, stream=stream))
    fetcher = Fetcher({}, transports=lambda *_: transport, body_max_bytes=LIMIT)
    with pytest.raises(expected):
        await fetcher.fetch_grant("x", RefreshCall("POST", "/token"), BASE)
    assert stream.sent <= MOST_READ


async def test_a_large_chunk_after_the_end_is_not_copied_for_each_piece() -> None:
    """What zlib leaves over is copied, so a chunk of any size is read in pieces."""
    with pytest.raises(BrokenAnswer):
        await fetched(Chunks(PACKED + b"x" * 50_000_000, 60_000_000), "gzip")


@given(st.lists(st.binary(max_size=3000), min_size=1, max_size=20), st.integers(1, 5000))
async def test_members_follow_one_another_however_they_are_cut(parts: list[bytes], size: int) -> None:
    packed = b"".join(gzip.compress(part, mtime=0) for part in parts)
    assert (await fetched(Chunks(packed, size), "gzip")).body == b"".join(parts)


@pytest.mark.parametrize(("members", "is_whole"), [(MOST_MEMBERS, True), (MOST_MEMBERS + 1, False)])
async def test_members_are_counted(members: int, is_whole: bool) -> None:
    body = Chunks(gzip.compress(b"{}", mtime=0) * members)
    if is_whole:
        assert (await fetched(body, "gzip")).body == b"{}" * members
    else:
        with pytest.raises(BrokenAnswer):
            await fetched(body, "gzip")


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_body_that_can_not_be_compressed_may_be_as_large_as_any(encoding: str) -> None:
    """Stored in blocks of 1 KiB, each followed by a flush."""
    body = bytes(LIMIT)
    packer = zlib.compressobj(0, wbits=31 if encoding == "gzip" else 15)
    pieces = [
        packer.compress(body[start : start + 1024]) + packer.flush(zlib.Z_SYNC_FLUSH) for start in range(0, LIMIT, 1024)
    ]
    packed = b"".join([*pieces, packer.flush()])
    assert len(packed) > LIMIT
    assert (await fetched(Chunks(packed), encoding)).body == body


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_compressed_body_that_ends_early_is_no_answer_even_if_nothing_came_of_it(encoding: str) -> None:
    packed = PACKED if encoding == "gzip" else zlib.compress(b"{}")
    for cut in range(1, len(packed)):
        with pytest.raises(BrokenAnswer):
            await fetched(Chunks(packed[:cut], 3), encoding)


WIRE: dict[str, tuple[bytes, bytes | type[PollerError]]] = {
    "as long as it says": (b"content-length: 2\r\n\r\n{}", b"{}"),
    "shorter than it says": (b"content-length: 9\r\n\r\n{}", BrokenAnswer),
    "longer than it says": (b"content-length: 2\r\n\r\n{}{}{}", b"{}"),
    "a length that is none": (b"content-length: -1\r\n\r\n{}", BrokenAnswer),
    "two lengths": (b"content-length: 2\r\ncontent-length: 3\r\n\r\n{} ", BrokenAnswer),
    "a length beyond all": (b"content-length: 99999999999999999999\r\n\r\n{}", BrokenAnswer),
    "to the end of the connection": (b"connection: close\r\n\r\n{}", b"{}"),
    "in chunks": (b"transfer-encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", b"{}"),
    "in chunks that break off": (b"transfer-encoding: chunked\r\n\r\n1\r\n{\r\n", BrokenAnswer),
    "in a chunk of no size": (b"transfer-encoding: chunked\r\n\r\nzz\r\n{\r\n", BrokenAnswer),
    "in a huge chunk": (b"transfer-encoding: chunked\r\n\r\nfffffffffffffff\r\n" + b" " * 2 * LIMIT, AnswerTooLarge),
    "chunked and compressed": (
        b"content-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(PACKED), PACKED),
        b"{}",
    ),
    "headers without an end": (b"a: " + b"x" * 1_000_000, BrokenAnswer),
}


@pytest.mark.parametrize("case", WIRE)
async def test_the_length_of_a_body_is_what_the_wire_says(case: str) -> None:
    sent, expected = WIRE[case]

    def connect(*_: object) -> httpx.AsyncBaseTransport:
        transport = httpx.AsyncHTTPTransport(trust_env=False)
        pieces = [b"HTTP/1.1 200 OK\r\n", *(sent[start : start + 700] for start in range(0, len(sent), 700))]
        transport._pool = httpcore.AsyncConnectionPool(network_backend=httpcore.AsyncMockBackend(pieces))
        return transport

    fetcher = Fetcher({}, transports=connect, body_max_bytes=LIMIT)
    if isinstance(expected, bytes):
        reply = await fetcher.fetch("x", CALL, "http://platform.example", {})
        assert (reply.status, reply.body) == (200, expected)
    else:
        with pytest.raises(expected):
            await fetcher.fetch("x", CALL, "http://platform.example", {})
    await fetcher.close()
