"""Judges errors of ClickHouse: some pass by themselves, some are caused by single rows, which are found by halving."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable, Sequence

from clickhouse_connect.driver.exceptions import ClickHouseError, DataError, OperationalError

from services.aggregator.errors import RowsRefused
from services.aggregator.rows import Row
from services.runtime.logging import get_logger

log = get_logger(__name__)
# ClickHouse's codes of what passes by itself: time-outs, too many queries or parts, memory, network, read-only
# replicas, a cluster in motion, shutting down.
_PASSING_CODES = frozenset(
    {3, 159, 164, 202, 203, 209, 210, 225, 236, 241, 242, 243, 252, 279, 285, 286, 289, 319, 394, 425, 439, 735, 999}
)
# What a row's values cause: they can't be converted to their columns' types, or not be read.
_ROW_CODES = frozenset({6, 26, 27, 33, 36, 38, 41, 53, 69, 70, 72, 117, 131, 190, 321, 349, 407, 469, 652, 691})
# A block of which everything is refused is our mistake, and not that of its rows.
_ALL_REFUSED_MIN = 50


def is_passing(error: ClickHouseError) -> bool:
    """Whether the same call may succeed later."""
    code = getattr(error, "code", None)
    if code:
        return int(code) in _PASSING_CODES or is_full_disk(str(error))
    return isinstance(error, OperationalError) or "HTTP" in str(error) or "onnection" in str(error)


def is_of_rows(error: Exception) -> bool:
    """Whether an error that does not pass is caused by some of the rows; the others may be stored without them."""
    if isinstance(error, ClickHouseError):
        code = getattr(error, "code", None)
        return int(code) in _ROW_CODES if code else isinstance(error, DataError)
    # Raised by the client before anything was sent: a value that its column's format can't hold.
    return isinstance(error, (TypeError, ValueError, OverflowError, AttributeError, struct.error, ArithmeticError))


def first_line(error: Exception) -> str:
    """An error in one line of at most 200 characters, for the log and for dead letters."""
    return f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"


def answer(waiters: list[tuple[asyncio.Future[None], int]], rows: Sequence[Row], refused: dict[int, str]) -> None:
    """Resolve the waiters of a block: done, or `RowsRefused` with those of their own rows that were refused.

    Args:
        waiters: each with the number of its rows, in the order of `rows`.
        refused: reasons by position in `rows`.
    """
    start = 0
    for waiter, count in waiters:
        mine = [position for position in range(start, start + count) if position in refused] if refused else []
        start += count
        if waiter.done():
            continue
        if mine:
            waiter.set_exception(RowsRefused([rows[position] for position in mine], refused[mine[0]]))
        else:
            waiter.set_result(None)


def is_full_disk(text: str) -> bool:
    """Whether an error's text is that of a full disk; the server gives many codes for it."""
    return "No space left on device" in text or "NOT_ENOUGH_SPACE" in text


async def insert_in_parts(
    insert: Callable[[Sequence[Row]], Awaitable[None]], table: str, rows: Sequence[Row]
) -> dict[int, str]:
    """Insert a block; where some of its rows can't be stored, insert it in ever smaller parts without them.

    Args:
        insert: stores a block or raises.
        table: name for the log.

    Returns:
        Reasons by the positions of the rows that were refused; {} when all are stored.

    Raises:
        Exception: what `insert` raised, where it is not caused by single rows.
    """
    try:
        await insert(rows)
        return {}
    except Exception as error:
        if not is_of_rows(error):
            raise
        log.warning("insert_refused", table=table, rows=len(rows), error=first_line(error))
    refused: dict[int, str] = {}
    parts = [(0, len(rows))]
    while parts:
        start, end = parts.pop()
        try:
            await insert(rows[start:end])
        except Exception as error:
            if not is_of_rows(error):
                raise
            if end - start == 1:
                refused[start] = first_line(error)
                if len(refused) == len(rows) >= _ALL_REFUSED_MIN:
                    raise
            else:
                middle = (start + end) // 2
                parts += [(middle, end), (start, middle)]
    return refused
