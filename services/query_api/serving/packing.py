"""Compresses streams chunk by chunk, with the coding that the caller's Accept-Encoding prefers."""

from __future__ import annotations

import asyncio
import sys
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from importlib import import_module
from typing import Any

from services.query_api.errors import Header
from services.query_api.serving.accept import best_coding

_zstd: Any = import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
_GZIP_LEVEL = 5
_ZSTD_LEVEL = 3
_CODINGS = (b"zstd", b"gzip")
"""The quicker coding first: it is chosen when the caller prefers neither."""
_PACKED_MEDIA_TYPES = ("application/vnd.apache.parquet",)
# Streams that stay open for days: a coder for each would take a quarter of a megabyte.
_LIVE_MEDIA_TYPES = ("text/event-stream",)
# Compressing a smaller chunk takes less time than handing it to a thread.
_SMALLEST_BESIDE_BYTES = 8 * 1024


def coding_for(media_type: str, headers: tuple[Header, ...]) -> bytes | None:
    """The content coding for a stream; None for a stream to send unchanged: one that is compressed already, or live.

    Args:
        headers: the request's headers, with names in lower case.
    """
    if media_type in (*_PACKED_MEDIA_TYPES, *_LIVE_MEDIA_TYPES):
        return None
    return best_coding(headers, _CODINGS)


async def packed(chunks: AsyncIterator[bytes], coding: bytes) -> AsyncGenerator[bytes, None]:
    """Yield each chunk compressed and flushed, so that its reader can decompress the whole chunk at once.

    Large chunks are compressed in a thread. Memory holds one chunk and the coder's window.

    Guarantee: the end of the compressed stream follows only if the chunks came to their end, so that a file that breaks
    off never decompresses without an error.
    """
    pack, finish = _zstd_coder() if coding == b"zstd" else _gzip_coder()
    async for chunk in chunks:
        piece = pack(chunk) if len(chunk) < _SMALLEST_BESIDE_BYTES else await asyncio.to_thread(pack, chunk)
        if piece:
            yield piece
    yield finish()


def _gzip_coder() -> tuple[Callable[[bytes], bytes], Callable[[], bytes]]:
    coder = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, 31)
    return lambda chunk: coder.compress(chunk) + coder.flush(zlib.Z_SYNC_FLUSH), coder.flush


def _zstd_coder() -> tuple[Callable[[bytes], bytes], Callable[[], bytes]]:
    coder = _zstd.ZstdCompressor(level=_ZSTD_LEVEL)
    return lambda chunk: coder.compress(chunk, coder.FLUSH_BLOCK), coder.flush
