"""HTTP content encodings in both directions: zstd, lz4 (frames) and gzip; every known client has one of the three.

In: bytes and an encoding's name. Out: bytes. A client that offers none of the three (only `br` or `deflate`, say) gets
a plain reply. ClickHouse's own block compression (`compress=1`, `decompress=1`) is no content encoding: see
`native_compression`. Source: decision 0023 lists what each client sends.
"""

from __future__ import annotations

import re
import sys
import zlib
from collections.abc import Iterator
from importlib import import_module
from typing import Any, Protocol

from infra.embedded.clickhouse.errors import CANNOT_DECOMPRESS, UNKNOWN_COMPRESSION_METHOD, refusal

lz4_frame: Any = import_module("lz4.frame")
zstd: Any = import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")

# In the order of choice: the encoding that takes the least processor time first, since queries need the processor too.
ENCODINGS = ("zstd", "lz4", "gzip")

# Bodies are decoded in pieces of at most this size, whatever size a body claims.
PIECE_BYTES = 256 * 1024
# 8 MiB, the largest window in the content encoding `zstd`. Source: RFC 9659.
_ZSTD_WINDOW_LOG = 23
_ZSTD_LEVEL = 1
_ZLIB_LEVEL = 3
# zlib's number for its largest window inside a gzip header.
_GZIP_WINDOW_BITS = 31
_ZERO_WEIGHT = re.compile(r"0(\.0*)?")


class Compressor(Protocol):
    """Compresses a response body; the client can decode each fed chunk at once."""

    def feed(self, chunk: bytes) -> bytes: ...

    def finish(self) -> bytes: ...


def chosen_encoding(accept_encoding: str | None) -> str | None:
    """The encoding of the reply, chosen from an Accept-Encoding header; None when the header names none of ours."""
    if not accept_encoding:
        return None
    offered = set()
    for part in accept_encoding.lower().split(","):
        name, _, weight = part.replace(" ", "").partition(";q=")
        if not _ZERO_WEIGHT.fullmatch(weight):
            offered.add(name)
    return next((encoding for encoding in ENCODINGS if encoding in offered), None)


class _Zstd:
    def __init__(self) -> None:
        self._encoder = zstd.ZstdCompressor(level=_ZSTD_LEVEL)

    def feed(self, chunk: bytes) -> bytes:
        encoded: bytes = self._encoder.compress(chunk, zstd.ZstdCompressor.FLUSH_BLOCK)
        return encoded

    def finish(self) -> bytes:
        encoded: bytes = self._encoder.flush(zstd.ZstdCompressor.FLUSH_FRAME)
        return encoded


class _Lz4:
    def __init__(self) -> None:
        self._encoder = lz4_frame.LZ4FrameCompressor(auto_flush=True)
        self._begun = False

    def feed(self, chunk: bytes) -> bytes:
        start = b"" if self._begun else self._encoder.begin()
        self._begun = True
        encoded: bytes = start + self._encoder.compress(chunk)
        return encoded

    def finish(self) -> bytes:
        encoded: bytes = self.feed(b"") + self._encoder.flush()
        return encoded


class _Gzip:
    def __init__(self) -> None:
        self._encoder = zlib.compressobj(_ZLIB_LEVEL, zlib.DEFLATED, _GZIP_WINDOW_BITS)

    def feed(self, chunk: bytes) -> bytes:
        return self._encoder.compress(chunk) + self._encoder.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        return self._encoder.flush(zlib.Z_FINISH)


def compressor(encoding: str) -> Compressor:
    """A fresh compressor of one of `ENCODINGS`."""
    if encoding == "zstd":
        return _Zstd()
    return _Lz4() if encoding == "lz4" else _Gzip()


class Decoder(Protocol):
    """Decodes a request body."""

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Decode the next chunk of the body, into pieces of bounded size.

        Raises:
            ServerError: CANNOT_DECOMPRESS: the body is not in the encoding that its header names.
        """

    def close(self) -> None:
        """Check that the body was complete.

        Raises:
            ServerError: CANNOT_DECOMPRESS: the body stopped in the middle.
        """


class Decompressor:
    """Decodes an HTTP encoding. Concatenated frames, as clickhouse-connect sends them, are read as one stream."""

    def __init__(self, encoding: str) -> None:
        if encoding not in ENCODINGS:
            raise refusal(
                UNKNOWN_COMPRESSION_METHOD,
                f"Unknown compression method {encoding!r}: expected one of {', '.join(ENCODINGS)}",
            )
        self._encoding = encoding
        self._decoder = self._fresh()
        self._begun = False

    def _fresh(self) -> Any:
        if self._encoding == "zstd":
            return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG})
        if self._encoding == "lz4":
            return lz4_frame.LZ4FrameDecompressor()
        return zlib.decompressobj(_GZIP_WINDOW_BITS)

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the decoded pieces of a chunk of the body; refuses a body that can't be decoded."""
        has_more = False
        while chunk or has_more:
            self._begun = self._begun or bool(chunk)
            try:
                piece, chunk, has_more = self._step(chunk)
            except (zlib.error, zstd.ZstdError, RuntimeError, EOFError) as error:
                raise refusal(CANNOT_DECOMPRESS, f"Cannot read the {self._encoding} request body: {error}") from error
            if piece:
                yield piece

    def _step(self, chunk: bytes) -> tuple[bytes, bytes, bool]:
        """One decoded piece, the bytes not read yet, and whether the decoder holds more."""
        decoder = self._decoder
        piece: bytes = decoder.decompress(chunk, PIECE_BYTES)
        if decoder.eof:
            rest = bytes(decoder.unused_data or b"")
            self._decoder = self._fresh()
            self._begun = False
            return piece, rest, False
        if self._encoding == "gzip":
            return piece, decoder.unconsumed_tail, len(piece) == PIECE_BYTES
        return piece, b"", not decoder.needs_input

    def close(self) -> None:
        """End the body; refuses a body that ends in the middle of a frame."""
        if self._begun:
            raise refusal(CANNOT_DECOMPRESS, f"The {self._encoding} request body ends in the middle of a frame")


class Chain:
    """A response compressed twice: ClickHouse's blocks inside an HTTP encoding."""

    def __init__(self, inner: Compressor, outer: Compressor) -> None:
        self._inner = inner
        self._outer = outer

    def feed(self, chunk: bytes) -> bytes:
        return self._outer.feed(self._inner.feed(chunk))

    def finish(self) -> bytes:
        return self._outer.feed(self._inner.finish()) + self._outer.finish()
