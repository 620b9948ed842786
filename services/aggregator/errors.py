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

from services.runtime.wording import counted


class AggregatorError(Exception):
    """Base of all errors here."""


class InvalidEvent(AggregatorError):
    """An event that can't be used; it becomes a dead letter.

    Args:
        reason: stable code, kept in the dead letter.
        detail: for a person; never a secret.
        workspace_id: the tenant, where the event names one.
    """

    def __init__(self, reason: str, detail: str, workspace_id: str = "") -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.workspace_id = workspace_id


class SinkUnavailable(AggregatorError):
    """ClickHouse or Kafka did not confirm a call, and any part of it may have arrived. Make the same call again."""


class OwnershipLost(AggregatorError):
    """Another worker owns the partition now: its old owner stops writing for it."""


class AggregatorStuck(AggregatorError):
    """Offsets stand still although there are events; only a new process helps."""


class RowsRefused(AggregatorError):
    """Rows that ClickHouse's columns can't hold; all others of the same insert are stored.

    Args:
        rows: as given.
        reason: why the first of them was refused, for a person.
    """

    def __init__(self, rows: list[Any], reason: str) -> None:
        super().__init__(f"{counted(len(rows), 'row')} can't be stored: {reason}")
        self.rows = rows
        self.reason = reason


class MessagesRefused(AggregatorError):
    """Messages that Kafka will not take however often they are sent; nothing of the same call is visible.

    Args:
        positions: of the refused messages in the call's list, each with the reason.
    """

    def __init__(self, positions: dict[int, str]) -> None:
        super().__init__(f"{counted(len(positions), 'message')} can't be sent: {next(iter(positions.values()), '')}")
        self.positions = positions
