"""Brings each state of each delivery into the log in ClickHouse, and then forgets finished ones in the topic.

Guarantee: at-least-once, by the topic's own positions; rows replace each other by the message's offset. A delivery's
record is erased only once the log has it, so while ClickHouse is away the topic keeps what the log lacks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from schemas.notices import DeliveryStatus, WebhookDelivery
from services.runtime.clock import utc
from services.runtime.settings import ClickHouseSettings

TABLE: Final = "webhook_deliveries"
COLUMNS: Final = (
    "workspace_id", "webhook_id", "delivery_id", "type", "occurred_at", "content", "status", "tries", "created_at",
    "next_try_at", "tried_at", "answer_status", "answer", "error", "offset",
)  # fmt: skip
_SECONDS: Final = 30

Row = tuple[Any, ...]


class LogUnavailable(Exception):
    """ClickHouse did not take the rows; the same rows are to be given again."""


class ClickHouseLog:
    """Inserts rows."""

    def __init__(self, settings: ClickHouseSettings) -> None:
        self._settings = settings
        self._client: Client | None = None

    def reconnect(self) -> None:
        """Have the next insert connect anew, by the settings as they are now."""
        self._client = None

    async def insert(self, rows: Sequence[Row]) -> None:
        """Insert rows, in a thread.

        Raises:
            LogUnavailable: ClickHouse did not confirm.
        """
        try:
            await asyncio.to_thread(self._insert, rows)
        except (ClickHouseError, OSError) as error:
            self._client = None
            raise LogUnavailable(str(error).splitlines()[0][:200] if str(error) else repr(error)) from None

    def _insert(self, rows: Sequence[Row]) -> None:
        if self._client is None:
            self._client = clickhouse_connect.get_client(
                **self._settings.clickhouse_connection(),
                database=self._settings.clickhouse_database,
                autogenerate_session_id=False,
                connect_timeout=5,
                send_receive_timeout=_SECONDS,
                query_retries=0,
            )
        self._client.insert(TABLE, rows, column_names=list(COLUMNS), settings={"max_partitions_per_insert_block": 0})


class DeliveryLog:
    """Logs deliveries, and has those that are finished forgotten.

    Args:
        insert: inserts rows; see `ClickHouseLog.insert`.
        settle: see `records.Records.settle`.
    """

    def __init__(
        self,
        insert: Callable[[Sequence[Row]], Awaitable[None]],
        settle: Callable[[Sequence[WebhookDelivery]], Awaitable[None]],
    ) -> None:
        self._insert = insert
        self._settle = settle

    async def take(self, records: Sequence[tuple[int, WebhookDelivery]]) -> None:
        """Log records with their offsets, in the order of the topic.

        Raises:
            LogUnavailable: give the same records again.
        """
        newest = {(held.workspace_id, held.webhook_id, held.delivery_id): (at, held) for at, held in records}
        rows = [row(at, held) for at, held in newest.values() if held.status != DeliveryStatus.TOLD]
        if rows:
            await self._insert(rows)
        finished = (DeliveryStatus.DELIVERED, DeliveryStatus.FAILED)
        await self._settle([held for _, held in newest.values() if held.status in finished])


def row(offset: int, held: WebhookDelivery) -> Row:
    """The log's row of a record."""
    return (
        held.workspace_id, held.webhook_id, held.delivery_id, held.type, _time(held.occurred_at), held.content,
        held.status, held.tries, _time(held.created_at), _time(held.next_try_at), _time(held.tried_at),
        held.answer_status, held.answer, held.error, offset,
    )  # fmt: skip


def _time(instant: int | None) -> Any:
    return None if instant is None else utc(instant)
