"""The order in which a workspace is deleted for good, and the proof that it is.

1. That the workspace is erased is noted, so that no rebuild and no audit looks for its events any more.
2. Its keys, webhooks, tokens, posts and channels get tombstones: nobody polls for it, tells it or shows it any more.
3. The aggregator folds these, and what was polled meanwhile. Then the rows are removed, and what is left in the topics,
   and the aggregator forgets what its memory holds.
4. Everything is counted again. What came meanwhile, from a call that was under way, is removed as well.

Guarantee: each step may be repeated, so a deletion that was stopped goes on when it is asked for again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from schemas.topic_names import CHANNELS, POSTS, RAW
from services.aggregator import erased
from services.aggregator.audit.run import AuditSettings
from services.aggregator.backup.archive import BackupError
from services.aggregator.backup.raw_rows import RawRows
from services.aggregator.erase.tables import TABLES, WorkspaceTables
from services.aggregator.erase.topics import WorkspaceTopics, compacted
from services.aggregator.rebuild_runs import RUNS_QUERY, UNCLAIMED_QUERY, is_run_alive, unfinished_rebuild
from services.aggregator.rows import REBUILD_PROGRESS
from services.aggregator.topic_reader import TopicReader
from services.runtime.clock import Clock
from services.runtime.kafka import partition_of
from services.runtime.wording import counted

_POLL_SECONDS: Final = 0.5
# A poll that was under way may last as long; what it brings is removed by another round.
_QUIET_SECONDS: Final = 5.0
_ROUNDS: Final = 6


@dataclass(slots=True)
class Proof:
    """What was removed of a workspace, and what is left.

    Attributes:
        erased_at: ms; events that topics took before count no more.
        topics: by compacted topic, how many keys are left; 0 of each where all is gone.
        tables: by table, how many rows are left.
        kept_until: by topic with a retention, until when (ms) it may hold messages of the workspace.
        removed_keys, removed_rows: what this run removed.
    """

    workspace_id: str
    erased_at: int
    topics: dict[str, int] = field(default_factory=dict)
    tables: dict[str, int] = field(default_factory=dict)
    kept_until: dict[str, int] = field(default_factory=dict)
    removed_keys: int = 0
    removed_rows: int = 0

    @property
    def left(self) -> int:
        """How many keys and rows are left."""
        return sum(self.topics.values()) + sum(self.tables.values())


def erase(
    settings: AuditSettings, workspace_id: str, clock: Clock, wait_seconds: float, show: Callable[[str], None]
) -> Proof:
    """Delete a workspace for good, or go on with a deletion that was stopped.

    Args:
        wait_seconds: how long the aggregator may take to fold the tombstones.
        show: is told the progress, as lines.

    Raises:
        BackupError: ClickHouse or Kafka refuses something, a rebuild runs, or the aggregator did not follow in time;
            asking again goes on from there.
        TopicUnreadable: Kafka can't be read.
    """
    rows = RawRows(settings)
    try:
        with TopicReader(settings) as reader, TopicReader(settings, is_committed=False) as raw_reader:
            return _Erasure(settings, workspace_id, clock, rows, reader, raw_reader, show).run(wait_seconds)
    finally:
        rows.close()


class _Erasure:
    def __init__(
        self, settings: AuditSettings, workspace_id: str, clock: Clock, rows: RawRows, reader: TopicReader,
        raw_reader: TopicReader, show: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._settings = settings
        self._workspace_id = workspace_id
        self._clock = clock
        self._rows = rows
        self._reader = reader
        self._raw_reader = raw_reader
        self._show = show
        self._topics = WorkspaceTopics(settings, reader, workspace_id)
        self._tables = WorkspaceTables(rows, workspace_id)
        self._proof = Proof(workspace_id, clock.now())

    def run(self, wait_seconds: float) -> Proof:
        self._require_no_rebuild()
        proof = self._proof
        for number in range(_ROUNDS):
            proof.erased_at = self._clock.now()
            self._rows.insert_rows(*REBUILD_PROGRESS, [erased.note(self._workspace_id, proof.erased_at)])
            self._erase_topics()
            self._wait_for_aggregator(wait_seconds)
            self._erase_tables()
            # The aggregator told of what it folded: figures that it published for the last time.
            self._erase_topics()
            if number == 0:
                self._be_quiet()
            self._wait_until_forgotten(wait_seconds)
            self._count()
            self._require_no_rebuild()
            if not proof.left:
                break
            self._show(f"{counted(proof.left, 'item')} came meanwhile")
        proof.kept_until = self._topics.kept_until(self._clock.now())
        return proof

    def _require_no_rebuild(self) -> None:
        """A rebuild reads what is to be deleted, from its first look at the topics on, and may write it again."""
        table, runs = self._rows.query(UNCLAIMED_QUERY, {}), self._rows.query(RUNS_QUERY, {})
        if is_run_alive(runs) or unfinished_rebuild(table, runs) is not None:
            raise BackupError(
                "a rebuild is under way, and reads what is to be deleted; wait for its end, or finish it, then run the "
                "command again"
            )

    def _erase_topics(self) -> None:
        for spec in compacted():
            count = self._topics.erase(spec, self._clock.now())
            self._proof.removed_keys += count
            if count:
                self._show(f"{spec.name}: {counted(count, 'tombstone')}")

    def _erase_tables(self) -> None:
        for table in TABLES:
            count = self._tables.erase(table)
            self._proof.removed_rows += count
            if count:
                self._show(f"{table}: {counted(count, 'row')} removed")

    def _wait_for_aggregator(self, seconds: float) -> None:
        """Wait until the aggregator has taken what the workspace's partition holds now."""
        partition = partition_of(self._workspace_id, self._settings.topic_partitions)
        group = self._settings.aggregator_group
        wanted = []
        for name, own, reader in (
            (CHANNELS, f"{group}-catalog", self._reader),
            (POSTS, f"{group}-catalog", self._reader),
            (RAW, group, self._raw_reader),
        ):
            topic = self._settings.topic(name)
            wanted.append((topic, own, reader, reader.bounds(topic, partition)[1]))
        deadline = time.monotonic() + seconds
        while behind := [topic for topic, own, reader, end in wanted if reader.left(own, topic, partition, end)]:
            if time.monotonic() > deadline:
                raise BackupError(
                    f"the aggregator has not taken all of {', '.join(behind)} within {seconds:g} s; see that it runs, "
                    "then run the command again: it goes on from here"
                )
            self._show(f"waiting for the aggregator to take {', '.join(behind)}")
            time.sleep(_POLL_SECONDS)

    def _wait_until_forgotten(self, seconds: float) -> None:
        """Have the partition's owner drop the workspace from its memory; nothing brings it back, as no row is left."""
        asked_at = max(self._clock.now(), self._forget_row()[1] + 1)
        self._rows.insert_rows(*REBUILD_PROGRESS, [erased.request(self._workspace_id, asked_at)])
        deadline = time.monotonic() + seconds
        while not self._is_forgotten_since(asked_at):
            if time.monotonic() > deadline:
                raise BackupError(
                    f"the aggregator has not said within {seconds:g} s that its memory holds nothing more of the "
                    "workspace; see that it runs, in this version, and is not paused, then run the command again: it "
                    "goes on from here"
                )
            self._show("waiting for the aggregator to forget the workspace")
            time.sleep(_POLL_SECONDS)

    def _is_forgotten_since(self, asked_at: int) -> bool:
        # A replica that lacks this request may still show the answer of the request before.
        is_answered, at = self._forget_row()
        return is_answered and at > asked_at

    def _forget_row(self) -> tuple[bool, int]:
        """Whether the last request is answered, and its time, ms; False and 0 without a request."""
        found = self._rows.query(erased.LAST_REQUEST, {"place": erased.request(self._workspace_id, 0)[1]})
        return (bool(found[0][0]), int(found[0][1])) if found else (False, 0)

    def _be_quiet(self) -> None:
        """Let calls that were under way end, before anything is counted."""
        self._show("waiting for calls that were under way")
        time.sleep(_QUIET_SECONDS)

    def _count(self) -> None:
        self._wait_for_aggregator(_QUIET_SECONDS * 6)
        self._proof.topics = {spec.name: len(self._topics.held(spec)) for spec in compacted()}
        self._proof.tables = {table: self._tables.count(table) for table in TABLES}
