"""Waiting for a condition with a deadline, the only way that tests here wait."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.02
LONGEST_PAUSE_SECONDS = 1.0
# A pause is so many times as long as the condition took. What is waited for needs the processor, too: a condition that
# asks an engine again at once keeps a core busy, of the two that a whole run has.
PAUSE_FACTOR = 3
# Deadlines are for a machine at rest; a busy one gets this many times as long before a wait counts as failed.
PATIENCE = float(os.environ.get("TIDEMARK_TEST_PATIENCE", "3"))


def busy() -> float:
    """How many threads want to run for each core, over the last minute; at least 1.

    A bound in wall time that the product promises on a machine at rest is multiplied by it.
    """
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def wait_until(condition: Callable[[], T], timeout: float, message: str | Callable[[], str]) -> T:
    """Call `condition` until it returns something true, and return that.

    Args:
        timeout: seconds.
        message: what was waited for; a callable is asked only on failure, to show what was seen instead.

    Raises:
        AssertionError: the deadline passed; says `message`.
    """
    deadline = time.monotonic() + timeout * PATIENCE
    while True:
        asked_at = time.monotonic()
        if value := condition():
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(_failure(timeout, message))
        time.sleep(_pause(asked_at))


async def wait_until_async(
    condition: Callable[[], Awaitable[T]],
    timeout: float,  # noqa: ASYNC109 - the same shape as wait_until
    message: str | Callable[[], str],
) -> T:
    """`wait_until` for an awaitable condition; the event loop goes on between two calls."""
    deadline = time.monotonic() + timeout * PATIENCE
    while True:
        asked_at = time.monotonic()
        if value := await condition():
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(_failure(timeout, message))
        await asyncio.sleep(_pause(asked_at))


def _pause(asked_at: float) -> float:
    """In proportion to how long the condition itself took, within bounds."""
    return min(max(POLL_SECONDS, PAUSE_FACTOR * (time.monotonic() - asked_at)), LONGEST_PAUSE_SECONDS)


def _failure(timeout: float, message: str | Callable[[], str]) -> str:
    return f"not within {timeout:g} s: {message() if callable(message) else message}"
