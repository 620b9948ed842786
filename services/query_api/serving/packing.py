"""Streams packed on their way out: in what the caller's Accept-Encoding likes best, a piece at a time."""

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
"""The quicker first: it is taken where both are liked alike."""
_PACKED_MEDIA_TYPES = ("application/vnd.apache.parquet",)
# Packing less than this is over sooner than handing it to a thread.
_SMALLEST_BESIDE_BYTES = 8 * 1024


def coding_for(media_type: str, headers: tuple[Header, ...]) -> bytes | None:
    """The coding for a reply, None to send it as it is: files that are packed by themselves gain nothing."""
    if media_type in _PACKED_MEDIA_TYPES:
        return None
    return best_coding(headers, _CODINGS)


async def packed(chunks: AsyncIterator[bytes], coding: bytes) -> AsyncGenerator[bytes, None]:
    """Each chunk packed so far that its reader can unpack all of it at once; holds one chunk and the coder's window.

    Packing happens beside the event loop. What follows the last chunk comes only where there was a last one, so that a
    file that breaks off never ends well.
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
