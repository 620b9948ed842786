"""Judges errors of ClickHouse: some pass by themselves, and some are caused by single rows, found by halving blocks."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable, Sequence

from clickhouse_connect.driver.exceptions import ClickHouseError, DataError, OperationalError

from services.aggregator.errors import RowsRefused
from services.aggregator.rows import Row
from services.runtime.logging import get_logger

log = get_logger(__name__)
# ClickHouse's codes of errors that pass by themselves: time-outs, too many queries or parts, memory, network, read-only
# replicas, a cluster in motion, shutting down.
_PASSING_CODES = frozenset(
    {3, 159, 164, 202, 203, 209, 210, 225, 236, 241, 242, 243, 252, 279, 285, 286, 289, 319, 394, 425, 439, 735, 999}
)
# ClickHouse's codes of errors caused by a row's values, which can't be read or converted to their columns' types.
_ROW_CODES = frozenset({6, 26, 27, 33, 36, 38, 41, 53, 69, 70, 72, 117, 131, 190, 321, 349, 407, 469, 652, 691})
# If all of at least this many rows are refused, the insert itself is wrong, and not its rows.
_ALL_REFUSED_MIN = 50


def is_passing(error: ClickHouseError) -> bool:
    """Whether the same call may succeed later: true for time-outs, overload, lost connections and a full disk."""
    code = getattr(error, "code", None)
    if code:
        return int(code) in _PASSING_CODES or is_full_disk(str(error))
    return isinstance(error, OperationalError) or "HTTP" in str(error) or "onnection" in str(error)


def is_of_rows(error: Exception) -> bool:
    """Whether an error that does not pass is caused by single rows, without which the other rows may be stored."""
    if isinstance(error, ClickHouseError):
        code = getattr(error, "code", None)
        return int(code) in _ROW_CODES if code else isinstance(error, DataError)
    # Raised by the client before anything was sent: a value that its column's format can't hold.
    return isinstance(error, (TypeError, ValueError, OverflowError, AttributeError, struct.error, ArithmeticError))


def first_line(error: Exception) -> str:
    """An error in one line of at most 200 characters, for the log and for dead letters."""
    return f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"


def answer(waiters: list[tuple[asyncio.Future[None], int]], rows: Sequence[Row], refused: dict[int, str]) -> None:
    """Resolve the waiters of a block; a waiter with refused rows gets `RowsRefused` with these rows of its own.

    Args:
        waiters: each with the number of its rows, in the order of `rows`.
        refused: the reasons for refused rows, by position in `rows`.
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
    """Whether an error's text tells of a full disk, for which the server has many codes."""
    return "No space left on device" in text or "NOT_ENOUGH_SPACE" in text


async def insert_in_parts(
    insert: Callable[[Sequence[Row]], Awaitable[None]], table: str, rows: Sequence[Row]
) -> dict[int, str]:
    """Insert a block; if some of its rows can't be stored, insert the others in ever smaller parts.

    Args:
        insert: stores a block or raises.
        table: the table's name, for the log.

    Returns:
        The reasons for refused rows, by their positions in `rows`; {} when all rows are stored.

    Raises:
        Exception: the error of `insert`, if single rows did not cause it.
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
