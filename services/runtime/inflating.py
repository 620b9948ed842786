"""Decompresses the codecs of Kafka's batches piece by piece, up to a bound. Pure."""

from __future__ import annotations

import sys
import zlib
from typing import Any, Protocol

import cramjam
from lz4.frame import LZ4FrameDecompressor

if sys.version_info >= (3, 14):
    from compression.zstd import DecompressionParameter, ZstdDecompressor
else:
    from backports.zstd import DecompressionParameter, ZstdDecompressor

_CHUNK_BYTES = 256 * 1024
# 32 MiB: the window that a decompressor has to hold in memory. Clients compress with windows of 8 MiB at most.
_ZSTD_WINDOW_LOG_MAX = 25
_XERIAL = b"\x82SNAPPY\x00"
_XERIAL_HEADER_BYTES = 16
# A block of snappy can't be decompressed in pieces.
_SNAPPY_BLOCK_MAX_BYTES = 32 * 1024 * 1024


class Unreadable(ValueError):
    """The bytes are damaged, end early, or decompress to more than the bound."""


class _Stream(Protocol):
    """A source of decompressed bytes in pieces; b"" is the end."""

    def next(self) -> bytes: ...


class _Plain:
    def __init__(self, data: memoryview) -> None:
        self._data: memoryview | None = data

    def next(self) -> bytes:
        data, self._data = self._data, None
        return b"" if data is None else bytes(data)


class _Gzip:
    def __init__(self, data: memoryview) -> None:
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self._rest: Any = data

    def next(self) -> bytes:
        while self._rest:
            piece = self._inflate.decompress(self._rest, _CHUNK_BYTES)
            self._rest = self._inflate.unconsumed_tail
            if self._inflate.eof:
                self._rest = self._inflate.unused_data
                self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
            if piece:
                return piece
        return self._inflate.decompress(b"", _CHUNK_BYTES)


class _Framed:
    """zstd and lz4, by decompressors with the interface of the standard library's."""

    def __init__(self, data: memoryview, decompressor: Any) -> None:
        self._make = decompressor
        self._inflate = decompressor()
        self._rest: Any = data

    def next(self) -> bytes:
        while True:
            if self._inflate.eof:
                self._rest = self._inflate.unused_data or b""
                if not self._rest:
                    return b""
                self._inflate = self._make()
            given, self._rest = self._rest, b""
            if not given and self._inflate.needs_input:
                raise Unreadable("the compressed bytes end early")
            piece = bytes(self._inflate.decompress(given, _CHUNK_BYTES))
            if piece:
                return piece


class _Snappy:
    def __init__(self, data: memoryview) -> None:
        self._is_xerial = bytes(data[: len(_XERIAL)]) == _XERIAL
        self._rest = data[_XERIAL_HEADER_BYTES:] if self._is_xerial else data

    def next(self) -> bytes:
        while self._rest:
            if self._is_xerial:
                size = int.from_bytes(self._rest[:4], "big")
                block, self._rest = self._rest[4 : 4 + size], self._rest[4 + size :]
            else:
                block, self._rest = self._rest, self._rest[:0]
            if cramjam.snappy.decompress_raw_len(block) > _SNAPPY_BLOCK_MAX_BYTES:
                raise Unreadable("a block of snappy is too long")
            piece = bytes(cramjam.snappy.decompress_raw(block))
            if piece:
                return piece
        return b""


def _zstd() -> Any:
    return ZstdDecompressor(options={DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG_MAX})


def _stream(codec: int, data: memoryview) -> _Stream:
    """The decompressed bytes of a batch; `codec` is Kafka's number.

    Raises:
        Unreadable: there is no such codec.
    """
    if codec == 0:
        return _Plain(data)
    if codec == 1:
        return _Gzip(data)
    if codec == 2:
        return _Snappy(data)
    if codec == 3:
        return _Framed(data, LZ4FrameDecompressor)
    if codec == 4:
        return _Framed(data, _zstd)
    raise Unreadable(f"there is no codec {codec}")


class Inflater:
    """Reads decompressed bytes in order, and never decompresses more than a bound.

    Args:
        codec: Kafka's number: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
        most: the bound of decompressed bytes.

    Raises:
        Unreadable: from every method: the bytes are damaged, end early, or decompress to more than `most`.
    """

    def __init__(self, codec: int, data: memoryview, most: int) -> None:
        self._stream = _stream(codec, data)
        self._left = most
        self._held = bytearray()
        self._at = 0

    def read_up_to(self, size: int) -> bytes:
        """The next `size` bytes, or all bytes that are left."""
        while len(self._held) - self._at < size and self._grow():
            pass
        found = bytes(self._held[self._at : self._at + size])
        self._at += len(found)
        return found

    def read(self, size: int) -> bytes:
        """Exactly the next `size` bytes."""
        if size < 0:
            raise Unreadable("a record has a negative length")
        found = self.read_up_to(size)
        if len(found) < size:
            raise Unreadable("the bytes end early")
        return found

    def skip(self, size: int) -> None:
        """Pass over `size` bytes without keeping them."""
        while size > 0:
            held = len(self._held) - self._at
            if held >= size:
                self._at += size
                return
            size -= held
            self._held.clear()
            self._at = 0
            if not self._grow():
                raise Unreadable("the bytes end early")

    def varint(self) -> int:
        """The next zigzag integer, of at most 64 bits."""
        shift = number = 0
        while shift <= 63:
            byte = self.read(1)[0]
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return (number >> 1) ^ -(number & 1)
            shift += 7
        raise Unreadable("an integer is longer than 64 bits")

    def is_at_end(self) -> bool:
        """Whether every byte was read."""
        return self._at >= len(self._held) and not self._grow()

    def _grow(self) -> bool:
        if self._left <= 0:
            raise Unreadable("it decompresses to more than is read")
        try:
            piece = self._stream.next()
        except Unreadable:
            raise
        except Exception as error:  # each library has errors of its own for damaged bytes
            raise Unreadable(f"damaged: {error}") from None
        if self._at:
            del self._held[: self._at]
            self._at = 0
        self._left -= len(piece)
        self._held += piece
        return bool(piece)
