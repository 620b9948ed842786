"""One process of the query API: builds all of its clients, the application on top, and the background work.

No other module builds a client.
"""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from services.query_api.admin.catalog import Catalog
from services.query_api.admin.keys import Keys
from services.query_api.admin.letters import letters_of
from services.query_api.admin.routes import Admin
from services.query_api.admin.status import engines_of, reader_of
from services.query_api.admin.vault import TokenVault
from services.query_api.app import Parts, create_app
from services.query_api.cache import AnswerCache
from services.query_api.connections import Connections
from services.query_api.directory import Directory
from services.query_api.drops import DropFeed, drop_things
from services.query_api.fairness import Desk
from services.query_api.feed import CatalogFeed
from services.query_api.first_read import FirstRead
from services.query_api.key_writes import CatchUp, KeyWrites
from services.query_api.live import LiveReads
from services.query_api.observability import CACHE_BYTES, REFUSED, tell_tallies
from services.query_api.poller_link import PollerLink
from services.query_api.publisher import Codecs, KafkaPublisher
from services.query_api.readiness import Readiness
from services.query_api.reads.at_once import AtOnce
from services.query_api.reads.clickhouse import ClickHouse
from services.query_api.reads.facts import Facts
from services.query_api.reads.own import OwnReads
from services.query_api.reads.parts import KeptParts
from services.query_api.reads.patience import Patience
from services.query_api.reads.read_model import ClickHouseReadModel
from services.query_api.reads.snapshots import ReadSnapshots
from services.query_api.reads.sources import Sources
from services.query_api.reads.subscribing import Subscriptions
from services.query_api.reads.window_rows import WindowRow
from services.query_api.serving.auth import AdminKey, KeyRing
from services.query_api.serving.limits import RateLimiter
from services.query_api.serving.replies import Reply
from services.query_api.settings import QueryApiSettings
from services.query_api.spending import Spending
from services.query_api.store import layout
from services.query_api.store.feeding import StoreFeed
from services.query_api.store.handle import Store, Touched
from services.query_api.webhooks import Webhooks
from services.runtime.clock import Clock, SystemClock
from services.runtime.cursors import CursorText
from services.runtime.kafka_brokers import KafkaBrokers
from services.runtime.registry import Registry
from services.runtime.reloading import Reloading
from services.runtime.sealing import WebhookCipher
from services.runtime.secrets import TokenCipher
from services.runtime.topics import incarnation

_HOUSEKEEPING_SECONDS = 1.0
_COLLECTOR_THRESHOLDS = (50_000, 20, 50)
# Kept window totals get this part of the memory for kept replies: window totals are small.
_WINDOWS_SHARE = 8
# What answers said of targets gets this part beside it.
_PARTS_SHARE = 4
# What only ClickHouse tells, for when it takes too long: snapshots, and why figures are unknown.
_LATE_SHARE, _EXPLANATIONS_SHARE = 8, 32
_EVIDENCE_BYTES = 200
# Of one workspace, whose readers have gone on with older ones: each may take some ten megabytes.
_SNAPSHOTS_EACH = 4


