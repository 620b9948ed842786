"""How much of what is generated is tried: a part in `make test`, all of it in `make test-long`.

The part is another one in each run, but for properties that name their examples (`derandomize`).
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

import hypothesis

WHOLE, QUARTER = "whole", "quarter"
_EXAMPLES = 100
T = TypeVar("T")


def register() -> None:
    """Make both profiles of Hypothesis known, and load that of `make test`; `--hypothesis-profile=whole` loads the
    other.
    """
    for name, examples in ((WHOLE, _EXAMPLES), (QUARTER, _EXAMPLES // 4)):
        # How long an example takes says more of the machine's other work than of the code: `make bench` keeps figures.
        hypothesis.settings.register_profile(
            name, max_examples=examples, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
        )
    hypothesis.settings.load_profile(QUARTER)


def of(examples: int) -> int:
    """How many of so many examples this run tries."""
    return max(1, examples * hypothesis.settings().max_examples // _EXAMPLES)


def part_of(things: Iterable[T]) -> Iterator[T]:
    """The things that this run tries: all of them, or every fourth; a failure has to tell the thing itself.

    A test of it is marked `hypothesis`, so that `make test-long` tries all.
    """
    return some_of(things, _EXAMPLES // hypothesis.settings().max_examples)


def some_of(things: Iterable[T], share: int) -> Iterator[T]:
    """One of each `share` things, in each run other ones; a failure has to tell the thing itself."""
    return islice(things, random.SystemRandom().randrange(share), None, share)
