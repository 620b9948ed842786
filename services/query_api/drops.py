"""Drops cached answers whose things changed: reads the keys of `rollups.*` and `catalog.posts`, from the ends on.

In: messages. Out: drops. Every instance reads every partition, without a consumer group. Changes of channels come from
the directory, once it shows the change itself; otherwise an answer made with the older channel could be kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from schemas.keys import RefusedRecord, parsed_key
from schemas.topic_names import CHANNEL_ROLLUPS, POST_ROLLUPS, POSTS
from services.query_api.cache import AnswerCache, channel_tag, channels_tag, post_tag, posts_tag
from services.query_api.observability import DROPS, REFUSED
from services.runtime.brokers import Brokers
from services.runtime.following import Batch, Follower, at_end
from services.runtime.kafka_brokers import KafkaBrokers
from services.runtime.settings import KafkaSettings

TOPICS = (POST_ROLLUPS, CHANNEL_ROLLUPS, POSTS)

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
        for record in batch.records:
            self._drop(record.topic, record.key, is_gone=record.value is None)
            DROPS.labels(record.topic).inc()

    def _drop(self, topic: str, key: bytes | None, *, is_gone: bool) -> None:
        try:
            parts = parsed_key(topic, key)
        except RefusedRecord as error:
            # The value is not read: a forged record could at most have an answer made anew.
            REFUSED.labels(topic, error.reason.value).inc()
            return
        drop_tags(self._caches, topic, parts, is_gone=is_gone)


def drop_tags(caches: Iterable[AnswerCache[Any]], topic: str, parts: Sequence[str], *, is_gone: bool) -> None:
    """Drop what was made of the thing of a message.

    Args:
        parts: of the message key.
    """
    workspace_id, subject_id = parts[0], parts[1]
    if topic == CHANNEL_ROLLUPS:
        tags = [channel_tag(workspace_id, subject_id)]
    elif topic in (POSTS, POST_ROLLUPS):
        tags = [post_tag(workspace_id, subject_id), posts_tag(workspace_id)]
    else:
        return
    for cache in caches:
        for tag in tags:
            cache.drop(tag, is_gone=is_gone)
