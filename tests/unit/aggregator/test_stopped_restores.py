"""A restore that is stopped anywhere goes on when it is given again, and writes what an undisturbed one writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, cast

import pytest

from services.aggregator.audit.run import AuditSettings
from services.aggregator.backup import restore as restoring
from services.aggregator.backup.archive import FORMAT, BackupError, Manifest, Reader, Writer
from services.aggregator.backup.restore import Lost, restore

TOPICS = ("catalog.channels", "notifier.deliveries")
RAW = ("raw_events/000001.parquet", "raw_events/000002.parquet")


@dataclass
class Installation:
    """What is written, as sets, since writing twice does no harm; the run is stopped at one of the moments.

    Attributes:
        stops_at: the number of the moment, from 0; None for a run that is not stopped.
        moments: how many there were in this run.
    """

    stops_at: int | None = None
    moments: int = 0
    raw: set[bytes] = field(default_factory=set)
    topics: dict[str, set[bytes]] = field(default_factory=lambda: {topic: set() for topic in TOPICS})
    is_relabelled: bool = False
    open_deliveries: int = 1
    positions_set: bool = False

    def moment(self) -> None:
        self.moments += 1
        if self.moments - 1 == self.stops_at:
            raise KeyboardInterrupt

    # In place of ClickHouse.
    def migration(self) -> int:
        return 1

    def identity(self) -> str:
        return "table"

    def count(self) -> int:
        return len(self.raw)

    def insert(self, page: bytes) -> None:
        self.moment()
        self.raw.add(page)
        self.moment()

    def relabel(self) -> None:
        self.moment()
        self.is_relabelled = True
        self.moment()

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "backup"
    with Writer(path) as writer:
        for topic in TOPICS:
            writer.add(f"topics/{topic}.ndjson", [(f"{topic} {number}\n".encode(), 1) for number in range(3)])
        for name in RAW:
            writer.add(name, [(name.encode(), 1)], is_compressed=True)
        writer.finish(Manifest(FORMAT, "0.1.0", "2026-11-30T00:00:00.000Z", 4, 1, {}, list(writer.members)))
    return path


@pytest.fixture
def run(archive: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Installation, Lost], None]:
    held: list[Installation] = []

    class Topics:
        """Reads and writes topics of the installation."""

        def __init__(self, *arguments: Any) -> None:
            self._topic = str(arguments[1]) if len(arguments) > 1 else ""

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            """Nothing is open."""

        def partitions(self, _: str) -> list[int]:
            return [0]

        def bounds(self, topic: str, _: int) -> tuple[int, int]:
            return 0, len(held[0].topics[topic])

        def write(self, lines: Iterable[bytes]) -> None:
            held[0].moment()
            for line in lines:
                held[0].topics[self._topic].add(line)
                held[0].moment()

    class Newest:
        """Takes the backup's lines as they are."""

        unknown: tuple[str, ...] = ()

        def __init__(self, *_: object) -> None:
            """Needs nothing."""

        def lines(self, lines: Iterable[bytes]) -> Iterator[bytes]:
            return iter(lines)

    class Deliveries(Newest):
        """The log has one open delivery until it is forgotten."""

        def lines(self, lines: Iterable[bytes]) -> Iterator[bytes]:
            yield from lines if not held[0].open_deliveries else [b"open by the log"]

        def forget(self) -> None:
            held[0].moment()
            held[0].open_deliveries = 0
            held[0].moment()

    def set_positions(_: object) -> None:
        held[0].moment()
        held[0].positions_set = True
        held[0].moment()

    def own_ids(_: object) -> dict[str, dict[int, int]]:
        held[0].moment()
        return {}

    class Settings:
        def topic(self, name: str) -> str:
            return name

    monkeypatch.setattr(restoring, "RawRows", lambda _: held[0])
    monkeypatch.setattr(restoring, "incarnation", lambda *_: "topics")
    monkeypatch.setattr(restoring, "TopicReader", Topics)
    monkeypatch.setattr(restoring, "TopicWriter", Topics)
    monkeypatch.setattr(restoring, "NewestCatalog", Newest)
    monkeypatch.setattr(restoring, "OpenDeliveries", Deliveries)
    monkeypatch.setattr(restoring._Restore, "_own_ids", own_ids)
    monkeypatch.setattr(restoring._Restore, "_codec", lambda *_: None)
    monkeypatch.setattr(restoring._Restore, "_set_positions", set_positions)
    note = restoring._Progress._store

    def store(progress: restoring._Progress) -> None:
        # Both before and after the note is on the disk.
        held[0].moment()
        note(progress)
        held[0].moment()

    monkeypatch.setattr(restoring._Progress, "_store", store)

    def restored(installation: Installation, lost: Lost) -> None:
        held[:] = [installation]
        installation.moments = 0
        settings = cast("AuditSettings", Settings())
        restore(settings, archive, is_forced=False, show=lambda _: None, lost=lost)

    return restored


def written(installation: Installation) -> tuple[Any, ...]:
    return (
        installation.raw, installation.topics, installation.is_relabelled, installation.open_deliveries,
        installation.positions_set,
    )  # fmt: skip


@pytest.mark.parametrize("lost", [Lost.EVERYTHING, Lost.KAFKA, Lost.CLICKHOUSE])
def test_a_restore_that_is_stopped_anywhere_goes_on(
    lost: Lost, run: Callable[[Installation, Lost], None], archive: Path
) -> None:
    whole = Installation()
    run(whole, lost)
    assert whole.moments > 8
    for moment in range(whole.moments):
        stopped = Installation(stops_at=moment)
        with pytest.raises(KeyboardInterrupt):
            run(stopped, lost)
        stopped.stops_at = None
        run(stopped, lost)
        assert written(stopped) == written(whole), f"stopped at {moment} of {whole.moments}"
        assert list(archive.parent.iterdir()) == [archive]


def test_a_restore_that_is_stopped_again_and_again_comes_to_its_end(run: Callable[[Installation, Lost], None]) -> None:
    whole, often = Installation(), Installation(stops_at=0)
    run(whole, Lost.EVERYTHING)
    for _ in range(1_000):
        try:
            run(often, Lost.EVERYTHING)
            break
        except KeyboardInterrupt:
            assert often.stops_at is not None
            # One moment further than the time before.
            often.stops_at += 1
    assert written(often) == written(whole)


def test_an_installation_that_held_data_before_is_still_refused(
    run: Callable[[Installation, Lost], None], archive: Path
) -> None:
    for full in (Installation(raw={b"row"}), Installation(topics={TOPICS[0]: {b"message"}, TOPICS[1]: set()})):
        for _ in range(2):
            with pytest.raises(BackupError, match="is not empty"):
                run(full, Lost.EVERYTHING)
            assert list(archive.parent.iterdir()) == [archive], "nothing is noted of a restore that was refused"


def test_what_another_archive_began_is_not_gone_on_with(
    run: Callable[[Installation, Lost], None], archive: Path
) -> None:
    stopped = Installation(stops_at=6)
    with pytest.raises(KeyboardInterrupt):
        run(stopped, Lost.EVERYTHING)
    stopped.stops_at = None
    with Reader(archive) as reader:
        manifest = reader.manifest
    archive.unlink()
    with Writer(archive) as writer:
        for member in manifest.members:
            writer.add(member.name, [(b"other\n", 1)])
        writer.finish(Manifest(FORMAT, "0.1.0", "2026-12-01T00:00:00.000Z", 4, 1, {}, list(writer.members)))
    with pytest.raises(BackupError, match="is not empty"):
        run(stopped, Lost.EVERYTHING)
