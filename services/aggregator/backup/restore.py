"""`tidemark backup restore`: a backup into an installation that is empty: topics and tables are there, data is not.

The whole file is verified before anything is written. Each part that was written is noted in a file beside the archive,
so a restore that was stopped goes on where it stopped; parts that are written twice do no harm.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from schemas.topic_specs import topic_specs
from services.aggregator.audit.run import AuditSettings
from services.aggregator.backup.archive import BackupError, Manifest, Member, Reader
from services.aggregator.backup.create import RAW_FOLDER, TOPIC_FOLDER
from services.aggregator.backup.raw_rows import RawRows
from services.aggregator.backup.topic_messages import TopicWriter
from services.aggregator.topic_reader import TopicReader
from services.runtime.registry import Registry
from services.runtime.topics import incarnation
from services.runtime.wording import counted

Show = Callable[[str], None]


def restore(settings: AuditSettings, path: Path, *, is_forced: bool, show: Show) -> Manifest:
    """Restore a backup, or go on with a restore that was stopped.

    Args:
        is_forced: write also into an installation that holds data: the backup's messages and rows come on top.
        show: is told the progress, as lines.

    Raises:
        BackupError: the file is damaged, the installation is not empty, or a part can't be written.
        BrokersUnavailable: Kafka does not answer, or a topic is missing.
        TopicUnreadable: as well.
        RegistryUnavailable: the registry does not answer.
    """
    with Reader(path) as archive:
        rows = RawRows(settings)
        try:
            manifest = archive.manifest
            topics = _topics(manifest)
            if rows.migration() < manifest.migration:
                raise BackupError(
                    f"the backup is of a newer Tidemark ({manifest.tidemark}, tables of migration "
                    f"{manifest.migration}); restore it by that version or a newer one"
                )
            target = f"{incarnation(settings, topics)} {rows.identity()}"
            progress = _Progress(path.with_name(path.name + ".restoring"), f"{archive.digest} {target}")
            if not progress.done and not is_forced:
                _require_empty(settings, rows, topics)
            ids = _own_ids(settings, manifest)
            for at, member in enumerate(manifest.members, start=1):
                if member.name not in progress.done:
                    _write(settings, archive, member, rows, ids)
                    progress.note(member.name)
                show(f"{at} of {len(manifest.members)} parts: {member.name}, {counted(member.count, 'item')}")
            progress.end()
            return manifest
        finally:
            rows.close()


def _topics(manifest: Manifest) -> list[str]:
    known = {spec.name for spec in topic_specs()}
    names = [_topic(member) for member in manifest.members if member.name.startswith(TOPIC_FOLDER)]
    unknown = sorted(set(names) - known)
    if unknown:
        raise BackupError(
            f"the backup holds {unknown[0]}, which this Tidemark does not know; restore it by a newer one"
        )
    return names


def _topic(member: Member) -> str:
    return member.name.removeprefix(TOPIC_FOLDER).removesuffix(".ndjson")


def _require_empty(settings: AuditSettings, rows: RawRows, topics: list[str]) -> None:
    held = [f"{counted(count, 'row')} in raw_events"] if (count := rows.count()) else []
    with TopicReader(settings) as reader:
        for topic in topics:
            full = settings.topic(topic)
            bounds = [reader.bounds(full, number) for number in reader.partitions(full)]
            if any(low < high for low, high in bounds):
                held.append(f"messages in {full}")
    if held:
        raise BackupError(
            f"this installation is not empty ({', '.join(held)}); restore into a new one, or add --force to put the "
            "backup on top of what is there"
        )


def _own_ids(settings: AuditSettings, manifest: Manifest) -> dict[str, dict[int, int]]:
    """By topic, this registry's schema id by the id in the backup."""
    registry = Registry(settings, settings)
    return {
        topic: {int(theirs): registry.registered(topic, text) for theirs, text in texts.items()}
        for topic, texts in manifest.schemas.items()
    }


def _write(
    settings: AuditSettings, archive: Reader, member: Member, rows: RawRows, ids: Mapping[str, Mapping[int, int]]
) -> None:
    if member.name.startswith(RAW_FOLDER):
        rows.insert(b"".join(archive.chunks(member)))
        return
    topic = _topic(member)
    TopicWriter(settings, topic, ids.get(topic, {})).write(archive.lines(member))


class _Progress:
    """Which parts of which archive are written to which installation, in a file beside the archive."""

    def __init__(self, path: Path, restore_id: str) -> None:
        self._path = path
        self._id = restore_id
        self.done: set[str] = set()
        try:
            held: dict[str, Any] = orjson.loads(path.read_bytes())
        except (OSError, ValueError):
            return
        if held.get("restore") == restore_id:
            self.done = set(held.get("done", ()))

    def note(self, name: str) -> None:
        """Store that a part is written."""
        self.done.add(name)
        partial = self._path.with_name(self._path.name + ".partial")
        try:
            partial.write_bytes(orjson.dumps({"restore": self._id, "done": sorted(self.done)}))
            os.replace(partial, self._path)
        except OSError as error:
            raise BackupError(f"{self._path}, which notes the progress, can't be written: {error.strerror}") from None

    def end(self) -> None:
        """Remove the file: all parts are written."""
        self._path.unlink(missing_ok=True)
