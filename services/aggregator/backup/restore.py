"""`tidemark backup restore`: a backup into an installation that lost everything, or one of its engines.

- Everything: topics and tables are there, data is not. All parts are written.
- ClickHouse: raw events are written; the catalog follows from its topics, which are newer than the backup.
- Kafka: topics are written. Of what ClickHouse knows newer (the catalog, deliveries to webhooks) its state is taken,
  and its raw events no longer count as those of the topic that was made anew.
- The registry: every schema has the id that messages name.

The whole file is verified before anything is written. The beginning and each part that was written are noted in a file
beside the archive, so a restore that was stopped anywhere goes on where it stopped; parts that are written twice do no
harm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import orjson

from schemas.codec import Codec, codec
from schemas.topic_names import WEBHOOK_DELIVERIES
from schemas.topic_specs import topic_specs
from services.aggregator.audit.run import AuditSettings
from services.aggregator.backup.archive import BackupError, Manifest, Member, Reader
from services.aggregator.backup.create import RAW_FOLDER, TOPIC_FOLDER
from services.aggregator.backup.newest_catalog import MIRRORED, NewestCatalog
from services.aggregator.backup.open_deliveries import OpenDeliveries
from services.aggregator.backup.positions import tell_from
from services.aggregator.backup.raw_rows import RawRows
from services.aggregator.backup.topic_messages import TopicWriter
from services.aggregator.topic_reader import TopicReader
from services.runtime.new_files import NewFile
from services.runtime.registry import Registry
from services.runtime.registry_ids import IdsRefused, restore_ids
from services.runtime.topics import incarnation
from services.runtime.wording import counted

Show = Callable[[str], None]
_NAMED = 20


class Lost(StrEnum):
    """What an installation lost."""

    EVERYTHING = "everything"
    KAFKA = "kafka"
    CLICKHOUSE = "clickhouse"
    REGISTRY = "registry"


def restore(
    settings: AuditSettings, path: Path, *, is_forced: bool, show: Show, lost: Lost = Lost.EVERYTHING,
    tell: Show | None = None,
) -> Manifest:  # fmt: skip
    """Restore a backup, or go on with a restore that was stopped.

    Args:
        is_forced: write also into topics or tables that hold data: the backup's messages and rows come on top.
        show: is told the progress, as lines.
        tell: is told what can't be known, as lines.

    Raises:
        BackupError: the file is damaged, what was lost is not empty, or a part can't be written.
        BrokersUnavailable: Kafka does not answer, or a topic is missing.
        TopicUnreadable: as well.
        RegistryUnavailable: the registry does not answer.
    """
    with Reader(path) as archive:
        manifest = archive.manifest
        if manifest.workspace:
            raise BackupError(f"{path} is the export of the workspace {manifest.workspace}, not a backup")
        if lost is Lost.REGISTRY:
            _restore_registry(settings, manifest, path, show)
            return manifest
        rows = RawRows(settings)
        try:
            _Restore(settings, archive, rows, lost, show, tell or show).run(path, is_forced=is_forced)
            return manifest
        finally:
            rows.close()


def _restore_registry(settings: AuditSettings, manifest: Manifest, path: Path, show: Show) -> None:
    if not manifest.subjects:
        raise BackupError(f"{path} was made by a Tidemark that kept no schemas' ids; restore the registry's own backup")
    subjects = {f"{settings.topic(topic)}-value": versions for topic, versions in manifest.subjects.items()}
    try:
        restore_ids(settings, subjects, show)
    except IdsRefused as error:
        raise BackupError(str(error)) from None


class _Restore:
    """One restore of topics or tables."""

    def __init__(
        self, settings: AuditSettings, archive: Reader, rows: RawRows, lost: Lost, show: Show, tell: Show
    ) -> None:
        self._settings = settings
        self._archive = archive
        self._manifest = archive.manifest
        self._rows = rows
        self._lost = lost
        self._show = show
        self._tell = tell
        self._ids: Mapping[str, Mapping[int, int]] = {}

    def run(self, path: Path, *, is_forced: bool) -> None:
        """Write every part that is not written yet."""
        manifest, members = self._manifest, list(self._members())
        topics = self._topics()
        if self._rows.migration() < manifest.migration:
            raise BackupError(
                f"the backup is of a newer Tidemark ({manifest.tidemark}, tables of migration "
                f"{manifest.migration}); restore it by that version or a newer one"
            )
        target = f"{self._lost} {incarnation(self._settings, topics)} {self._rows.identity()}"
        progress = _Progress(path.with_name(path.name + ".restoring"), f"{self._archive.digest} {target}")
        if not progress.has_begun:
            if not is_forced:
                self._require_empty(topics)
            # From now on what is there may be of this restore.
            progress.begin()
        self._ids = self._own_ids()
        steps = [(member.name, self._writing(member), counted(member.count, "item")) for member in members]
        if self._lost is Lost.KAFKA:
            steps.insert(0, ("ClickHouse's raw events", self._rows.relabel, "no longer of the topic that is there"))
            # A step after all topics: once the rows are gone, the deliveries can't be written again from them.
            steps.append(("ClickHouse's open deliveries", self._forget_deliveries, "in their topic now"))
        if self._lost is not Lost.CLICKHOUSE:
            steps.append(("positions of webhooks", self._set_positions, "what was told is not told again"))
        for at, (name, step, said) in enumerate(steps, start=1):
            if name not in progress.done:
                step()
                progress.note(name)
            self._show(f"{at} of {len(steps)} parts: {name}, {said}")
        progress.end()

    def _members(self) -> Iterator[Member]:
        for member in self._manifest.members:
            is_raw = member.name.startswith(RAW_FOLDER)
            if self._lost is Lost.EVERYTHING or is_raw is (self._lost is Lost.CLICKHOUSE):
                yield member

    def _topics(self) -> list[str]:
        known = {spec.name for spec in topic_specs()}
        names = [_topic(member) for member in self._manifest.members if member.name.startswith(TOPIC_FOLDER)]
        unknown = sorted(set(names) - known)
        if unknown:
            raise BackupError(
                f"the backup holds {unknown[0]}, which this Tidemark does not know; restore it by a newer one"
            )
        return names

    def _require_empty(self, topics: list[str]) -> None:
        held = []
        if self._lost is not Lost.KAFKA and (count := self._rows.count()):
            held.append(f"{counted(count, 'row')} in raw_events")
        if self._lost is not Lost.CLICKHOUSE:
            with TopicReader(self._settings) as reader:
                for topic in topics:
                    full = self._settings.topic(topic)
                    bounds = [reader.bounds(full, number) for number in reader.partitions(full)]
                    if any(low < high for low, high in bounds):
                        held.append(f"messages in {full}")
        if held:
            raise BackupError(
                f"this installation is not empty ({', '.join(held)}); restore into a new one, say what was "
                "`--lost`, or add --force to put the backup on top of what is there"
            )

    def _own_ids(self) -> dict[str, dict[int, int]]:
        """By topic, this registry's schema id by the id in the backup."""
        registry = Registry(self._settings, self._settings)
        return {
            topic: {int(theirs): registry.registered(topic, text) for theirs, text in texts.items()}
            for topic, texts in self._manifest.schemas.items()
        }

    def _writing(self, member: Member) -> Callable[[], None]:
        return lambda: self._write(member)

    def _write(self, member: Member) -> None:
        if member.name.startswith(RAW_FOLDER):
            self._rows.insert(b"".join(self._archive.chunks(member)))
            return
        topic = _topic(member)
        writer = TopicWriter(self._settings, topic, self._ids.get(topic, {}))
        lines = self._archive.lines(member)
        if self._lost is Lost.KAFKA and topic in MIRRORED:
            newest = NewestCatalog(self._rows, topic, self._codec(topic))
            writer.write(newest.lines(lines))
            self._tell_unknown(topic, newest.unknown)
        elif self._lost is Lost.KAFKA and topic == WEBHOOK_DELIVERIES:
            deliveries = OpenDeliveries(self._rows, self._codec(topic))
            writer.write(deliveries.lines(lines))
        else:
            writer.write(lines)

    def _forget_deliveries(self) -> None:
        if any(_topic(member) == WEBHOOK_DELIVERIES for member in self._members()):
            OpenDeliveries(self._rows, self._codec(WEBHOOK_DELIVERIES)).forget()

    def _codec(self, topic: str) -> Codec[Any]:
        """Decodes by the backup's schemas, and encodes with this registry's id."""
        texts = self._manifest.schemas.get(topic, {})
        own = Registry(self._settings, self._settings).schema_id(topic)
        return codec(topic, schema_id=own, fetch_schema=lambda schema_id: texts[str(schema_id)])

    def _tell_unknown(self, topic: str, keys: list[str]) -> None:
        """Name what is newer than the backup, and whose tokens and settings are therefore lost."""
        if not keys:
            return
        named = ", ".join(sorted(keys)[:_NAMED]) + (", ..." if len(keys) > _NAMED else "")
        self._tell(f"{topic}: {len(keys)} newer than the backup, taken from ClickHouse: {named}")
        if topic == MIRRORED[0]:
            self._tell("their tokens can't be known: PUT these channels again, with access_token")

    def _set_positions(self) -> None:
        with TopicReader(self._settings) as reader:
            tell_from(reader, self._settings, self._manifest.told_until)


