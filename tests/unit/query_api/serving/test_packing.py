"""Streams in the coding that a caller likes: each part can be unpacked when it comes, and a broken one never ends."""

from __future__ import annotations

import tracemalloc
import zlib
from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any

import pytest
from starlette.types import Message

from services.query_api.errors import ReadsUnavailable
from services.query_api.serving.packing import coding_for, packed
from services.query_api.serving.streams import Stream, send_stream

zstd: Any = import_module("backports.zstd")
PARTS = [b"post_id,likes\n", b"post-1,12\n" * 5_000, b"post-2,13\n"]
PARQUET = "application/vnd.apache.parquet"


def unpacker(coding: str) -> Any:
    return zlib.decompressobj(31) if coding == "gzip" else zstd.ZstdDecompressor()


async def chunks(fails_after: int | None = None, parts: list[bytes] = PARTS) -> AsyncIterator[bytes]:
    for number, part in enumerate(parts):
        if number == fails_after:
            raise ReadsUnavailable
        yield part


async def sent(accepted: str | None, stream: Stream) -> list[Message]:
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    async def receive() -> Message:
        import asyncio

        await asyncio.Event().wait()
        raise AssertionError

    headers = [] if accepted is None else [(b"accept-encoding", accepted.encode())]
    await send_stream(stream, {"type": "http", "method": "GET", "headers": headers}, receive, send, ())
    return messages


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        (None, None),
        ("", None),
        ("identity", None),
        ("gzip", "gzip"),
        ("zstd", "zstd"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip;q=1.0, zstd;q=0.5", "gzip"),
        ("gzip, zstd;q=0", "gzip"),
        ("zstd;q=0, gzip;q=0", None),
        ("*", "zstd"),
        ("*;q=0", None),
        ("br", None),
        ("gzip" + ", x" * 200, None),
    ],
)
async def test_the_coding_is_the_one_liked_best(accepted: str | None, coding: str | None) -> None:
    start, *parts = await sent(accepted, Stream("text/csv", chunks()))
    headers = dict(start["headers"])
    assert headers.get(b"content-encoding") == (coding.encode() if coding else None)
    assert b"accept-encoding" in headers[b"vary"]
    body = b"".join(part.get("body", b"") for part in parts)
    if coding is not None:
        opened = unpacker(coding)
        body = opened.decompress(body)
        assert opened.eof
    assert body == b"".join(PARTS)


async def test_what_is_packed_already_is_sent_as_it_is() -> None:
    assert coding_for(PARQUET, ((b"accept-encoding", b"gzip, zstd"),)) is None
    start, *_ = await sent("gzip", Stream(PARQUET, chunks()))
    assert b"content-encoding" not in dict(start["headers"])


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
async def test_each_part_can_be_read_when_it_comes(coding: str) -> None:
    opened = unpacker(coding)
    pieces = packed(chunks(), coding.encode())
    for part in PARTS:
        assert opened.decompress(await anext(pieces)) == part
    assert not opened.eof
    opened.decompress(await anext(pieces))
    assert opened.eof


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
async def test_an_error_on_the_way_leaves_the_file_without_an_end(coding: str) -> None:
    messages = await sent(coding, Stream("text/csv", chunks(fails_after=2)))
    assert all(message["more_body"] for message in messages[1:])
    opened = unpacker(coding)
    text = b"".join(opened.decompress(message["body"]) for message in messages[1:])
    assert text == b"".join(PARTS[:2])
    assert not opened.eof
    with pytest.raises(ReadsUnavailable):
        await sent(coding, Stream("text/csv", chunks(fails_after=0)))


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
async def test_memory_does_not_grow_with_the_file(coding: str) -> None:
    part = bytes(range(256)) * 256

    async def many() -> AsyncIterator[bytes]:
        for _ in range(400):
            yield part

    tracemalloc.start()
    try:
        opened, length = unpacker(coding), 0
        async for piece in packed(many(), coding.encode()):
            length += len(opened.decompress(piece))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert length == 400 * len(part)
    assert most < 4_000_000
