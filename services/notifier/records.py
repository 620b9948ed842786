"""Makes deliveries and states durable in Kafka, and erases them.

Guarantee: a write has returned only when every replica in sync has it; while Kafka is away, it waits. Writes of one
delivery keep their order: a write is handed over once every earlier write of its key is durable, so one that has to be
sent again never comes behind a newer one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from schemas.codec import Codec
from schemas.notices import DeliveryStatus, NoticeType, WebhookDelivery, WebhookState
from schemas.topic_names import WEBHOOK_DELIVERIES, WEBHOOK_STATES
from services.notifier.turns import Turns
from services.runtime.brokers import Brokers, BrokersUnavailable, Sent
from services.runtime.kafka import key, partition_of
from services.runtime.logging import get_logger
from services.runtime.producing import Producer

_RETRY_SECONDS = 0.5
_HANDOVER_SECONDS = 8.0
_LINGER_SECONDS = 0.002
_BATCH_BYTES = 256 * 1024
_CLOSE_SECONDS = 2.0
_NONE: Final[Mapping[int, WebhookDelivery]] = MappingProxyType({})
_log = get_logger(__name__)

Message = tuple[str, str, bytes, bytes | None]
"""Topic, workspace, key and value."""


class Records:
    """Writes records.

    Args:
        codecs: of the topics of deliveries and states.
        partitions: of each topic.
    """

    def __init__(self, brokers: Brokers, codecs: Mapping[str, Codec[Any]], partitions: int) -> None:
        self._codecs = codecs
        self._partitions = partitions
        self._turns = Turns()
        self._producer = Producer(
            brokers, linger_seconds=_LINGER_SECONDS, batch_bytes=_BATCH_BYTES, handover_seconds=_HANDOVER_SECONDS
        )

    def start(self) -> None:
        """Begin to connect."""
        self._producer.start()

    async def close(self) -> None:
        """Send what is held, for a bounded time, and disconnect."""
        await self._producer.close(_CLOSE_SECONDS)

    async def write(self, writes: Iterable[WebhookDelivery | WebhookState]) -> None:
        """Make writes durable, in their order, each behind earlier writes of the same delivery or webhook."""
        await self._send([self._message(write) for write in writes])

    async def erase(self, deliveries: Iterable[WebhookDelivery]) -> None:
        """Forget deliveries whose webhook is gone."""
        await self._send([_tombstone(held) for held in deliveries])

    async def settle(self, finished: Sequence[WebhookDelivery], is_pending: Callable[[WebhookDelivery], bool]) -> None:
        """Forget finished deliveries, but that a threshold was told; those that are tried again meanwhile stay.

        A delivery counts as pending before its record is sent. The look at that comes after all earlier writes of the
        delivery, and later ones wait, so nothing newer of a delivery is erased.
        """
        await self._send([self._settled(held) for held in finished], dict(enumerate(finished)), is_pending)

    async def _send(
        self,
        messages: list[Message],
        settled: Mapping[int, WebhookDelivery] = _NONE,
        is_pending: Callable[[WebhookDelivery], bool] = lambda _: False,
    ) -> None:
        if not messages:
            return
        # Nothing may be waited for before this: the order of calls is the order of the records.
        async with self._turns.of({(topic, message_key) for topic, _, message_key, _ in messages}):
            while True:
                generation = await self._producer.connected()
                try:
                    futures = [
                        await self._hand_over(message)
                        for number, message in enumerate(messages)
                        if number not in settled or not is_pending(settled[number])
                    ]
                    await asyncio.gather(*futures)
                except BrokersUnavailable as error:
                    _log.warning("deliveries can't be written; trying again", error=str(error))
                    self._producer.replace(generation)
                    await asyncio.sleep(_RETRY_SECONDS)
                else:
                    return

    def _settled(self, held: WebhookDelivery) -> Message:
        if held.type == NoticeType.POST_THRESHOLD:
            return self._message(settled(held))
        return _tombstone(held)

    async def _hand_over(self, message: Message) -> asyncio.Future[Sent]:
        topic, workspace_id, message_key, value = message
        return await self._producer.send(topic, partition_of(workspace_id, self._partitions), message_key, value)

    def _message(self, write: WebhookDelivery | WebhookState) -> Message:
        if isinstance(write, WebhookState):
            message_key = key(write.workspace_id, write.webhook_id)
            return WEBHOOK_STATES, write.workspace_id, message_key, self._codecs[WEBHOOK_STATES].encode(write)
        value = self._codecs[WEBHOOK_DELIVERIES].encode(write)
        return WEBHOOK_DELIVERIES, write.workspace_id, _delivery_key(write), value


def settled(delivery: WebhookDelivery) -> WebhookDelivery:
    """What is kept of a threshold's delivery for good: that it was told."""
    return replace(
        delivery, content="", status=DeliveryStatus.TOLD, tries=0, next_try_at=None, tried_at=None, answer_status=None,
        answer="", error="",
    )  # fmt: skip


def _tombstone(held: WebhookDelivery) -> Message:
    return WEBHOOK_DELIVERIES, held.workspace_id, _delivery_key(held), None


def _delivery_key(held: WebhookDelivery) -> bytes:
    return key(held.workspace_id, held.webhook_id, held.delivery_id)
