"""What is asked for together of one channel, and what became of it; pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from services.platforms.base import Channel
from services.poller.schedule.entry import Entry
from services.poller.schedule.plan import Plan


class Fate(Enum):
    """What became of one target, or of the channel's own figures, in a round."""

    CAPTURED = "captured"  # answered
    SKIPPED = "skipped"  # no figures, and asking sooner than the regular time won't help
    RETRY = "retry"  # not asked, or no answer; due again at `at`
    DEFERRED = "deferred"  # not asked, because the platform's budget is used up; due as before
    GONE = "gone"  # the platform says that it is not there
    NEVER = "never"  # the platform will never have figures


class Settled(NamedTuple):
    """A fate, with the instant (ms) of the next try for RETRY."""

    fate: Fate
    at: int = 0


@dataclass(slots=True)
class Batch:
    """Targets of one channel that are asked for together, and whether the channel's own figures are asked for too.

    A round asks for one batch, or for the batches of several channels, and settles each.

    Attributes:
        entries: the targets.
        items: their items, in the same order.
        cost: the calls that its targets are, or their part of one; the channel's own figures are one more.
        late_by: ms since the oldest of all that is asked for was due.
    """

    plan: Plan
    channel: Channel
    entries: list[Entry]
    with_channel: bool
    late_by: int
    items: list[int] = field(default_factory=list)
    cost: float = 0.0
