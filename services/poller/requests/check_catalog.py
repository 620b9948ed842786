"""Finds the channel that a check is about: in the catalog's topics, with its tokens and its posts."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from schemas.events import CatalogChannel, CatalogPost, ChannelTokens, PostStatus
from schemas.keys import checked_key
from schemas.topic_names import CHANNELS, POSTS, TOKENS
from services.platforms.base import Target
from services.poller.partitions.captures import tolerant
from services.poller.reader import TopicReader
from services.runtime.brokers import Record
from services.runtime.kafka import partition_of
from services.runtime.registry import Registry
from services.runtime.settings import KafkaSettings, RegistrySettings, SecretKeysSettings

TOPICS = (CHANNELS, TOKENS, POSTS)


class CheckSettings(KafkaSettings, RegistrySettings, SecretKeysSettings):
    """What the command is told by the environment, where the token is the catalog's."""


class CheckError(RuntimeError):
    """The check can't be made; the message says what to do."""


class Registered(NamedTuple):
    """A channel as the catalog holds it.

    Attributes:
        tokens: as ciphertext; None when none are held.
        targets: its published posts, newest first.
    """

    channel: CatalogChannel
    tokens: ChannelTokens | None
    targets: list[Target]


async def registered(settings: CheckSettings, platform: str, channel_id: str, workspace_id: str | None) -> Registered:
    """Read a channel from the catalog.

    Args:
        channel_id: ours.
        workspace_id: None to look in all workspaces.

    Raises:
        CheckError: there is none, or several, or it is another platform's.
        Stop: the topics contradict each other.
        RegistryUnavailable: run `tidemark topics`, or try again.
    """
    reader, registry = TopicReader(settings), Registry(settings, settings)
    count = await reader.partition_count(TOPICS)
    partitions = None if workspace_id is None else [partition_of(workspace_id, count)]
    channels = await _latest(reader, registry, CHANNELS, partitions)
    found = {key: event for key, event in channels.items() if key[1] == channel_id and workspace_id in (None, key[0])}
    where = "the catalog" if workspace_id is None else f"workspace {workspace_id!r}"
    if not found:
        known = sorted(key[1] for key in channels if workspace_id in (None, key[0]))
        raise CheckError(f"there is no channel {channel_id!r} in {where}; it has {', '.join(known[:10]) or 'none'}")
    if len(found) > 1:
        raise CheckError(
            f"{channel_id!r} is a channel of several workspaces; say --workspace: "
            f"{', '.join(sorted(key[0] for key in found)[:10])}"
        )
    (key, channel), *_ = found.items()
    if channel.platform != platform:
        raise CheckError(f"the channel {channel_id!r} is one of {channel.platform}; say --platform {channel.platform}")
    own = [partition_of(key[0], count)]
    tokens = (await _latest(reader, registry, TOKENS, own)).get(key)
    posts = await _latest(reader, registry, POSTS, own)
    return Registered(channel, tokens, _targets(key, posts))


def _targets(key: tuple[str, str], posts: dict[tuple[str, str], CatalogPost]) -> list[Target]:
    """The published targets of a channel, newest first."""
    found = []
    for (workspace_id, post_id), post in posts.items():
        for target in post.targets if workspace_id == key[0] and post.status != PostStatus.DELETED else ():
            is_out = target.status == PostStatus.PUBLISHED and target.external_id
            if target.channel_id == key[1] and is_out and target.external_id is not None:
                at = post.published_at_of(target)
                found.append(
                    Target(target.target_id, post_id, target.external_id, target.post_type, at, target.is_story)
                )
    return sorted(found, key=lambda target: target.published_at or 0, reverse=True)


async def _latest(
    reader: TopicReader, registry: Registry, topic: str, partitions: list[int] | None
) -> dict[tuple[str, str], Any]:
    """The last value of each key on a compacted topic."""
    codec = await asyncio.to_thread(registry.codec, topic)
    found: dict[tuple[str, str], Any] = {}

    def fold(_: str, record: Record) -> None:
        event = None if record.value is None else codec.decode(record.value)
        workspace_id, own_id = checked_key(topic, record.key, event)
        key = (workspace_id, own_id)
        if event is None:
            found.pop(key, None)
        else:
            found[key] = event

    await reader.replay(topic, tolerant(fold), None, partitions)
    return found
