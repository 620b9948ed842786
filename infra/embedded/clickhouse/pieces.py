"""The body of a reply: in parts as its statement makes them, or, for a client that waits for the end, in a file.

In: a running statement. Out: encoded bytes.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from infra.embedded.clickhouse.compression import Compressor
from infra.embedded.clickhouse.errors import TOO_MANY_ROWS_OR_BYTES, refusal
from infra.embedded.clickhouse.native_blocks import Versioned
from infra.embedded.clickhouse.reply import Reply
from infra.embedded.clickhouse.running import PipedStatement

# A reply up to this size is sent whole: with its length, its totals, and the right status if the statement failed.
_PIECE_BYTES = 1024 * 1024
_SPOOL_BYTES = 16 * 1024 * 1024


def pieces_of(select: PipedStatement, version: int, encoder: Compressor | None) -> Iterator[tuple[bytes, bool]]:
    """The encoded body in parts of about a megabyte, each with whether it is the last.

    Args:
        version: the client's protocol version for Native blocks; 0 for other formats and without one.
    """
    gathered: list[bytes] = []
    size = 0
    versioned = Versioned(version)
    for block in select.blocks():
        block = versioned.feed(block)
        gathered.append(encoder.feed(block) if encoder else block)
        size += len(block)
        if size >= _PIECE_BYTES:
            yield b"".join(gathered), False
            gathered.clear()
            size = 0
    rest = versioned.finish()
    gathered.append(encoder.feed(rest) + encoder.finish() if encoder else rest)
    yield b"".join(gathered), True


def spooled(
    pieces: Iterator[tuple[bytes, bool]], folder: Path, most_bytes: int = 0
) -> tuple[bytes, bool, IO[bytes] | None]:
    """Read the body to its end: as bytes when it is short, else into a file.

    Args:
        most_bytes: how long the body may be; 0 for any length.

    Raises:
        ServerError: TOO_MANY_ROWS_OR_BYTES, or an error of the statement.
    """
    content, ended = next(pieces)
    if ended:
        return content, True, None
    spool: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES, dir=str(folder))  # noqa: SIM115
    try:
        spool.write(content)
        for content, _ in pieces:
            spool.write(content)
            if 0 < most_bytes < spool.tell():
                raise refusal(
                    TOO_MANY_ROWS_OR_BYTES,
                    f"With wait_end_of_query a reply may have {most_bytes} bytes; ask without it for a longer one",
                )
    except BaseException:
        spool.close()
        raise
    return b"", True, spool


async def send_spooled(headers: dict[str, str], spool: IO[bytes], reply: Reply) -> None:
    with spool:
        length = spool.tell()
        spool.seek(0)
        await reply.start({**headers, "Content-Length": str(length)})
        while content := await asyncio.to_thread(spool.read, _PIECE_BYTES):
            await reply.piece(content)
        await reply.piece(b"", last=True)
