"""Rollups on the topics of the service under test, written as the aggregator writes them."""

from __future__ import annotations

from confluent_kafka import Producer

from schemas.encoder import Encode
from schemas.topic_names import CHANNEL_ROLLUPS, POST_ROLLUPS
from services.runtime.kafka import confluent_options, partition_of
from services.runtime.registry import Registry
from services.runtime.settings import KafkaSettings, RegistrySettings
from tests.support import told
from tests.support.engines import Engines


class Topics:
    """Writes rollups as the aggregator does."""

    def __init__(self, engines: Engines, settings: KafkaSettings) -> None:
        self._settings = settings
        registry = Registry(RegistrySettings(schema_registry_url=engines.schema_registry_url), settings)
        self._encoders: dict[str, Encode] = {
            topic: registry.encoder(topic) for topic in (POST_ROLLUPS, CHANNEL_ROLLUPS)
        }
        self._producer = Producer(confluent_options(settings))

    def figures(self, workspace: str, post_id: str, target_id: str, likes: int) -> None:
        fields = told.figures_fields(workspace, post_id, {target_id: told.values(likes=likes)})
        self._put(POST_ROLLUPS, f"{workspace}/{post_id}", self._encoders[POST_ROLLUPS](fields))

    def window(self, workspace: str, channel_id: str, likes: int) -> None:
        for length in ("24h", "7d", "28d"):
            fields = told.window_fields(workspace, channel_id, length, likes=likes)
            self._put(CHANNEL_ROLLUPS, f"{workspace}/{channel_id}/{length}", self._encoders[CHANNEL_ROLLUPS](fields))

    def gone(self, workspace: str, post_id: str) -> None:
        self._put(POST_ROLLUPS, f"{workspace}/{post_id}", None)

    def _put(self, topic: str, key: str, value: bytes | None) -> None:
        partition = partition_of(key.partition("/")[0], self._settings.topic_partitions)
        self._producer.produce(self._settings.topic(topic), value, key.encode(), partition)
        assert self._producer.flush(20) == 0
