"""Writes many channels and posts of one request: each line is accepted or rejected by itself, in bounded memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError

from services.query_api.admin.catalog import Catalog
from services.query_api.admin.parameters import CatalogLine, ChannelLine, PostLine
from services.query_api.errors import ApiError, Invalid, WritesUnavailable
from services.query_api.publisher import Write
from services.query_api.serving.bodies import LINE_LIMIT_BYTES, check_json
from services.query_api.serving.parameters import describe
from services.runtime.logging import get_logger

log = get_logger(__name__)

# How many lines' events are sent to Kafka together.
CHUNK_LINES = 500
CHUNK_BYTES = 8 * 1024 * 1024
MAX_LINES = 100_000
_UNEXPECTED = "The line can't be written, by a fault of this server."
_TOO_LONG = f"The line is longer than {LINE_LIMIT_BYTES} bytes."
_TOO_MANY = f"Only the first {MAX_LINES} lines of a request are read; send the rest in another."


class _Line(NamedTuple):
    number: int
    writes: Sequence[Write]


async def write_lines(catalog: Catalog, lines: AsyncIterator[bytes | None]) -> dict[str, Any]:
    """Write every good line.

    Args:
        lines: the raw lines; None stands for a line that is too long. Empty lines are skipped.

    Returns:
        `accepted`, the count; and `rejected`, with number (from 1) and error of each rejected line.

    Raises:
        WritesUnavailable: Kafka went away; sending all lines again is safe.
    """
    accepted = 0
    rejected: list[dict[str, Any]] = []
    chunk: list[ChannelLine | PostLine] = []
    numbers: list[int] = []
    size = 0
    number = 0
    async for line in lines:
        number += 1
        if number > MAX_LINES:
            # Further lines are read and dropped, since closing the connection early would lose this answer.
            if number == MAX_LINES + 1:
                rejected.append({"line": number, "error": _TOO_MANY})
            continue
        if line is None:
            rejected.append({"line": number, "error": _TOO_LONG})
            continue
        if not line.strip():
            continue
        try:
            check_json(line)
            chunk.append(CatalogLine.validate_json(line))
        except ValidationError as error:
            rejected.append({"line": number, "error": describe(error)})
            continue
        except Invalid as error:
            rejected.append({"line": number, "error": error.message})
            continue
        numbers.append(number)
        size += len(line)
        if len(chunk) >= CHUNK_LINES or size >= CHUNK_BYTES:
            accepted += await _write_chunk(catalog, chunk, numbers, rejected)
            chunk, numbers, size = [], [], 0
    accepted += await _write_chunk(catalog, chunk, numbers, rejected)
    rejected.sort(key=lambda entry: int(entry["line"]))
    return {"accepted": accepted, "rejected": rejected}


async def _write_chunk(
    catalog: Catalog,
    chunk: Sequence[ChannelLine | PostLine],
    numbers: Sequence[int],
    rejected: list[dict[str, Any]],
) -> int:
    """Write some lines in their order; returns how many were accepted.

    Raises:
        WritesUnavailable: Kafka went away. No other failure of a line touches the other lines.
    """
    accepted = 0
    writes: list[_Line] = []
    seen: set[tuple[str, str]] = set()
    channels = {(line.workspace_id, line.id) for line in chunk if isinstance(line, ChannelLine)}
    async with catalog.holding(channels):
        for number, line in zip(numbers, chunk, strict=True):
            if isinstance(line, ChannelLine):
                channel = (line.workspace_id, line.id)
                if channel in seen:
                    # A channel's tokens are compared with those held, so an earlier line about it is written first.
                    accepted += await _write(catalog, writes, rejected)
                    writes, seen = [], set()
                seen.add(channel)
            try:
                if isinstance(line, ChannelLine):
                    made = catalog.channel_writes(line.workspace_id, line.id, line)
                else:
                    made = catalog.post_writes(line.workspace_id, line.id, line)
            except Exception as error:
                rejected.append(_rejection(number, error))
                continue
            writes.append(_Line(number, made))
        accepted += await _write(catalog, writes, rejected)
    return accepted


async def _write(catalog: Catalog, lines: Sequence[_Line], rejected: list[dict[str, Any]]) -> int:
    """Write the events of some lines together, or line by line where that fails; returns how many were accepted.

    Raises:
        WritesUnavailable: Kafka went away.
    """
    try:
        await catalog.write([write for line in lines for write in line.writes])
    except WritesUnavailable:
        raise
    except Exception as error:
        if len(lines) == 1:
            rejected.append(_rejection(lines[0].number, error))
            return 0
        # What was written before the failure is written again, which changes nothing.
        return sum([await _write(catalog, [line], rejected) for line in lines])
    return len(lines)


def _rejection(number: int, error: Exception) -> dict[str, Any]:
    if isinstance(error, ApiError):
        return {"line": number, "error": error.message}
    log.error("a line of a bulk write can't be written", line=number, exc_info=error)
    return {"line": number, "error": _UNEXPECTED}
