"""Leaves out of a scheduled round what may not be paid for now, and puts it off; pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from services.platforms.base import Call, Target
from services.poller.asking.money import Ledger
from services.poller.asking.questions import CHANNEL, Asked, Subject
from services.poller.asking.round import Round
from services.poller.keys import ChannelKey
from services.poller.schedule.batch import Batch, Fate


def affordable(
    ledger: Ledger | None, current: Round[Asked], batch: Batch, calls_of: Callable[[Target], Sequence[Call]], now: int
) -> list[Target]:
    """The targets of a batch that may be read now.

    Args:
        ledger: None where the platform bills for nothing.
        calls_of: the calls that a target alone would be asked with.
        now: ms.
    """
    targets = [entry.target() for entry in batch.entries]
    if ledger is None:
        return targets
    key = batch.plan.key
    sifted = ledger.sift(key[0], targets, calls_of, now)
    held_back = [Subject(key, target.target_id) for target in sifted.held_back]
    current.settle(dict.fromkeys(held_back, Fate.RETRY), sifted.until)
    return sifted.affordable


def affordable_calls(
    ledger: Ledger | None, current: Round[Asked], key: ChannelKey, calls: Sequence[Call], now: int
) -> Sequence[Call]:
    """The calls for a channel's own figures; [] where they may not be paid for now. `now` in ms."""
    until = 0 if ledger is None else ledger.wait_until(key[0], ledger.cost_of(calls, now), now)
    if until:
        current.settle({Subject(key, CHANNEL): Fate.RETRY}, until)
    return [] if until else calls
