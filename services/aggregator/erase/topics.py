"""What topics hold of one workspace: its keys of the compacted ones, and until when the others keep messages.

Guarantee: a tombstone that is written twice changes nothing.
"""

from __future__ import annotations

from typing import Final

from schemas import topic_names
from schemas.topic_specs import TopicSpec, topic_specs
from services.aggregator.audit.run import AuditSettings
from services.aggregator.backup.topic_messages import TopicWriter, kept_millis, line_of
from services.aggregator.mending import LastMessages
from services.aggregator.topic_reader import TopicReader
from services.runtime.kafka import partition_of

# Keys first, so that nobody asks any more, then what says whom to tell and what to poll; numbers follow from these.
_FIRST: Final = (
    topic_names.API_KEYS,
    topic_names.WEBHOOKS,
    topic_names.TOKENS,
    topic_names.POSTS,
    topic_names.CHANNELS,
)
_OF_WORKSPACES: Final = "workspace_id"


def compacted() -> list[TopicSpec]:
    """The compacted topics with keys of workspaces, in the order in which they are erased."""
    found = [spec for spec in topic_specs() if spec.is_compacted and spec.key.startswith(_OF_WORKSPACES)]
    places = {name: number for number, name in enumerate(_FIRST)}
    return sorted(found, key=lambda spec: (places.get(spec.name, len(places)), spec.name))


def passing() -> list[TopicSpec]:
    """The topics that lose their messages by retention."""
    return [spec for spec in topic_specs() if not spec.is_compacted]


class WorkspaceTopics:
    """One workspace's part of all topics. Blocking."""

    def __init__(self, settings: AuditSettings, reader: TopicReader, workspace_id: str) -> None:
        self._settings = settings
        self._reader = reader
        self._prefix = f"{workspace_id}/".encode()
        self._partition = partition_of(workspace_id, settings.topic_partitions)

    def held(self, spec: TopicSpec) -> list[bytes]:
        """The workspace's keys whose last message is no tombstone.

        Raises:
            TopicUnreadable: Kafka can't be read.
        """
        topic = self._settings.topic(spec.name)
        last = LastMessages(self._reader, topic, self._partition)
        return sorted(key for key in last.held if key.startswith(self._prefix))

    def erase(self, spec: TopicSpec, now: int) -> int:
        """Write a tombstone for each of the workspace's keys; returns their number.

        Raises:
            TopicUnreadable: Kafka can't be read.
            BackupError: Kafka refuses a message, or does not answer.
        """
        keys = self.held(spec)
        if keys:
            TopicWriter(self._settings, spec.name, {}).write(line_of(key, None, now) for key in keys)
        return len(keys)

    def kept_until(self, now: int) -> dict[str, int]:
        """By topic that loses messages by retention, until when (ms) it may hold what was written up to now.

        Raises:
            BackupError: Kafka does not answer.
        """
        names = {spec.name: self._settings.topic(spec.name) for spec in passing()}
        kept = kept_millis(self._settings, list(names.values()))
        return {name: now + kept[full] for name, full in names.items()}
