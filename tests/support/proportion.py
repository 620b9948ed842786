"""Whether work takes time in proportion to its size, measured so that a busy machine changes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

# Twice the work takes twice the time; the rest is the clock's. Four times is what the square of the size takes.
MOST = 2.6
_ROUNDS = 12


def growth(small: Callable[[], object], large: Callable[[], object]) -> float:
    """How many times as long the larger work takes, by up to twelve rounds in turn.

    The shortest time of the larger work is held against the usual one of the smaller: four times the work is seen all
    the same, and a busy machine makes nothing of twice the work.
    """
    of_small, of_large = [], []
    ratio = float("inf")
    for attempt in range(_ROUNDS):
        of_small.append(_seconds_of(small))
        of_large.append(_seconds_of(large))
        ratio = min(of_large) / median(of_small)
        if ratio <= MOST and attempt:
            break
    return ratio


def _seconds_of(do: Callable[[], object]) -> float:
    began = time.process_time()
    do()
    return time.process_time() - began
