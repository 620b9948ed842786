"""HTTP content encodings in both directions, frame formats as clickhouse-connect and curl send and expect them.

In: bytes and an encoding's name. Out: bytes. Brotli is there when its package is. ClickHouse's own block
compression (`compress=1`, `decompress=1`) is no content encoding and is refused by `app`.
"""

from __future__ import annotations

import re
import sys
import zlib
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

from infra.embedded.clickhouse.errors import CANNOT_DECOMPRESS, UNKNOWN_COMPRESSION_METHOD, refusal

lz4_frame: Any = import_module("lz4.frame")
zstd: Any = import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
_BROTLI: Any = import_module("brotli") if find_spec("brotli") else None

# In the order in which they are chosen: the cheapest for a processor that also runs the queries first.
ENCODINGS = ("zstd", "lz4", *(("br",) if _BROTLI else ()), "gzip", "deflate")

_ZSTD_LEVEL = 1
_ZLIB_LEVEL = 3
_ZERO_WEIGHT = re.compile(r"0(\.0*)?")


class Compressor(Protocol):
    """A response body on its way out; what was fed is readable by the client at once."""

    def feed(self, chunk: bytes) -> bytes: ...

    def finish(self) -> bytes: ...


def chosen_encoding(accept_encoding: str | None) -> str | None:
    """The encoding to answer with, of those that an Accept-Encoding header names; None for none of ours."""
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


class _Zlib:
    def __init__(self, window_bits: int) -> None:
        self._encoder = zlib.compressobj(_ZLIB_LEVEL, zlib.DEFLATED, window_bits)

    def feed(self, chunk: bytes) -> bytes:
        return self._encoder.compress(chunk) + self._encoder.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        return self._encoder.flush(zlib.Z_FINISH)


class _Brotli:
    def __init__(self) -> None:
        self._encoder = _BROTLI.Compressor(quality=3)

    def feed(self, chunk: bytes) -> bytes:
        encoded: bytes = self._encoder.process(chunk) + self._encoder.flush()
        return encoded

    def finish(self) -> bytes:
        encoded: bytes = self._encoder.finish()
        return encoded


def compressor(encoding: str) -> Compressor:
    """A fresh compressor of one of `ENCODINGS`."""
    if encoding == "zstd":
        return _Zstd()
    if encoding == "lz4":
        return _Lz4()
    if encoding == "br":
        return _Brotli()
    return _Zlib(31 if encoding == "gzip" else 15)


class Decompressor:
    """A request body on its way in; concatenated frames are read as one stream, as clickhouse-connect sends them."""

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
            return zstd.ZstdDecompressor()
        if self._encoding == "lz4":
            return lz4_frame.LZ4FrameDecompressor()
        if self._encoding == "br":
            return _BROTLI.Decompressor()
        return zlib.decompressobj(31 if self._encoding == "gzip" else 15)

    def feed(self, chunk: bytes) -> bytes:
        """The bytes that this much more of the body decodes to.

        Raises:
            ServerError: CANNOT_DECOMPRESS; the body is not in the encoding that its header names.
        """
        decoded = bytearray()
        try:
            while chunk:
                self._begun = True
                if self._encoding == "br":
                    decoded += self._decoder.process(chunk)
                    break
                decoded += self._decoder.decompress(chunk)
                if not self._decoder.eof:
                    break
                chunk = bytes(self._decoder.unused_data or b"")
                self._decoder = self._fresh()
                self._begun = bool(chunk)
        except (zlib.error, zstd.ZstdError, RuntimeError, EOFError) as error:
            raise refusal(CANNOT_DECOMPRESS, f"Cannot read the {self._encoding} request body: {error}") from error
        except Exception as error:
            if type(error).__module__ not in ("brotli", "_brotli"):
                raise
            raise refusal(CANNOT_DECOMPRESS, f"Cannot read the br request body: {error}") from error
        return bytes(decoded)

    def close(self) -> None:
        """Checks that the last frame was complete.

        Raises:
            ServerError: CANNOT_DECOMPRESS; the body stopped inside a frame.
        """
        complete = self._decoder.is_finished() if self._encoding == "br" else self._decoder.eof
        if self._begun and not complete:
            raise refusal(CANNOT_DECOMPRESS, f"The {self._encoding} request body ends in the middle of a frame")
