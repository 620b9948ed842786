"""Runs one audit: plans its parts, compares them, and yields the differences.

Data changes while the audit runs. So rows that differ are read again several times, each time after a pause, and count
as a difference only if they differ every time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from schemas.topic_names import RAW
from services.aggregator.audit import registers, totals, windows
from services.aggregator.audit.checks import Check
from services.aggregator.audit.mirror import MIRRORS, Mirror, MirrorAudit
from services.aggregator.audit.plan import Part, Sample, plan
from services.aggregator.audit.raw_events import RawAudit
from services.aggregator.audit.rollups import TOPICS, RollupAudit, RollupTopic
from services.aggregator.audit.store import AuditStore, Difference
from services.aggregator.settings import AggregatorSettings
from services.aggregator.topic_reader import TopicReader
from services.runtime.clock import Clock
from services.runtime.kafka import partition_of
from services.runtime.registry import Registry
from services.runtime.settings import ClickHouseSettings, KafkaSettings, RegistrySettings

CHECKS: tuple[Check, ...] = (registers.TARGETS, registers.CHANNELS, totals.POSTS, windows.HELD, windows.WINDOWS)


class AuditSettings(KafkaSettings, RegistrySettings, ClickHouseSettings):
    """Settings of the audit, from the environment (`TIDEMARK_*`)."""

    aggregator_group: str = AggregatorSettings.model_fields["aggregator_group"].default


@dataclass(frozen=True, slots=True)
class Options:
    """The operator's options.

    Attributes:
        workspace: audit this workspace only; None for all workspaces.
        sample: chooses the parts to compare.
        retries: how often differing rows are read again.
        grace_seconds: the pause before each of these reads.
        memory_mebibytes: the most memory that one statement may use in ClickHouse.
    """

    workspace: str | None = None
    sample: Sample = field(default_factory=Sample)
    retries: int = 5
    grace_seconds: float = 2.0
    memory_mebibytes: int = 1024


@dataclass(slots=True)
class Summary:
    """Counts of one audit.

    Attributes:
        rows: number of stored rows in the compared parts.
        parts: number of compared parts.
        rollups: number of compared keys of the rollup topics, missing keys included.
        differences: number of differences, over all checks.
        seconds: the audit's duration.
        by_check: number of differences by the check's name.
        seconds_by_step: the duration of each check and of each topic's comparison, by name.
    """

    rows: int = 0
    parts: int = 0
    rollups: int = 0
    differences: int = 0
    seconds: float = 0.0
    by_check: dict[str, int] = field(default_factory=dict)
    seconds_by_step: dict[str, float] = field(default_factory=dict)

    def note(self, difference: Difference) -> None:
        """Count one difference, in all and under its check."""
        self.differences += 1
        self.by_check[difference.check] = self.by_check.get(difference.check, 0) + 1

    @contextmanager
    def timing(self, step: str) -> Iterator[None]:
        """Add the duration of the block to a step."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds_by_step[step] = self.seconds_by_step.get(step, 0.0) + time.monotonic() - began


Progress = Callable[[str, int, int], None]
"""Called with the name of the present step, the number of steps done, and the number of all steps."""


def audit(
    settings: AuditSettings, options: Options, clock: Clock, progress: Progress, summary: Summary
) -> Iterator[Difference]:
    """Yield differences as they are found; `summary` is complete once the iterator ends.

    Raises:
        AuditFailed: ClickHouse can't be used, or a rebuild was taken over meanwhile.
        TopicUnreadable: Kafka can't be used.
        RegistryUnavailable: the registry can't be used.
    """
    started = time.monotonic()
    steps = _Steps(progress)
    with ExitStack() as stack:
        with summary.timing("start"):
            store = AuditStore(settings, clock, options.memory_mebibytes)
            stack.callback(store.close)
            store.require_steady()
            reader = stack.enter_context(TopicReader(settings, on_read=steps.show_offset))
            raw_reader = stack.enter_context(TopicReader(settings, is_committed=False, on_read=steps.show_offset))
            links = list(topic_links(settings, options, store, reader, raw_reader))
            parts = plan(store.rows_by_workspace(options.workspace), options.sample)
        summary.parts, summary.rows = len(parts), sum(part.rows for part in parts)
        steps.count = len(parts) * len(CHECKS) + sum(len(link.partitions) for link in links)

        def counted(found: Iterable[Difference]) -> Iterator[Difference]:
            for difference in found:
                summary.note(difference)
                yield difference

        for part in parts:
            for check in CHECKS:
                steps.begin(f"{check.name} {_name(part)}")
                with summary.timing(check.name):
                    found = _settled(store, check, part, options)
                yield from counted(found)
        for link in links:
            for number in link.partitions:
                steps.begin(f"{link.name} partition {number}")
                with summary.timing(link.name):
                    yield from counted(link.audit.differences(number))
            summary.rollups += link.audit.compared if isinstance(link.audit, RollupAudit) else 0
        progress("done", steps.count, steps.count)
        store.require_steady()
    summary.seconds = time.monotonic() - started


