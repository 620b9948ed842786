"""Looks for posts that were published elsewhere, and writes them to the catalog.

In: channels with `discover`, by the catalog. Out: the account's own list on `platform.raw`, of kind IDENTITY; on
`catalog.posts` a post with one target of origin `discovered` for each that the catalog lacks, and tombstones of those
that the product writes itself.

A channel's list is asked for once in six hours, at an instant that follows from the channel's id, so that restarts and
other pollers change nothing about it, and within a minute after a write that switches it on. Scheduled polls come
first: a list is asked for only while nothing is due on its platform, while the budgets hold more than scheduled polls
may need, and at the pace of the month's money.

An item of a list that lacks its id or its time is passed over, counted and logged; the others are taken.

Guarantee: only the owner of a partition writes, and an event that a former owner sent late is found and taken back
(`discoveries.py`). Writing a post twice changes nothing, since its id is the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol
from zlib import crc32

from schemas.events import CatalogPost, Origin, PlatformRaw
from schemas.topic_names import POSTS
from services.platforms.abilities import Discovered, Discovers, Listed
from services.platforms.base import MappingError, Platform
from services.poller.asking.channel_rounds import ChannelRounds
from services.poller.asking.money import Ledger
from services.poller.catalog import Catalog
from services.poller.discoveries import newest_first, slot
from services.poller.keys import ChannelKey
from services.poller.metrics import PollerMetrics
from services.poller.partitions.ownership import Ownership
from services.poller.schedule.plan import Plan
from services.poller.schedule.schedule import Schedule
from services.poller.timing import Time
from services.runtime.clock import MILLIS_PER_HOUR
from services.runtime.kafka import key as message_key
from services.runtime.logging import get_logger

INTERVAL = 6 * MILLIS_PER_HOUR
# After a call that nobody answered, or that could not be made.
AGAIN_AFTER = MILLIS_PER_HOUR // 2
# How often what is due is looked for, ms; sooner where the schedule is sped up.
LOOK = 60_000
_SHORTEST_LOOK = 250
# Channels of one platform at a time.
CONCURRENCY = 4
# Of one answer; the longest list of a platform is of 100.
_MOST_POSTS = 200
_log = get_logger(__name__)


class Publisher(Protocol):
    """Where posts go; see `services.poller.publisher.KafkaPublisher`."""

    async def put(self, topic: str, workspace_id: str, message_key: bytes, event: CatalogPost | None) -> None:
        """Make an event, or a tombstone, durable; returns when it is."""

    async def erase(self, topic: str, key: ChannelKey) -> None:
        """Make a tombstone durable; returns when it is."""


class Discovery:
    """Asks accounts for their lists, one look after the other.

    Args:
        ownership: whose channels are this process's.
        ledgers: the books of the platforms that bill for what is read.
    """

    def __init__(
        self,
        *,
        time: Time,
        platforms: Mapping[str, Platform],
        schedule: Schedule,
        catalog: Catalog,
        rounds: ChannelRounds,
        publisher: Publisher,
        ownership: Ownership,
        metrics: PollerMetrics,
        ledgers: Mapping[str, Ledger] | None = None,
    ) -> None:
        self._time = time
        self._platforms = {name: one for name, one in platforms.items() if isinstance(one, Discovers)}
        self._schedule = schedule
        self._catalog = catalog
        self._discoveries = catalog.discoveries
        self._rounds = rounds
        self._publisher = publisher
        self._ownership = ownership
        self._metrics = metrics
        self._ledgers = ledgers or {}
        self._interval = max(1, int(INTERVAL / schedule.speed))
        self._look_every = max(_SHORTEST_LOOK, min(LOOK, self._interval // 20))
        self._next: dict[ChannelKey, int] = {}

    async def run(self) -> None:
        """Look for posts until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_clear())
            for name in self._platforms:
                tasks.create_task(self._follow(name))

    async def _follow(self, name: str) -> None:
        """Look for new posts of one platform's channels, as they become due, until cancelled."""
        while True:
            now = self._time.now()
            due = self._due(name, now)[:CONCURRENCY]
            looked = await asyncio.gather(*(self._look(name, key) for key in due))
            if not any(looked):
                await self._time.wait(asyncio.Event(), now + self._look_every)

    def _due(self, name: str, now: int) -> list[ChannelKey]:
        """Channels whose list is due; none while scheduled polls are."""
        keys = self._discoveries.channels.get(name, set())
        for key in [key for key in self._next if key not in keys and self._platform_of(key) in (None, name)]:
            del self._next[key]
        due_at = self._schedule.lanes[name].next_due_at()
        if not keys or (due_at is not None and due_at <= now) or self._rounds.closed_until(name, now) > now:
            return []
        return sorted(
            key
            for key in keys
            if self._ownership.may_ask(key[0]) and self._is_polled(key) and self._due_at(key, now) <= now
        )

    def _is_polled(self, key: ChannelKey) -> bool:
        plan = self._schedule.plans.get(key)
        return plan is not None and plan.is_polled

    def _platform_of(self, key: ChannelKey) -> str | None:
        event = self._catalog.channels.get(key)
        return None if event is None else event.platform

    def _due_at(self, key: ChannelKey, now: int) -> int:
        """When a channel's list is due, ms: at its slots, and at once after a write since the last of them."""
        at = self._next.get(key)
        if at is None:
            last = self._slot(key, now)
            at = self._next[key] = last if self._catalog.channels[key].updated_at > last else last + self._interval
        return at

    def _slot(self, key: ChannelKey, now: int) -> int:
        return slot(crc32("/".join(key).encode()) % self._interval, self._interval, now)

    async def _look(self, name: str, key: ChannelKey) -> bool:
        """Ask one account for its list, and write what the catalog lacks; returns whether it was asked for."""
        plan, platform, now = self._schedule.plans.get(key), self._platforms[name], self._time.now()
        if plan is None or plan.channel is None or not plan.is_polled:
            return False
        call = platform.discovery_call(plan.channel, now)
        if call is None:
            # The platform lists no posts of such an account.
            self._next[key] = self._slot(key, now) + self._interval
            return False
        ledger = self._ledgers.get(name)
        held_back = 0 if ledger is None else ledger.wait_until(key[0], ledger.cost_of([call], now), now)
        if held_back or not self._rounds.has_to_spare(name, key, [call], now):
            self._next[key] = held_back or now + self._look_every
            return False
        heard: list[PlatformRaw] = []
        try:
            with self._ownership.working(key[0]):
                pulled = await self._rounds.pull(name, plan, [call], heard.append, origin=Origin.SCHEDULE)
                later = self._time.now()
                regular = self._slot(key, later) + self._interval
                self._next[key] = min(later + AGAIN_AFTER, regular) if pulled.verdict is None else regular
                await self._write(name, key, plan, self._found(platform, heard))
        except Exception:
            # A mistake in one platform's file must not stop the others, nor spin on the same channel.
            _log.exception("a look for posts failed", platform=name, channel=key)
            self._next[key] = self._slot(key, self._time.now()) + self._interval
        return True

    def _found(self, platform: Discovers, heard: list[PlatformRaw]) -> list[Discovered]:
        found: list[Discovered] = []
        for event in heard:
            try:
                listed = platform.discovered(event)
            except MappingError as error:
                _log.error("a list of posts can't be read", platform=event.platform, error=str(error))
                continue
            found += listed.posts
            if listed.lacking:
                self._tell_lacking(event, listed)
        return found

    def _tell_lacking(self, event: PlatformRaw, listed: Listed) -> None:
        """Count and log the items that were passed over; an error where nothing else was in the list."""
        for field, count in listed.lacking.items():
            self._metrics.unlisted.labels(event.platform, field).inc(count)
        log = _log.warning if listed.posts else _log.error
        log(
            "items of a list of posts can't be read", platform=event.platform, channel=event.channel_id,
            event_id=event.event_id, lacking=dict(listed.lacking), read=len(listed.posts),
        )  # fmt: skip

    async def _write(self, name: str, key: ChannelKey, plan: Plan, found: list[Discovered]) -> None:
        written = 0
        newest, unlisted_ids = newest_first(found, _MOST_POSTS), self._platforms[name].facts.unlisted_ids
        for post in self._discoveries.missing(key, plan, newest, self._time.now(), unlisted_ids):
            # To write takes as long as Kafka does: the channel may be another's by now, or switched off.
            if not self._ownership.may_ask(key[0]) or key not in self._discoveries.channels[name]:
                break
            if self._discoveries.is_unheard(key[0], post.post_id):
                self._discoveries.wrote(key[0], post.post_id)
                await self._publisher.put(POSTS, key[0], message_key(key[0], post.post_id), post)
                written += 1
        if written:
            _log.info("posts were found that were published elsewhere", platform=name, channel=key, posts=written)

    async def _keep_clear(self) -> None:
        """Write the tombstones of discovered posts that the product has written itself, or has deleted."""
        changed, discoveries = asyncio.Event(), self._discoveries
        discoveries.on_superseded = changed.set
        while True:
            changed.clear()
            discoveries.check(self._ownership.may_ask, self._schedule.plans.get)
            for held in sorted(discoveries.superseded):
                if self._ownership.may_ask(held[0]) and held in discoveries.superseded:
                    with self._ownership.working(held[0]):
                        await self._publisher.erase(POSTS, held)
                    discoveries.superseded.discard(held)
            await self._time.wait(changed, self._time.now() + self._look_every)
