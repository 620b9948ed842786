"""`tidemark backup create`: topics that a rebuild can't make, and all raw events, into one file.

1. It waits until the aggregator has stored every raw event that `platform.raw` holds now, so that the tables know all.
2. Topics are read from their beginning to their present end.
3. Raw events are read from ClickHouse, page by page.

The installation may work meanwhile: what comes after the beginning of a step may or may not be in the backup.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

from schemas.topic_names import RAW
from schemas.topic_specs import topic_specs
from services.aggregator.audit.run import AuditSettings
from services.aggregator.backup.archive import FORMAT, BackupError, Manifest, Member, Writer
from services.aggregator.backup.positions import told_until
from services.aggregator.backup.raw_rows import RawRows
from services.aggregator.backup.topic_messages import TopicLines
from services.aggregator.topic_reader import TopicReader
from services.runtime.clock import Clock, iso_millis
from services.runtime.registry import Registry
from services.runtime.wording import counted

RAW_FOLDER = "raw_events/"
TOPIC_FOLDER = "topics/"
_POLL_SECONDS = 0.5
Show = Callable[[str], None]


def create(settings: AuditSettings, path: Path, clock: Clock, wait_seconds: float, show: Show) -> Manifest:
    """Write a backup.

    Args:
        wait_seconds: how long the aggregator may take to store what `platform.raw` holds already.
        show: is told the progress, as lines.

    Raises:
        BackupError: it can't be made; no file was left.
        TopicUnreadable: Kafka can't be read; no file was left.
        RegistryUnavailable: the registry does not answer; no file was left.
    """
    registry = Registry(settings, settings)
    rows = RawRows(settings)
    try:
        with Writer(path) as archive, TopicReader(settings) as reader:
            with TopicReader(settings, is_committed=False) as raw_reader:
                _wait_for_aggregator(settings, raw_reader, wait_seconds, show)
            schemas: dict[str, dict[str, str]] = {}
            told = told_until(reader, settings, clock.now())
            for spec in topic_specs():
                if not spec.is_backed_up:
                    continue
                topic = TopicLines(reader, settings, spec)
                member = archive.add(f"{TOPIC_FOLDER}{spec.name}.ndjson", topic.chunks())
                schemas[spec.name] = _texts(registry, topic.schema_ids)
                show(f"{spec.name}: {counted(member.count, 'message')}")
            _add_raw_events(archive, rows, show)
            manifest = Manifest(
                FORMAT,
                version("tidemark"),
                iso_millis(clock.now()),
                settings.topic_partitions,
                rows.migration(),
                schemas,
                _in_order(archive.members),
                subjects={spec.name: registry.versions(spec.name) for spec in topic_specs()},
                told_until=told,
            )
            archive.finish(manifest)
            return manifest
    finally:
        rows.close()


def _wait_for_aggregator(settings: AuditSettings, reader: TopicReader, seconds: float, show: Show) -> None:
    topic = settings.topic(RAW)
    ends = {number: reader.bounds(topic, number)[1] for number in reader.partitions(topic)}
    deadline = time.monotonic() + seconds
    while True:
        behind = sum(reader.left(settings.aggregator_group, topic, number, end) for number, end in ends.items())
        if not behind:
            return
        if time.monotonic() > deadline:
            raise BackupError(
                f"the aggregator is {counted(behind, 'event')} behind {topic}, so ClickHouse lacks them; "
                "wait until `tidemark status` shows no lag, or give --wait-seconds more"
            )
        show(f"waiting for the aggregator to store {counted(behind, 'event')}")
        time.sleep(_POLL_SECONDS)


def _texts(registry: Registry, ids: set[int]) -> dict[str, str]:
    found = {}
    for schema_id in sorted(ids):
        try:
            found[str(schema_id)] = registry.fetch_schema(schema_id)
        except KeyError:
            continue  # nobody can read these values; they are kept as they are
    return found


def _add_raw_events(archive: Writer, rows: RawRows, show: Show) -> None:
    total, done = rows.count(), 0
    for number, (after, last, count) in enumerate(rows.pages(), start=1):
        archive.add(f"{RAW_FOLDER}{number:06}.parquet", _counted(rows.parquet(after, last), count), is_compressed=True)
        done += count
        show(f"raw events: {done} of {total}")


def _counted(chunks: Iterator[bytes], count: int) -> Iterator[tuple[bytes, int]]:
    for chunk in chunks:
        yield chunk, 0
    yield b"", count


def _in_order(members: list[Member]) -> list[Member]:
    """Raw events first: a channel is polled, and a key opens the API, once all else is there."""
    return sorted(members, key=lambda member: (not member.name.startswith(RAW_FOLDER), member.name))