class _Steps:
    """Shows which step is under way, and how far a step is that reads a topic.

    Attributes:
        count: number of all steps.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._done = -1
        self._name = ""
        self.count = 0

    def begin(self, name: str) -> None:
        """Show the next step; the steps before are done."""
        self._done += 1
        self._name = name
        self._progress(name, self._done, self.count)

    def show_offset(self, offset: int, end: int) -> None:
        """Show how far the present step has read its partition."""
        self._progress(f"{self._name}, offset {offset:,} of {end:,}", self._done, self.count)


class TopicAudit(Protocol):
    """Compares one topic with its table."""

    def differences(self, partition: int) -> Iterator[Difference]:
        """Yield the differences in a partition."""


@dataclass(frozen=True, slots=True)
class TopicLink:
    """One topic that is compared with its table.

    Attributes:
        name: the topic's name without prefix.
        partitions: the partitions to compare.
        audit: compares a partition.
    """

    name: str
    partitions: Sequence[int]
    audit: TopicAudit


def topic_links(
    settings: AuditSettings, options: Options, store: AuditStore, reader: TopicReader, raw_reader: TopicReader
) -> Iterator[TopicLink]:
    """Yield every topic to compare: raw events and the catalog with their tables, rollups with the stored totals.

    Raises:
        TopicUnreadable: Kafka can't be used.
        RegistryUnavailable: the registry can't be used.
    """
    registry = Registry(settings, settings)
    group, workspace, sample = settings.aggregator_group, options.workspace, options.sample

    def link(name: str, make: Callable[[str, int], TopicAudit]) -> TopicLink:
        full_name = settings.topic(name)
        numbers = reader.partitions(full_name)
        looked_at = numbers if workspace is None else [partition_of(workspace, len(numbers))]
        return TopicLink(name, looked_at, make(full_name, len(numbers)))

    def raw(full_name: str, count: int) -> TopicAudit:
        codec = registry.raw_codec()
        return RawAudit(
            full_name, store, raw_reader, codec, partitions=count, group=group, workspace=workspace, sample=sample
        )

    yield link(RAW, raw)
    for mirror in MIRRORS:

        def mirrored(full_name: str, count: int, mirror: Mirror = mirror) -> TopicAudit:
            return MirrorAudit(
                mirror,
                full_name,
                store,
                reader,
                registry.record_codec(mirror.topic),
                partitions=count,
                group=f"{group}-catalog",
                workspace=workspace,
                sample=sample,
                retries=options.retries,
                grace_seconds=options.grace_seconds,
            )

        yield link(mirror.topic, mirrored)
    platforms = dict(_platforms(store, workspace))
    for topic in TOPICS:

        def told(full_name: str, _: int, topic: RollupTopic = topic) -> TopicAudit:
            return RollupAudit(
                topic,
                full_name,
                store,
                reader,
                registry.record_codec(topic.name),
                registry.encoder(topic.name),
                platforms,
                workspace=workspace,
                sample=sample,
                retries=options.retries,
                grace_seconds=options.grace_seconds,
            )

        yield link(topic.name, told)


def _settled(store: AuditStore, check: Check, part: Part, options: Options) -> list[Difference]:
    """The rows of a part that differ, and still differ at every further look."""
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