def _topic(member: Member) -> str:
    return member.name.removeprefix(TOPIC_FOLDER).removesuffix(".ndjson")


class _Progress:
    """Which parts of which archive are written to which installation, in a file beside the archive.

    Attributes:
        has_begun: whether an earlier run of the same restore may have written something.
        done: the parts that are written.
    """

    def __init__(self, path: Path, restore_id: str) -> None:
        self._path = path
        self._id = restore_id
        self.has_begun = False
        self.done: set[str] = set()
        try:
            held: dict[str, Any] = orjson.loads(path.read_bytes())
        except (OSError, ValueError):
            return
        if held.get("restore") == restore_id:
            self.has_begun = True
            self.done = set(held.get("done", ()))

    def begin(self) -> None:
        """Store that this restore writes from now on.

        Raises:
            BackupError: the file can't be written.
        """
        self.has_begun = True
        self._store()

    def note(self, name: str) -> None:
        """Store that a part is written.

        Raises:
            BackupError: the file can't be written.
        """
        self.done.add(name)
        self._store()

    def _store(self) -> None:
        try:
            with NewFile(self._path) as new:
                new.stream.write(orjson.dumps({"restore": self._id, "done": sorted(self.done)}))
                new.replace()
        except OSError as error:
            raise BackupError(f"{self._path}, which notes the progress, can't be written: {error.strerror}") from None

    def end(self) -> None:
        """Remove the file: all parts are written."""
        self._path.unlink(missing_ok=True)
