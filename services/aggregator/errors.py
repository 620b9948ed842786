"""What can go wrong in the aggregator, and who has to act.

AggregatorError
├── InvalidEvent        this event is bad: it goes to the dead letters, the stream goes on
├── SinkUnavailable     ClickHouse or Kafka is down: the same batch is tried again, for as long as it takes
├── RowsRefused         ClickHouse will never take some rows: they are set aside, the others are stored
├── MessagesRefused     Kafka will never take some messages: they are set aside, the others are sent
├── OwnershipLost       a newer owner has the partition: this task ends without a trace
└── AggregatorStuck     no progress although there is work: the process ends and is started anew
"""

from __future__ import annotations

from typing import Any


class AggregatorError(Exception):
    """Base of all."""


class InvalidEvent(AggregatorError):
    """A bad event.

    Args:
        reason: stable code, kept in the dead letter.
        detail: for a person; never a secret.
        workspace_id: the tenant, when the event says it.
    """

    def __init__(self, reason: str, detail: str, workspace_id: str = "") -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.workspace_id = workspace_id


class SinkUnavailable(AggregatorError):
    """A sink did not take what was given; nothing is known of how much of it arrived. Try the same again."""


class OwnershipLost(AggregatorError):
    """Another worker owns the partition now; stop writing for it."""


class AggregatorStuck(AggregatorError):
    """There is work and no progress; only a new process helps."""


class RowsRefused(AggregatorError):
    """Rows that ClickHouse's columns can't hold; all others of the same insert are stored.

    Args:
        rows: as given.
        reason: of the first of them, in words.
    """

    def __init__(self, rows: list[Any], reason: str) -> None:
        super().__init__(f"{len(rows)} rows can't be stored: {reason}")
        self.rows = rows
        self.reason = reason


class MessagesRefused(AggregatorError):
    """Messages that Kafka will not take however often they are sent; nothing of the same call is visible.

    Args:
        positions: in the call's messages, with why.
    """

    def __init__(self, positions: dict[int, str]) -> None:
        super().__init__(f"{len(positions)} messages can't be sent: {next(iter(positions.values()), '')}")
        self.positions = positions
