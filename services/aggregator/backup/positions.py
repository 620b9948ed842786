"""How far webhooks were told of topics with a retention: kept in a backup, so that a restore tells nothing again.

A notifier without positions begins with what came since its oldest webhook was made. After a restore that would be
messages of which receivers were told long ago.
"""

from __future__ import annotations

from schemas.topic_names import ACCOUNT_EVENTS
from services.aggregator.backup.topic_messages import commit
from services.aggregator.topic_reader import TopicReader
from services.runtime.acls import installation
from services.runtime.settings import KafkaSettings

_TOLD = (ACCOUNT_EVENTS,)


def told_until(reader: TopicReader, settings: KafkaSettings, now: int) -> dict[str, int]:
    """By topic without prefix, the time (ms) of the oldest message that was not told yet, or now.

    A topic of which no notifier has a position is left out.

    Raises:
        TopicUnreadable: Kafka can't be read.
    """
    found = {}
    for topic in _TOLD:
        full = settings.topic(topic)
        instants = []
        for partition in reader.partitions(full):
            position = reader.position(_group(settings), full, partition)
            if position is None:
                continue
            low, end = reader.bounds(full, partition)
            untold = next((message for message in reader.read(full, partition, max(low, position), end)), None)
            instants.append(now if untold is None else untold.timestamp)
        if instants:
            found[topic] = min(instants)
    return found


def tell_from(reader: TopicReader, settings: KafkaSettings, instants: dict[str, int]) -> None:
    """Let notifiers begin with messages that are not older than an instant.

    Args:
        instants: see `told_until`.

    Raises:
        BackupError: Kafka refuses the positions; a notifier that runs is one reason.
        TopicUnreadable: Kafka can't be read.
    """
    wanted = {
        (full, partition): reader.since(full, partition, instant)
        for topic, instant in instants.items()
        for full in (settings.topic(topic),)
        for partition in reader.partitions(full)
    }
    if wanted:
        commit(settings, _group(settings), wanted)


def _group(settings: KafkaSettings) -> str:
    return f"{installation(settings).notifier_group}-positions"
