"""Tells the caches what changed: reads `rollups.*` and `catalog.posts` from their present ends on, keys only.

In: messages. Out: drops. Every instance reads every partition, without a consumer group. Channels of the catalog are
not read here: the directory tells of them once it shows them itself, so that no answer is made with an older one and
kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import monotonic
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from schemas.keys import RefusedRecord, parsed_key
from services.query_api.cache import AnswerCache, channel_tag, channels_tag, post_tag, posts_tag
from services.query_api.observability import DROPS, REFUSED
from services.runtime.kafka import aiokafka_options, stop_clients
from services.runtime.logging import get_logger
from services.runtime.settings import MESSAGE_MAX_BYTES, KafkaSettings

log = get_logger(__name__)

POST_ROLLUPS = "rollups.posts"
CHANNEL_ROLLUPS = "rollups.channels"
POSTS = "catalog.posts"
TOPICS = (POST_ROLLUPS, CHANNEL_ROLLUPS, POSTS)

_POLL_MILLIS = 200
_MAX_RECORDS = 5_000
_RETRY_SECONDS = 1.0
# An idle consumer does not notice that its brokers are gone: asked for an offset this often, it does.
_PROBE_SECONDS = 2.0


class DropFeed:
    """Keeps caches honest.

    While Kafka is away nothing kept counts as current; when it is back, what changed meanwhile is read first.
    """

    def __init__(self, settings: KafkaSettings, caches: Sequence[AnswerCache[Any]]) -> None:
        self._settings = settings
        self._caches = caches
        self._next: dict[TopicPartition, int] = {}
        self._heard_at = monotonic()
        self._task: asyncio.Task[None] | None = None
        self._set_fed(False)

    @property
    def silent_seconds(self) -> float:
        """For how long changes have not reached the caches; 0 while they do."""
        is_fed = all(cache.is_fed for cache in self._caches)
        return 0.0 if is_fed else monotonic() - self._heard_at

    def start(self) -> None:
        """Begin reading."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop reading."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def channel_changed(self, workspace_id: str) -> None:
        """The directory shows another state of one of a workspace's channels; it may be gone."""
        for cache in self._caches:
            cache.drop(channels_tag(workspace_id), is_gone=True)

    def _set_fed(self, is_fed: bool) -> None:
        for cache in self._caches:
            cache.is_fed = is_fed

    async def _run(self) -> None:
        while True:
            consumer = AIOKafkaConsumer(
                **aiokafka_options(self._settings),
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="latest",
                # What is told is stored already, and a change told twice costs one look-up: no wait for the commit.
                isolation_level="read_uncommitted",
                fetch_max_wait_ms=_POLL_MILLIS,
                max_partition_fetch_bytes=MESSAGE_MAX_BYTES,
            )
            try:
                await consumer.start()
                await self._follow(consumer)
            except (KafkaError, OSError, TimeoutError) as error:
                log.warning("changes can't be followed, so nothing kept is shown as current", error=repr(error))
            except Exception:
                log.exception("following changes failed")
            finally:
                self._set_fed(False)
                await stop_clients(consumer)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _follow(self, consumer: AIOKafkaConsumer) -> None:
        partitions = [
            TopicPartition(self._settings.topic(topic), number)
            for topic in TOPICS
            for number in range(self._settings.topic_partitions)
        ]
        consumer.assign(partitions)
        begins = await consumer.beginning_offsets(partitions)
        ends = await consumer.end_offsets(partitions)
        if any(not begins[tp] <= self._next.get(tp, -1) <= ends[tp] for tp in partitions):
            # The first time, or an older topic of that name: there is no way to know what was missed.
            self._next = dict(ends)
            for cache in self._caches:
                cache.clear()
        for tp in partitions:
            consumer.seek(tp, self._next[tp])
        prefix = len(self._settings.topic_prefix)
        left = {tp for tp in partitions if self._next[tp] < ends[tp]}
        probed_at = monotonic()
        while True:
            found = await consumer.getmany(timeout_ms=_POLL_MILLIS, max_records=_MAX_RECORDS)
            for tp, records in found.items():
                topic = tp.topic[prefix:]
                for record in records:
                    self._drop(topic, record.key, is_gone=record.value is None)
                DROPS.labels(topic).inc(len(records))
                self._next[tp] = await consumer.position(tp)
            if left:
                # Markers and compacted offsets have no record: go by the consumer's own position.
                left = {tp for tp in left if await consumer.position(tp) < ends[tp]}
            if not left:
                self._set_fed(True)
            now = monotonic()
            if now - probed_at > _PROBE_SECONDS:
                async with asyncio.timeout(_PROBE_SECONDS):
                    await consumer.end_offsets(partitions[:1])
                probed_at = now
            self._heard_at = now

    def _drop(self, topic: str, key: bytes | None, *, is_gone: bool) -> None:
        try:
            workspace_id, subject_id, *_ = parsed_key(topic, key)
        except RefusedRecord as error:
            # Its value is not looked at: whatever made it can at most have an answer made anew.
            REFUSED.labels(topic, error.reason.value).inc()
            return
        if topic == CHANNEL_ROLLUPS:
            tags = [channel_tag(workspace_id, subject_id)]
        else:
            tags = [post_tag(workspace_id, subject_id), posts_tag(workspace_id)]
        for cache in self._caches:
            for tag in tags:
                cache.drop(tag, is_gone=is_gone)
