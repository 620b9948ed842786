"""Whether a reader's time is linear in the length of its text."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

# How many times as long as the shorter text the longer one is, and how many times as long it may take. Neighbours on
# the machine can slow the longer one for all its tries, so a reader that fails the first is judged again by a ratio
# that no neighbour makes: a quadratic reader takes 4 and 64 times as long.
_RATIOS = ((2, 2.5), (8, 20.0))
# Below this a measurement is noise.
_NOISE_SECONDS = 0.002
# A quadratic reader fails every one of them; on a busy machine a linear one needs a few.
_TRIES = 15


def assert_linear(read: Callable[[str], object], make: Callable[[int], str], characters: int) -> None:
    """Check that a longer text takes more processor time in proportion, the least of several measurements.

    Args:
        make: returns a text of about as many characters as it is asked for.
    """
    short = make(characters)
    for times, most in _RATIOS:
        texts = short, make(times * characters)
        best = [float("inf"), float("inf")]
        for _ in range(_TRIES):
            for which, text in enumerate(texts):
                best[which] = min(best[which], _seconds(read, text))
            if best[1] <= most * best[0] + _NOISE_SECONDS:
                return
    raise AssertionError(f"{best[0]:.3f} s for {len(texts[0])} characters, {best[1]:.3f} s for {len(texts[1])}")


def _seconds(read: Callable[[str], object], text: str) -> float:
    # A collection of garbage counts what the other tests have left.
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        begun = time.thread_time()
        read(text)
        return time.thread_time() - begun
    finally:
        if was_enabled:
            gc.enable()


def repeated(unit: str, beginning: str = "", end: str = "") -> Callable[[int], str]:
    """Texts that repeat a unit."""
    return lambda characters: beginning + unit * max(1, characters // len(unit)) + end
