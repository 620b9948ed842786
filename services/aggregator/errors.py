"""The errors of the aggregator, each with its consequence.

AggregatorError
├── InvalidEvent        this event is bad: it becomes a dead letter, and the stream goes on
├── SinkUnavailable     ClickHouse or Kafka is down: the same batch is tried again until it succeeds
├── RowsRefused         ClickHouse will never store some rows: these rows are set aside, the others are stored
├── MessagesRefused     Kafka will never accept some messages: these messages are set aside, the others are sent
├── OwnershipLost       a newer owner has the partition: the task ends and writes nothing more
└── AggregatorStuck     offsets stand still although events wait: the process ends and is started anew
"""

from __future__ import annotations

from typing import Any

from services.runtime.wording import counted


class AggregatorError(Exception):
    """Base of the aggregator's errors."""


class InvalidEvent(AggregatorError):
    """An event can't be used; the event becomes a dead letter.

    Args:
        reason: a stable code, kept in the dead letter.
        detail: the explanation for a person; never holds a secret.
        workspace_id: the tenant that the event names; empty when the event names none.
    """

    def __init__(self, reason: str, detail: str, workspace_id: str = "") -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.workspace_id = workspace_id


class SinkUnavailable(AggregatorError):
    """ClickHouse or Kafka did not confirm a call, any part of which may have arrived. Make the same call again."""


class OwnershipLost(AggregatorError):
    """A newer owner has the partition: the old owner must stop writing for the partition."""


class AggregatorStuck(AggregatorError):
    """Committed offsets stand still although events wait; only a new process helps."""


class RowsRefused(AggregatorError):
    """ClickHouse's columns can't hold some rows; all other rows of the same insert are stored.

    Args:
        rows: the refused rows.
        reason: why the first of these rows was refused, for a person.
    """

    def __init__(self, rows: list[Any], reason: str) -> None:
        super().__init__(f"{counted(len(rows), 'row')} can't be stored: {reason}")
        self.rows = rows
        self.reason = reason


class MessagesRefused(AggregatorError):
    """Kafka will never accept some messages; no message of the same call is visible.

    Args:
        positions: the refused messages' positions in the call's list, each with the reason.
    """

    def __init__(self, positions: dict[int, str]) -> None:
        super().__init__(f"{counted(len(positions), 'message')} can't be sent: {next(iter(positions.values()), '')}")
        self.positions = positions
