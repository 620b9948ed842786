"""The nouns of the aggregator: one batch, and the effects that follow from a batch. Pure.

messages -> Batch (set_aside.py) -> states it touches (touched.py, filling.py) -> fold (fold.py)
         -> Effects (emit.py) -> ClickHouse and topics (writing.py)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from schemas.events import CatalogChannel, CatalogPost, DeadLetter
from services.aggregator.reading import Message, RawReading
from services.aggregator.rows import Row, Table
from services.aggregator.state import Key, Listing

# The most catalog writes in one batch: a deleted channel touches every post that it ever had.
CATALOG_WRITES_PER_BATCH = 500


@dataclass(frozen=True, slots=True)
class CatalogWrite:
    """One message of a catalog topic.

    Attributes:
        id: the id of the post or channel.
        event: the decoded message; None for a tombstone.
        is_post: True for the topic of posts, False for the topic of channels.
        updated_at: the broker's time of the message, ms. Used for tombstones only: an event carries its own time.
        replaced: earlier messages of the same post or channel in the batch, oldest first. They have no effect of their
            own. But an owner that died may have stored a part of theirs, so whatever they touch is computed anew.
    """

    workspace_id: str
    id: str
    event: CatalogChannel | CatalogPost | None
    is_post: bool
    updated_at: int
    replaced: tuple[CatalogWrite, ...] = ()


@dataclass(slots=True)
class Batch:
    """Messages and keys that a partition folds together.

    Attributes:
        raw: decoded raw events of this partition's tenants, in offset order.
        catalog: catalog writes, at most one for each post and channel.
        dead: dead letters of messages that can't be used.
        misplaced: raw messages whose tenant belongs to another partition, each with the number of that partition.
        expired: channels whose window totals are emitted again, because the stored totals are no longer valid.
        reemitted: posts whose totals are emitted again, although the batch does not change these posts.
    """

    raw: list[RawReading] = field(default_factory=list)
    catalog: list[CatalogWrite] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    misplaced: list[tuple[Message, int]] = field(default_factory=list)
    expired: list[Key] = field(default_factory=list)
    reemitted: list[Key] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Related:
    """States that a batch touches although none of its messages names them, read from ClickHouse.

    Attributes:
        flipped_targets: listed targets of the channels of `touched.channels_flipped`.
        listings: every listing in the mirrored catalog of each target of `touched.targets_let_go`.
        edge: targets of `touched.targets_at_the_edge`.
    """

    flipped_targets: Sequence[Key] = ()
    listings: Mapping[Key, Sequence[Listing]] = field(default_factory=dict)
    edge: Sequence[Key] = ()


Outgoing = tuple[str, bytes, Row | None]
"""One message to publish: topic, key, and the fields of a value in the schema's order; None for a tombstone."""


Inserts = dict[Table, list[Row]]
"""Rows by table."""


@dataclass(slots=True)
class Effects:
    """All rows and messages that follow from a batch.

    Attributes:
        inserts: rows by table.
        metrics: the figures of single answers, for the topics `metrics.*`.
        rollups: current totals, for the topics `rollups.*`; published only once the inserts are confirmed.
    """

    inserts: Inserts = field(default_factory=dict)
    metrics: list[Outgoing] = field(default_factory=list)
    rollups: list[Outgoing] = field(default_factory=list)

    def insert(self, table: Table, row: Row) -> None:
        """Add one row to the rows of a table."""
        self.inserts.setdefault(table, []).append(row)


def newest_writes(writes: Sequence[CatalogWrite]) -> list[CatalogWrite]:
    """The last write of each post and channel, in order, with the earlier ones that it replaces."""
    found: dict[tuple[bool, str, str], list[CatalogWrite]] = {}
    for write in writes:
        at = (write.is_post, write.workspace_id, write.id)
        found[at] = [*found.pop(at, ()), write]
    return [
        replace(write, replaced=(*write.replaced, *earlier)) if earlier else write for *earlier, write in found.values()
    ]


def halves(batch: Batch) -> list[Batch]:
    """Split a batch into smaller batches, the first of which gets the dead letters and misplaced messages.

    Returns:
        The smaller batches; [] for a batch of a single event, write or key.
    """
    names = ("catalog", "raw", "expired", "reemitted")
    filled = [name for name in names if getattr(batch, name)]
    if len(filled) > 1:
        parts = [Batch(**{name: getattr(batch, name)}) for name in filled]
    elif filled and len(items := getattr(batch, filled[0])) > 1:
        middle = len(items) // 2
        parts = [Batch(**{filled[0]: items[:middle]}), Batch(**{filled[0]: items[middle:]})]
    else:
        return []
    parts[0].dead, parts[0].misplaced = batch.dead, batch.misplaced
    return parts
