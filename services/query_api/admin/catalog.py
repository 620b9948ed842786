"""Turns catalog commands into events and writes the events to Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from zlib import crc32

import orjson

from schemas.events import CatalogChannel, CatalogPost, CatalogTarget, ChannelStatus
from schemas.topic_names import POSTS
from services.query_api.admin.parameters import ChannelPut, PostPut, TargetPut
from services.query_api.admin.vault import TokenVault, token_change
from services.query_api.directory import Directory
from services.query_api.publisher import Publisher, Write
from services.query_api.serving.auth import KeyRing
from services.query_api.views import TopicView
from services.runtime.clock import Clock
from services.runtime.secrets import TokenCipher

CHANNELS = Directory.topic
TOKENS = TokenVault.topic
KEYS = KeyRing.topic

_LOCKS = 64


class Catalog:
    """Writes the catalog.

    When a method returns, its events are durable in Kafka and known in this process' memory.

    Args:
        cipher: None when the server has no secret keys: channels with tokens are then refused.
    """

    def __init__(
        self,
        publisher: Publisher,
        *,
        directory: Directory,
        keys: KeyRing,
        vault: TokenVault,
        cipher: TokenCipher | None,
        clock: Clock,
    ) -> None:
        self._publisher = publisher
        self._vault = vault
        self._cipher = cipher
        self._clock = clock
        self._directory = directory
        self._views: dict[str, TopicView[Any]] = {CHANNELS: directory, TOKENS: vault, KEYS: keys}
        self._locks = [asyncio.Lock() for _ in range(_LOCKS)]

    def channels_of(self, workspace_id: str) -> list[CatalogChannel]:
        """The channels of a workspace that this process knows, ordered by id."""
        return sorted(self._directory.of(workspace_id), key=lambda channel: channel.channel_id)

    def all_channels(self) -> list[CatalogChannel]:
        """The channels of all workspaces that this process knows, unordered."""
        return self._directory.all()

    def channel_writes(self, workspace_id: str, channel_id: str, put: ChannelPut) -> list[Write]:
        """The events of a PUT of a channel; call this inside `holding`, since tokens are compared with those held.

        A channel without any token can't be polled, so an active channel without a token is written as token_expired.

        Raises:
            NoSecretKeys: the PUT brings tokens, and there is no key to encrypt them.
        """
        now = self._clock.now()
        held = self._vault.get(workspace_id, channel_id)
        change = token_change(
            put,
            held,
            workspace_id=workspace_id,
            channel_id=channel_id,
            cipher=self._cipher,
            now=now,
        )
        status = put.status
        if status == ChannelStatus.ACTIVE and change.event is None and held is None:
            status = ChannelStatus.TOKEN_EXPIRED
        channel = CatalogChannel(
            workspace_id=workspace_id,
            channel_id=channel_id,
            platform=put.platform,
            external_id=put.external_id,
            username=put.username,
            status=status.value,
            token_expires_at=change.token_expires_at,
            updated_at=now,
            discover=put.discover,
        )
        writes = [Write(CHANNELS, workspace_id, channel_id, channel)]
        if change.event is not None:
            # Tokens are written first, so that nobody sees the channel without them for long.
            writes.insert(0, Write(TOKENS, workspace_id, channel_id, change.event))
        return writes

    def post_writes(self, workspace_id: str, post_id: str, put: PostPut) -> list[Write]:
        """The event of a PUT of a post."""
        post = CatalogPost(
            workspace_id=workspace_id,
            post_id=post_id,
            status=put.status.value,
            created_at=put.created_at,
            published_at=put.published_at,
            targets=tuple(_target(target) for target in put.targets),
            updated_at=self._clock.now(),
        )
        return [Write(POSTS, workspace_id, post_id, post)]

    async def put_channel(self, workspace_id: str, channel_id: str, put: ChannelPut) -> str:
        """Write a channel, and its tokens where they are new; returns the written status.

        Raises:
            WritesUnavailable: Kafka did not confirm; writing again is safe.
            NoSecretKeys: the PUT brings tokens, and there is no key to encrypt them.
        """
        async with self.holding([(workspace_id, channel_id)]):
            writes = self.channel_writes(workspace_id, channel_id, put)
            await self.write(writes)
        written = writes[-1].event
        assert isinstance(written, CatalogChannel), "the channel comes last"
        return written.status

    async def delete_channel(self, workspace_id: str, channel_id: str) -> None:
        """Write tombstones for a channel and its tokens, whether or not the catalog holds them."""
        async with self.holding([(workspace_id, channel_id)]):
            await self.write(
                [Write(CHANNELS, workspace_id, channel_id, None), Write(TOKENS, workspace_id, channel_id, None)]
            )

    async def put_post(self, workspace_id: str, post_id: str, put: PostPut) -> None:
        """Write a post with its targets."""
        await self.write(self.post_writes(workspace_id, post_id, put))

    async def delete_post(self, workspace_id: str, post_id: str) -> None:
        """Write a tombstone for a post, whether or not the catalog holds the post."""
        await self.write([Write(POSTS, workspace_id, post_id, None)])

    async def write(self, writes: Sequence[Write]) -> None:
        """Make events durable, then apply them to this process' memory.

        Raises:
            WritesUnavailable: at least one event may not be durable; writing all again is safe.
        """
        if not writes:
            return
        for write, place in zip(writes, await self._publisher.publish(writes), strict=True):
            view = self._views.get(write.topic)
            if view is not None:
                view.wrote(write.message_key, write.event, place)

    @asynccontextmanager
    async def holding(self, channels: Iterable[tuple[str, str]]) -> AsyncIterator[None]:
        """Lock channels against other writes of this process: comparing tokens and writing must not interleave."""
        numbers = sorted({crc32("/".join(channel).encode()) % _LOCKS for channel in channels})
        async with AsyncExitStack() as stack:
            for number in numbers:
                await stack.enter_async_context(self._locks[number])
            yield


def _target(put: TargetPut) -> CatalogTarget:
    return CatalogTarget(
        target_id=put.target_id,
        channel_id=put.channel_id,
        post_type=put.post_type,
        status=put.status.value,
        external_id=put.external_id,
        permalink=put.permalink,
        published_at=put.published_at,
        content=put.content,
        is_story=put.is_story,
        parent_target_id=put.parent_target_id,
        detail=orjson.dumps(put.detail.model_dump(exclude_unset=True)).decode(),
    )
