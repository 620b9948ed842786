"""When a delivery is tried again, and when it or its webhook is given up. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

from services.runtime.clock import MILLIS_PER_DAY

WAITS_SECONDS: Final = (5, 300, 1_800, 7_200, 18_000, 36_000, 36_000)
"""The wait after each failed try; after one try more, the delivery is given up."""
JITTER: Final = 0.1
"""Waits are longer by up to this share, so that deliveries that failed together don't come back together."""
GIVE_UP_MILLIS: Final = 5 * MILLIS_PER_DAY
"""A webhook none of whose tries succeeded for this long is shut down."""
HELD_MILLIS: Final = 300_000
"""How long news of changed metrics is gathered for a webhook that fails."""
GONE: Final = 410


class Outcome(NamedTuple):
    """What became of one try.

    Attributes:
        status: HTTP status of the answer; None without one.
        answer: the first bytes of its body, as text.
        error: why the try failed; empty when the receiver took the delivery.
    """

    status: int | None
    answer: str = ""
    error: str = ""


def next_try_at(tries: int, now: int, share: float) -> int | None:
    """When a delivery that failed is tried again, ms; None when it is given up.

    Args:
        tries: made so far, at least 1.
        share: of the jitter, 0 to 1.
    """
    if tries > len(WAITS_SECONDS):
        return None
    return now + round(WAITS_SECONDS[tries - 1] * 1000 * (1 + JITTER * share))
