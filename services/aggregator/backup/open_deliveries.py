"""Deliveries to webhooks after Kafka was lost: those that are open by the log in ClickHouse, which is newer.

Tries that are due go on from where they stood, and what the backup holds as open is not sent again where the log says
that it was delivered.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from schemas.codec import Codec, MalformedEvent
from schemas.notices import DeliveryStatus, WebhookDelivery
from services.aggregator.backup.raw_rows import RawRows
from services.aggregator.backup.topic_messages import line_of
from services.runtime.kafka import key as message_key

_TABLE = "webhook_deliveries"
_PER_PAGE = 1_000
_COLUMNS = (
    "workspace_id, webhook_id, delivery_id, type, toUnixTimestamp64Milli(occurred_at), content, status, tries, "
    "toUnixTimestamp64Milli(created_at), toUnixTimestamp64Milli(next_try_at), toUnixTimestamp64Milli(tried_at), "
    "answer_status, answer, error"
)


class OpenDeliveries:
    """Lines of `notifier.deliveries`.

    Args:
        codec: decodes values of the backup, and encodes with this registry's id.
    """

    def __init__(self, rows: RawRows, codec: Codec[WebhookDelivery]) -> None:
        self._rows = rows
        self._codec = codec

    def lines(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the backup's lines without those that the log knows, then every delivery that is open by the log.

        Raises:
            BackupError: ClickHouse can't be used.
        """
        for line in lines:
            entry = orjson.loads(line)
            if entry["v"] is None or not self._is_logged(base64.b64decode(entry["v"])):
                yield line
        for delivery in self._open():
            key = message_key(delivery.workspace_id, delivery.webhook_id, delivery.delivery_id)
            at = delivery.tried_at or delivery.created_at
            yield line_of(key, self._codec.encode(delivery), at, is_own=True)

    def forget(self) -> None:
        """Remove the rows of open deliveries: rows replace each other by offsets, and the topic's begin anew.

        Raises:
            BackupError: ClickHouse can't be used.
        """
        self._rows.command(f"ALTER TABLE {_TABLE} DELETE WHERE status = '{DeliveryStatus.PENDING}'")

    def _is_logged(self, value: bytes) -> bool:
        try:
            held = self._codec.decode(value)
        except MalformedEvent:
            return False
        if held.status == DeliveryStatus.TOLD:
            return False
        found = self._rows.query(
            f"SELECT count() FROM {_TABLE} WHERE workspace_id = {{workspace:String}} "
            "AND webhook_id = {webhook:String} AND delivery_id = {delivery:String}",
            {"workspace": held.workspace_id, "webhook": held.webhook_id, "delivery": held.delivery_id},
        )
        return bool(found[0][0])

    def _open(self) -> Iterator[WebhookDelivery]:
        after = ("", "", "")
        while True:
            found: list[Any] = self._rows.query(
                f"SELECT {_COLUMNS} FROM {_TABLE} FINAL WHERE status = '{DeliveryStatus.PENDING}' AND "
                "(workspace_id, webhook_id, delivery_id) > ({workspace:String}, {webhook:String}, {delivery:String}) "
                f"ORDER BY workspace_id, webhook_id, delivery_id LIMIT {_PER_PAGE}",
                dict(zip(("workspace", "webhook", "delivery"), after, strict=True)),
            )
            if not found:
                return
            for row in found:
                yield WebhookDelivery(*row)
            after = (found[-1][0], found[-1][1], found[-1][2])
