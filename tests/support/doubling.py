"""Whether a reader's time is linear in the length of its text."""

from __future__ import annotations

import time
from collections.abc import Callable

# Twice the text may take this many times as long; a quadratic reader takes 4 times as long.
_MOST = 2.5
# Below this a measurement is noise.
_NOISE_SECONDS = 0.0015
_TRIES = 4


def assert_linear(read: Callable[[str], object], make: Callable[[int], str], characters: int) -> None:
    """Check that twice the text takes about twice the processor time, the least of several measurements.

    Args:
        make: returns a text of about as many characters as it is asked for.
    """
    texts = make(characters), make(2 * characters)
    best = [float("inf"), float("inf")]
    for _ in range(_TRIES):
        for which, text in enumerate(texts):
            best[which] = min(best[which], _seconds(read, text))
        if best[1] <= _MOST * best[0] + _NOISE_SECONDS:
            return
    raise AssertionError(f"{best[0]:.3f} s for {len(texts[0])} characters, {best[1]:.3f} s for {len(texts[1])}")


def _seconds(read: Callable[[str], object], text: str) -> float:
    begun = time.process_time()
    read(text)
    return time.process_time() - begun


def repeated(unit: str) -> Callable[[int], str]:
    """Texts that repeat a unit."""
    return lambda characters: unit * max(1, characters // len(unit))
