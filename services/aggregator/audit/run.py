"""One audit from plan to verdict.

Data is in flight while it runs: what differs is read again after a grace, several times, before it is called a
difference; only what is wrong every time is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

from services.aggregator.audit import registers, totals, windows
from services.aggregator.audit.checks import Check
from services.aggregator.audit.plan import Part, Sample, plan
from services.aggregator.audit.rollups import TOPICS, RollupAudit, RollupTopic
from services.aggregator.audit.store import AuditStore, Difference
from services.aggregator.topic_reader import TopicReader
from services.runtime.clock import Clock
from services.runtime.kafka import partition_of
from services.runtime.registry import Registry
from services.runtime.settings import ClickHouseSettings, KafkaSettings, RegistrySettings

CHECKS: tuple[Check, ...] = (registers.TARGETS, registers.CHANNELS, totals.POSTS, windows.HELD, windows.WINDOWS)


class AuditSettings(KafkaSettings, RegistrySettings, ClickHouseSettings):
    """Everything the audit is told by the environment."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the operator chose.

    Attributes:
        workspace: only this one.
        retries: how often what differs is read again.
        grace_seconds: before each.
        memory_mebibytes: most that one statement may take of ClickHouse.
    """

    workspace: str | None = None
    sample: Sample = field(default_factory=Sample)
    retries: int = 5
    grace_seconds: float = 2.0
    memory_mebibytes: int = 1024


@dataclass(slots=True)
class Summary:
    """What was looked at.

    Attributes:
        rows: stored rows of the parts.
        rollups: keys of the compacted topics, with what should be there and is not.
    """

    rows: int = 0
    parts: int = 0
    rollups: int = 0
    differences: int = 0
    seconds: float = 0.0


Progress = Callable[[str, int, int], None]
"""Called with what is being done, steps done, and steps in all."""


def audit(
    settings: AuditSettings, options: Options, clock: Clock, progress: Progress, summary: Summary
) -> Iterator[Difference]:
    """Differences as they are found; `summary` is complete once all are taken.

    Raises:
        AuditFailed: ClickHouse can't be used, or a rebuild was taken over meanwhile.
        TopicUnreadable: Kafka can't be used.
        RegistryUnavailable: the registry can't be used.
    """
    started = time.monotonic()
    with ExitStack() as stack:
        store = AuditStore(settings, clock, options.memory_mebibytes)
        stack.callback(store.close)
        store.require_steady()
        reader = stack.enter_context(TopicReader(settings))
        registry = Registry(settings, settings)
        codecs = {topic.name: (registry.record_codec(topic.name), registry.encoder(topic.name)) for topic in TOPICS}
        partitions = {topic.name: _partitions(reader, settings, topic, options.workspace) for topic in TOPICS}
        parts = plan(store.rows_by_workspace(options.workspace), options.sample)
        summary.parts, summary.rows = len(parts), sum(part.rows for part in parts)
        steps = len(parts) * len(CHECKS) + sum(len(numbers) for numbers in partitions.values())
        done = 0
        for part in parts:
            for check in CHECKS:
                progress(f"{check.name} {_name(part)}", done, steps)
                for difference in _settled(store, check, part, options):
                    summary.differences += 1
                    yield difference
                done += 1
        platforms = dict(_platforms(store, options.workspace))
        for topic in TOPICS:
            rollups = RollupAudit(
                topic,
                settings.topic(topic.name),
                store,
                reader,
                *codecs[topic.name],
                platforms,
                workspace=options.workspace,
                sample=options.sample,
                retries=options.retries,
                grace_seconds=options.grace_seconds,
            )
            for number in partitions[topic.name]:
                progress(f"{topic.name} partition {number}", done, steps)
                for difference in rollups.differences(number):
                    summary.differences += 1
                    yield difference
                done += 1
            summary.rollups += rollups.compared
        progress("done", done, steps)
        store.require_steady()
    summary.seconds = time.monotonic() - started


def _partitions(reader: TopicReader, settings: AuditSettings, topic: RollupTopic, workspace: str | None) -> list[int]:
    numbers = reader.partitions(settings.topic(topic.name))
    return numbers if workspace is None else [partition_of(workspace, len(numbers))]


def _settled(store: AuditStore, check: Check, part: Part, options: Options) -> list[Difference]:
    """What differs in a part, and still differs every time it is looked at again."""
    found = store.differences(check, part)
    for _ in range(options.retries):
        if not found:
            return []
        time.sleep(options.grace_seconds)
        keys = list(dict.fromkeys((difference.workspace_id, difference.key) for difference in found))
        before = {(difference.workspace_id, difference.label) for difference in found}
        found = [
            difference
            for difference in store.differences_of(check, keys)
            if (difference.workspace_id, difference.label) in before
        ]
    return found


def _platforms(store: AuditStore, workspace: str | None) -> Iterator[tuple[tuple[str, str], str]]:
    where = "1" if workspace is None else "workspace_id = {workspace:String}"
    query = f"SELECT workspace_id, channel_id, platform FROM channels_store FINAL WHERE is_deleted = 0 AND {where}"
    for workspace_id, channel_id, platform in store.stream(query, {"workspace": workspace or ""}):
        yield (workspace_id, channel_id), platform


def _name(part: Part) -> str:
    if part.parts > 1:
        return f"of {part.workspaces[0]}, share {part.part + 1} of {part.parts}"
    count = len(part.workspaces)
    return f"of {part.workspaces[0]}" if count == 1 else f"of {count} workspaces from {part.workspaces[0]}"
