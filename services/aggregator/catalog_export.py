"""Reads the catalog from its compacted topics, as the lines that `tidemark catalog apply` reads. Writes nothing.

No line holds a token: tokens are stored as ciphertext, and accounts have to be connected anew after an import.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from schemas.codec import Codec, MalformedEvent
from schemas.events import CatalogChannel, CatalogPost, CatalogTarget
from schemas.keys import checked_key
from schemas.topic_names import CHANNELS, POSTS
from schemas.values import read_detail
from services.aggregator.topic_reader import TopicReader
from services.runtime.clock import iso_millis
from services.runtime.kafka import partition_of
from services.runtime.registry import Registry
from services.runtime.settings import KafkaSettings, RegistrySettings


class ExportSettings(KafkaSettings, RegistrySettings):
    """Settings of `tidemark catalog export`, from the environment (`TIDEMARK_*`)."""


def exported(settings: ExportSettings, workspace: str | None) -> Iterator[dict[str, Any]]:
    """Yield every channel, then every post, in the admin API's form, ordered by workspace and id.

    Args:
        workspace: yield this workspace's entries only; None for all workspaces.

    Raises:
        TopicUnreadable: Kafka can't be read.
        RegistryUnavailable: the registry can't be used.
    """
    registry = Registry(settings, settings)
    with TopicReader(settings) as reader:
        for topic, kind in ((CHANNELS, "channel"), (POSTS, "post")):
            newest = _newest(reader, settings, topic, registry.codec(topic), workspace)
            for (workspace_id, own_id), event in sorted(newest.items(), key=lambda entry: entry[0]):
                fields = _channel(event) if isinstance(event, CatalogChannel) else _post(event)
                yield {"type": kind, "workspace_id": workspace_id, "id": own_id, **fields}


def _newest(
    reader: TopicReader, settings: KafkaSettings, topic: str, codec: Codec[Any], workspace: str | None
) -> dict[tuple[str, str], CatalogChannel | CatalogPost]:
    """The last value of each key, without deleted entries and without entries that no reader would use."""
    found: dict[tuple[str, str], CatalogChannel | CatalogPost] = {}
    full_name = settings.topic(topic)
    partitions = reader.partitions(full_name)
    for partition in partitions:
        for message in reader.read(full_name, partition, *reader.bounds(full_name, partition)):
            value = message.intact
            try:
                event = codec.decode(value) if value is not None else None
                workspace_id, own_id = checked_key(topic, message.key, event)
            except MalformedEvent:
                continue
            if partition_of(workspace_id, len(partitions)) != partition or workspace not in (None, workspace_id):
                continue
            place = (workspace_id, own_id)
            if event is None:
                found.pop(place, None)
            else:
                found[place] = event
    return found


def _channel(event: CatalogChannel) -> dict[str, Any]:
    return {
        "platform": event.platform,
        "external_id": event.external_id,
        "username": event.username,
        "token_expires_at": _instant(event.token_expires_at),
        "status": event.status,
        **({"discover": True} if event.discover else {}),
    }


def _post(event: CatalogPost) -> dict[str, Any]:
    return {
        "status": event.status,
        "created_at": _instant(event.created_at),
        "published_at": _instant(event.published_at),
        "targets": [_target(target) for target in event.targets],
    }


def _target(target: CatalogTarget) -> dict[str, Any]:
    return {
        "target_id": target.target_id,
        "channel_id": target.channel_id,
        "post_type": target.post_type,
        "status": target.status,
        "external_id": target.external_id,
        "permalink": target.permalink,
        "published_at": _instant(target.published_at),
        "content": target.content,
        "is_story": target.is_story,
        "parent_target_id": target.parent_target_id,
        "detail": read_detail(target.detail),
    }


def _instant(millis: int | None) -> str | None:
    return None if millis is None else iso_millis(millis)