class Service:
    """All parts of one process that answer requests; build it within the running event loop.

    Args:
        cipher: encrypts tokens; None without secret keys.
        key_writes: the writes of keys by all workers that share the port; None for a process without other workers.

    Raises:
        RegistryUnavailable: a schema can't be fetched.
    """

    def __init__(
        self, settings: QueryApiSettings, cipher: TokenCipher | None, key_writes: KeyWrites | None = None
    ) -> None:
        self._clock = SystemClock()
        self._key_writes = key_writes
        keys, directory, vault, spending = KeyRing(), Directory(), TokenVault(), Spending()
        connections = Connections()
        registry = Registry(settings, settings)
        codecs = Codecs(registry)
        self._publisher = KafkaPublisher(settings, codecs)
        webhook_cipher = WebhookCipher(settings.secret_keys) if settings.secret_keys else None
        webhooks = Webhooks(
            self._publisher,
            webhook_cipher,
            self._clock,
            allows_private=bool(settings.webhooks_allow_private),
        )
        views = (keys, directory, vault, spending, connections, webhooks.book, webhooks.states)
        self._feed = feed = CatalogFeed(settings, codecs, views)
        webhooks.changes.reads = feed
        self._clickhouse = clickhouse = ClickHouse(settings)
        self._link = PollerLink(settings, codecs, self._clock, deadline_seconds=settings.live_deadline_seconds)
        self._replies: AnswerCache[Reply] = AnswerCache(settings.answer_cache_bytes)
        self._windows: AnswerCache[WindowRow] = AnswerCache(settings.answer_cache_bytes // _WINDOWS_SHARE)
        self._drops = drops = DropFeed(settings, (self._replies, self._windows))
        directory.on_change = drops.channel_changed
        if key_writes is not None:
            keys.on_write = lambda place: key_writes.wrote(place.partition, place.offset)
        keys.catch_up = _catch_up(FirstRead(feed), CatchUp(key_writes, feed, keys.topic) if key_writes else None)
        self._store: Store | None = None
        self._store_feed: StoreFeed | None = None
        if settings.store_dir:
            self._store, self._store_feed = _store_of(settings, registry, self._clock)
        own_reads = self._read_from(self._store) if self._store is not None else None
        self._at_once = AtOnce(self._store, directory) if self._store is not None else None
        desk = Desk()
        catalog = Catalog(
            self._publisher, directory=directory, keys=keys, vault=vault, cipher=cipher, clock=self._clock
        )
        self._limiter = RateLimiter(settings.rate_limit) if settings.rate_limit else None
        # The keys are those of the cipher, which were checked.
        cursors = CursorText(settings.secret_keys) if cipher is not None else None
        self._subscriptions = Subscriptions(cursors, keys.opens)
        admin_key = AdminKey(_plain(settings.admin_key))
        self.reloading = Reloading(settings)
        self.reloading.then(lambda: admin_key.rekey(_plain(settings.admin_key)))
        self.reloading.then(clickhouse.reconnect)
        for keyed in (cipher, webhook_cipher, cursors):
            if keyed is not None:
                self.reloading.then(partial(_rekey, keyed, settings))

        readiness = Readiness(feed, self._store, clickhouse)
        self.app = create_app(
            Parts(
                keys=keys,
                sources=Sources(
                    clickhouse,
                    directory,
                    LiveReads(
                        ClickHouseReadModel(
                            clickhouse,
                            directory,
                            self._windows,
                            desk,
                            own_reads,
                            KeptParts(settings.answer_cache_bytes // _PARTS_SHARE),
                            Patience(
                                settings.answer_cache_bytes // _LATE_SHARE,
                                _held_bytes,
                                most_each=_SNAPSHOTS_EACH,
                            ),
                        ),
                        self._link,
                        directory,
                        self._clock,
                    ),
                    settings.poll_speed,
                    spending,
                    connections=connections,
                    desk=desk,
                    own_store=self._store,
                    own_reads=own_reads,
                    at_once=self._at_once,
                    webhooks=webhooks,
                    subscriptions=self._subscriptions,
                    clock=self._clock,
                    calls=Facts(settings.answer_cache_bytes // _EXPLANATIONS_SHARE),
                    meanings=Facts(settings.answer_cache_bytes // _EXPLANATIONS_SHARE),
                    explanations=Patience(
                        settings.answer_cache_bytes // _EXPLANATIONS_SHARE,
                        lambda evidence: _EVIDENCE_BYTES * len(evidence),
                    ),
                ),
                admin_key=admin_key,
                admin=Admin(
                    catalog,
                    Keys(catalog, keys, self._clock),
                    reader_of(settings.status_targets, engines_of(settings, os.environ)),
                    letters_of(settings, self._clock),
                ),
                limiter=self._limiter,
                clock=self._clock,
                readiness=readiness.missing,
                cache=self._replies,
                silent_seconds=lambda: max(drops.silent_seconds, own_reads.stale_seconds if own_reads else 0.0),
                cors_origins=settings.cors_origins,
                topic_prefix=settings.topic_prefix,
                partitions=settings.topic_partitions,
                note=readiness.note,
            )
        )
        self._housekeeping: asyncio.Task[None] | None = None

    def _read_from(self, store: Store) -> OwnReads:
        """Look-ups in the store; what is kept of them is dropped once the store shows something newer."""
        caches: tuple[AnswerCache[Any], ...] = (self._replies, self._windows)

        def changed(touched: Sequence[Touched]) -> None:
            drop_things(caches, ((layout.TOPICS[entry.topic_at], entry.parts, entry.is_gone) for entry in touched))

        def lost() -> None:
            for cache in caches:
                cache.clear()

        def distrust() -> None:
            for cache in caches:
                cache.distrust()

        store.on_change, store.on_loss = changed, lost
        return OwnReads(store, distrust)

    def start(self) -> None:
        """Begin to follow the topics and to keep house."""
        # References free nearly all memory of a request. With the default thresholds the collector searches every kept
        # answer for cycles so often that one cold read in a hundred took 139 ms instead of 53 ms.
        gc.set_threshold(*_COLLECTOR_THRESHOLDS)
        for part in (self._publisher, self._feed, self._link, self._drops, self._store, self._store_feed):
            if part is not None:
                part.start()
        self._housekeeping = asyncio.create_task(self._keep_house())

    async def has_read(self, seconds: float) -> bool:
        """Wait until the catalog is read to its end, so that every key is known; returns False after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._feed.caught_up()
        except TimeoutError:
            return False
        return True

    def end_streams(self) -> None:
        """Let those end who wait for changes, so that the server need not wait for them."""
        self._subscriptions.close()

    async def stop(self) -> None:
        """Stop following the topics, and close all connections."""
        if self._housekeeping is not None:
            self._housekeeping.cancel()
        tell_tallies()
        await asyncio.gather(
            *(part.stop() for part in (self._feed, self._drops, self._link, self._publisher)),
            self._clickhouse.close(),
            return_exceptions=True,
        )
        for part in (self._store_feed, self._store):
            if part is not None:
                await part.stop()
        if self._key_writes is not None:
            self._key_writes.close()

    async def _keep_house(self) -> None:
        while True:
            CACHE_BYTES.set(self._replies.size_bytes + self._windows.size_bytes)
            tell_tallies()
            if self._at_once is not None:
                self._at_once.count()
            if self._limiter is not None:
                self._limiter.forget_old(self._clock.now())
            await asyncio.sleep(_HOUSEKEEPING_SECONDS)


def _held_bytes(read: ReadSnapshots) -> int:
    return read.held_bytes


def _catch_up(first: FirstRead, others: CatchUp | None) -> Callable[[], Awaitable[bool]]:
    """Waits for keys: those that a new process has not read, else those that other workers made."""

    async def wait() -> bool:
        return await first() or (others is not None and await others())

    return wait


def _store_of(settings: QueryApiSettings, registry: Registry, clock: Clock) -> tuple[Store, StoreFeed]:
    """The store of the settings' folder, and what fills it when it is this process's turn."""
    store = Store(Path(settings.store_dir), settings.topic_partitions, clock)

    async def identify() -> str:
        return await asyncio.to_thread(incarnation, settings, layout.TOPICS)

    feed = StoreFeed(
        store,
        KafkaBrokers(settings),
        settings.topic_partitions,
        registry.fetch_schema,
        identify,
        clock,
        lambda topic, reason: REFUSED.labels(topic, reason.value).inc(),
        list_ids=registry.ids,
        memory_share=settings.store_memory_share,
    )
    return store, feed


def _plain(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret is not None else None


def _rekey(keyed: TokenCipher | WebhookCipher | CursorText, settings: QueryApiSettings) -> None:
    keyed.rekey(settings.secret_keys)
