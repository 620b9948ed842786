"""ClickHouse's own block compression, `compress=1` and `decompress=1`: checksummed blocks of LZ4, ZSTD or plain data.

In: bytes. Out: bytes. A block is a checksum (CityHash128 of version 1.0.2, 16 bytes) and a body: a method (1 byte), the
body's size with these 9 bytes and the decoded size (4 bytes each, little endian), and the data.
Source: ClickHouse, `src/Compression/CompressedReadBufferBase.cpp`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from infra.embedded.clickhouse.compression import zstd
from infra.embedded.clickhouse.errors import (
    CANNOT_DECOMPRESS,
    CHECKSUM_DOESNT_MATCH,
    TOO_LARGE_SIZE_COMPRESSED,
    UNKNOWN_COMPRESSION_METHOD,
    refusal,
)

_lz4_block: Any = import_module("lz4.block")
_cityhash: Any = import_module("clickhouse_cityhash.cityhash")

NONE, LZ4, ZSTD = 0x02, 0x82, 0x90
_METHODS = {NONE: "NONE", LZ4: "LZ4", ZSTD: "ZSTD"}
_CHECKSUM_BYTES = 16
_HEAD = struct.Struct("<BII")
_START_BYTES = _CHECKSUM_BYTES + _HEAD.size
_BLOCK_BYTES = 1024 * 1024
_ZSTD_LEVEL = 1
# As large as the largest block: a frame with a known length needs a window of that length.
_ZSTD_WINDOW_LOG = 26


class BlockEncoder:
    """Encodes a response body in blocks of at most 1 MiB; a `compression.Compressor`."""

    def __init__(self, method: int = LZ4) -> None:
        self._method = method

    def feed(self, chunk: bytes) -> bytes:
        """Encode a chunk as whole blocks."""
        blocks = [self._block(chunk[at : at + _BLOCK_BYTES]) for at in range(0, len(chunk), _BLOCK_BYTES)]
        return b"".join(blocks)

    def finish(self) -> bytes:
        """Return no bytes: a body consists of its blocks alone."""
        return b""

    def _block(self, content: bytes) -> bytes:
        if self._method == ZSTD:
            data: bytes = zstd.compress(content, level=_ZSTD_LEVEL)
        elif self._method == LZ4:
            data = _lz4_block.compress(content, store_size=False)
        else:
            data = content
        body = _HEAD.pack(self._method, _HEAD.size + len(data), len(content)) + data
        return _checksum(body) + body


class BlockDecoder:
    """Decodes a request body in blocks; a `compression.Decoder`.

    Args:
        block_bytes: the most bytes that one block may decode to; a block that claims more is refused unread.
    """

    def __init__(self, block_bytes: int) -> None:
        self._block_bytes = block_bytes
        self._held = bytearray()

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Decode the next chunk of the body; see `compression.Decoder`.

        Raises:
            ServerError: CANNOT_DECOMPRESS; CHECKSUM_DOESNT_MATCH; TOO_LARGE_SIZE_COMPRESSED;
                UNKNOWN_COMPRESSION_METHOD for another codec than LZ4, ZSTD and NONE.
        """
        self._held += chunk
        while len(self._held) >= _START_BYTES:
            method, size, decoded_size = _HEAD.unpack_from(self._held, _CHECKSUM_BYTES)
            self._check_head(method, size, decoded_size)
            end = _CHECKSUM_BYTES + size
            if len(self._held) < end:
                return
            body = bytes(self._held[_CHECKSUM_BYTES:end])
            if _checksum(body) != self._held[:_CHECKSUM_BYTES]:
                raise refusal(CHECKSUM_DOESNT_MATCH, "Checksum of a compressed block of the request does not match")
            del self._held[:end]
            yield _decoded(method, body[_HEAD.size :], decoded_size)

    def _check_head(self, method: int, size: int, decoded_size: int) -> None:
        if method not in _METHODS:
            raise refusal(
                UNKNOWN_COMPRESSION_METHOD,
                f"Unknown compression method {method:#04x} of a block: expected one of {', '.join(_METHODS.values())}",
            )
        # Incompressible data grows by less than 1 %.
        if decoded_size > self._block_bytes or size > self._block_bytes + self._block_bytes // 64 + 1024:
            raise refusal(
                TOO_LARGE_SIZE_COMPRESSED,
                f"A compressed block of the request has {size} bytes and claims to hold {decoded_size};"
                f" at most {self._block_bytes} are read",
            )
        if size < _HEAD.size:
            raise refusal(CANNOT_DECOMPRESS, "A compressed block of the request is shorter than its head")

    def close(self) -> None:
        """End the body; refuses a body that ends in the middle of a block."""
        if self._held:
            raise refusal(CANNOT_DECOMPRESS, "The request body ends in the middle of a compressed block")


def _decoded(method: int, data: bytes, size: int) -> bytes:
    try:
        if method == LZ4:
            content: bytes = _lz4_block.decompress(data, uncompressed_size=size) if size else b""
        elif method == ZSTD:
            decoder = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG})
            content = decoder.decompress(data, size)
            if not decoder.eof:
                content += decoder.decompress(b"", 1)
        else:
            content = data
    except (_lz4_block.LZ4BlockError, zstd.ZstdError, ValueError, EOFError, OverflowError) as error:
        raise refusal(CANNOT_DECOMPRESS, f"Cannot decompress a block of the request: {error}") from error
    if len(content) != size:
        raise refusal(CANNOT_DECOMPRESS, f"A block of the request does not hold the {size} bytes that it claims")
    return content


def _checksum(body: bytes) -> bytes:
    value: int = _cityhash.CityHash128(body)
    return struct.pack("<QQ", value >> 64, value & 0xFFFF_FFFF_FFFF_FFFF)
