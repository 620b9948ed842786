"""Drops cached answers whose things changed: reads the keys of `rollups.*` and `catalog.posts`, from the ends on.

In: messages. Out: drops. Every instance reads every partition, without a consumer group. Changes of channels come from
the directory, once it shows the change itself; otherwise an answer made with the older channel could be kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from schemas.keys import RefusedRecord, parsed_key
from schemas.topic_names import CHANNEL_ROLLUPS, POST_ROLLUPS, POSTS
from services.query_api.cache import AnswerCache, channel_tag, channels_tag, post_tag, posts_tag
from services.query_api.observability import DROPS, REFUSED
from services.runtime.brokers import Brokers, Record
from services.runtime.following import Batch, Follower, at_end
from services.runtime.kafka_brokers import KafkaBrokers
from services.runtime.settings import KafkaSettings

TOPICS = (POST_ROLLUPS, CHANNEL_ROLLUPS, POSTS)

Thing = tuple[str, Sequence[str], bool]
"""What a message is about: its topic, the parts of its key, and whether it says that the thing is gone."""

_OF_POSTS = frozenset({POSTS, POST_ROLLUPS})
_WAIT_SECONDS = 0.2
_MAX_RECORDS = 5_000
_PROBE_SECONDS = 2.0


class DropFeed:
    """Passes changes to the caches.

    While Kafka is away no kept answer counts as current; when Kafka is back, the changes since then are read first.
    """

    def __init__(
        self, settings: KafkaSettings, caches: Sequence[AnswerCache[Any]], brokers: Brokers | None = None
    ) -> None:
        self._caches = caches
        self._has_begun = False
        self._follower = Follower(
            brokers or KafkaBrokers(settings),
            TOPICS,
            range(settings.topic_partitions),
            self._take,
            begin=at_end,
            # A published change is stored already, and a repeated one costs one look-up: no need to wait for commits.
            is_committed=False,
            name="changes that end what is kept",
            most=_MAX_RECORDS,
            wait_seconds=_WAIT_SECONDS,
            probe_seconds=_PROBE_SECONDS,
            on_current=self._set_fed,
        )
        self._set_fed(False)

    @property
    def silent_seconds(self) -> float:
        """For how many seconds changes have not reached the caches; 0 while they do."""
        return self._follower.silent_seconds

    def start(self) -> None:
        """Begin reading the topic, in a task of its own."""
        self._follower.start()

    async def stop(self) -> None:
        """Stop reading, and disconnect."""
        await self._follower.stop()

    def channel_changed(self, workspace_id: str) -> None:
        """Drop answers about a workspace's channels: the directory shows a changed channel, or one less."""
        for cache in self._caches:
            cache.drop(channels_tag(workspace_id), is_gone=True)

    def _set_fed(self, is_fed: bool) -> None:
        for cache in self._caches:
            cache.is_fed = is_fed

    async def _take(self, batch: Batch) -> None:
        if batch.lost or not self._has_begun:
            # The first read, or a topic made anew under the same name: nobody knows which changes were missed.
            self._has_begun = True
            for cache in self._caches:
                cache.clear()
        drop_things(self._caches, filter(None, map(self._changed, batch.records)))
        for topic, count in Counter(record.topic for record in batch.records).items():
            DROPS.labels(topic).inc(count)

    def _changed(self, record: Record) -> Thing | None:
        try:
            return record.topic, parsed_key(record.topic, record.key), record.value is None
        except RefusedRecord as error:
            # The value is not read: a forged record could at most have an answer made anew.
            REFUSED.labels(record.topic, error.reason.value).inc()
            return None


def drop_things(caches: Iterable[AnswerCache[Any]], things: Iterable[Thing]) -> None:
    """Drop what was made of the things of some messages, each thing once."""
    changed: dict[bytes, bool] = {}
    for topic, (workspace_id, subject_id, *_), is_gone in things:
        if topic == CHANNEL_ROLLUPS:
            tags: tuple[bytes, ...] = (channel_tag(workspace_id, subject_id),)
        elif topic in _OF_POSTS:
            tags = post_tag(workspace_id, subject_id), posts_tag(workspace_id)
        else:
            continue
        for tag in tags:
            changed[tag] = is_gone or changed.get(tag, False)
    for cache in caches:
        cache.drop_all(changed)
