"""Tells other processes what this one's polls cost, and takes in what theirs do: `poller.spending`.

Each record holds a workspace's whole month at one platform, so the newest of a key is enough, and a process that starts
knows what was spent. What was booked in the seconds before a crash is in no record; whoever loads the workspace next
books it again from `platform.raw`.

Guarantee: at-least-once. A record that comes again, or late, changes nothing: of one day the larger amount stands.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from typing import Any, Protocol

from schemas.codec import Codec
from schemas.events import PlatformRaw, PollerSpending
from schemas.keys import checked_key
from schemas.spending import month_of
from schemas.topic_names import SPENDING
from services.platforms.abilities import Priced
from services.platforms.base import Platform
from services.poller.asking.money import Ledger, micros
from services.poller.keys import ChannelKey
from services.poller.partitions.captures import tolerant
from services.poller.reader import Fold
from services.poller.schedule.entry import Entry
from services.poller.schedule.schedule import Schedule
from services.poller.timing import Time
from services.runtime.brokers import Record
from services.runtime.clock import MILLIS_PER_DAY, MILLIS_PER_SECOND
from services.runtime.kafka import key as message_key
from services.runtime.logging import get_logger

# How long what was booked waits to be told.
FLUSH = 2 * MILLIS_PER_SECOND
# Other pollers' clocks may be this far ahead of this machine's, ms.
_CLOCKS = 10 * 60 * MILLIS_PER_SECOND
_log = get_logger(__name__)


class Publisher(Protocol):
    """Where records go; see `services.poller.publisher.KafkaPublisher`."""

    async def put(self, topic: str, workspace_id: str, message_key: bytes, event: object | None) -> None:
        """Make an event durable; returns when it is."""


def ledgers(
    platforms: Mapping[str, Platform], budgets: Mapping[str, Decimal | None], schedule: Schedule
) -> dict[str, Ledger]:
    """The books of each platform that bills for what is read.

    Args:
        budgets: US dollars a month by platform; None or absent for no limit.
    """

    def payers(name: str) -> Callable[[], set[str]]:
        return lambda: {plan.key[0] for plan in schedule.lanes[name].plans if plan.is_polled}

    found = {}
    for name, platform in platforms.items():
        if isinstance(platform, Priced):
            budget = budgets.get(name)
            found[name] = Ledger(name, platform, None if budget is None else micros(budget), payers(name))
    return found


class Spending:
    """Keeps the ledgers of all processes alike; see `captures.Bookkeeper`."""

    def __init__(
        self,
        *,
        time: Time,
        platforms: Mapping[str, Platform],
        schedule: Schedule,
        ledgers: Mapping[str, Ledger],
        publisher: Publisher,
        codec: Codec[Any],
    ) -> None:
        self._time = time
        self._platforms = platforms
        self._schedule = schedule
        self._ledgers = ledgers
        self._publisher = publisher
        self._codec = codec
        self._booked = asyncio.Event()
        for ledger in ledgers.values():
            ledger.on_booked = self._booked.set

    def fold(self) -> Fold:
        """Folds `poller.spending`, of all partitions."""

        def fold(topic: str, record: Record) -> None:
            if record.value is None:
                return
            event: PollerSpending = self._codec.decode(record.value)
            checked_key(topic, record.key, event)
            ledger = self._ledgers.get(event.platform)
            now = self._time.now()
            # What no poller books yet: a later month would push this one out of the books.
            if ledger is not None and event.month <= month_of(now + MILLIS_PER_DAY):
                # Nobody has booked what is to come; such a record would keep answers out of the books.
                ledger.take(replace(event, as_of=min(event.as_of, now + _CLOCKS)))

        return tolerant(fold)

    def target_was_read(self, entry: Entry, at: int) -> None:
        """See `captures.Bookkeeper`."""
        now = self._time.now()
        if at // MILLIS_PER_DAY != now // MILLIS_PER_DAY:
            return  # nearly all of a large catalog: nothing of it is free today
        plan = self._schedule.plans.get(entry.key)
        if plan is None or plan.channel is None or plan.platform is None or plan.platform not in self._ledgers:
            return
        calls = self._platforms[plan.platform].post_calls(plan.channel, [entry.target()], now)
        self._ledgers[plan.platform].seen(entry.key[0], calls, at, now)

    def channel_was_read(self, key: ChannelKey, at: int) -> None:
        """See `captures.Bookkeeper`."""
        plan, now = self._schedule.plans.get(key), self._time.now()
        if plan is None or plan.channel is None or plan.platform is None or plan.platform not in self._ledgers:
            return
        calls = self._platforms[plan.platform].channel_calls(plan.channel, now)
        self._ledgers[plan.platform].seen(key[0], calls, at, now)

    def replay(self, event: PlatformRaw) -> None:
        """See `captures.Bookkeeper`."""
        ledger = self._ledgers.get(event.platform)
        if ledger is not None:
            ledger.replay(event, self._time.now())

    async def run(self) -> None:
        """Tell what is booked until cancelled."""
        while True:
            await self._booked.wait()
            self._booked.clear()
            await self._time.wait(asyncio.Event(), self._time.now() + FLUSH)
            await self.flush()

    async def close(self, seconds: float) -> None:
        """Tell what is booked, for at most this long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.flush()

    async def flush(self) -> None:
        """Tell all that was booked and not told."""
        for name, ledger in self._ledgers.items():
            for booked in sorted(ledger.dirty):
                # Before the record is made: what is booked meanwhile is told next.
                ledger.dirty.discard(booked)
                workspace_id, month = booked
                record = ledger.record(workspace_id, month, self._time.now())
                key = message_key(workspace_id, name, month)
                try:
                    await self._publisher.put(SPENDING, workspace_id, key, record)
                except BaseException:
                    ledger.dirty.add(booked)
                    raise
