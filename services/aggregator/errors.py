"""What can go wrong in the aggregator, and who has to act.

AggregatorError
├── InvalidEvent        this event is bad: it goes to the dead letters, the stream goes on
├── SinkUnavailable     ClickHouse or Kafka is down: the same batch is tried again, for as long as it takes
├── DeadLetterLimitReached  most events are bad, in several workspaces: the process ends before it drains the topic
├── OwnershipLost       a newer owner has the partition: this task ends without a trace
└── AggregatorStuck     no progress although there is work: the process ends and is started anew
"""

from __future__ import annotations


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


class DeadLetterLimitReached(AggregatorError):
    """Most events can't be used; what is read is not acknowledged, so a fixed version takes it up again."""


class AggregatorStuck(AggregatorError):
    """There is work and no progress; only a new process helps."""
