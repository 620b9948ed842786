"""Takes batches of messages into the store: what they bring and the positions behind them in one transaction.

Guarantee: each message has its effect once. A message that is not newer than what its key holds changes nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from types import MappingProxyType

import orjson

from schemas.keys import Reason
from services.query_api.store import layout, ordering, records
from services.query_api.store.files import Environment, StoreError, Transaction, is_of_a_key
from services.query_api.store.layout import FIGURES_AT, POST_AT, TABLES, TOPICS, WINDOW_AT, Damaged
from services.query_api.store.marks import Mark, unpacked
from services.query_api.store.messages import Decoder, Message, Refused, log_refused, messages
from services.runtime.brokers import Place, Record
from services.runtime.kafka import partition_of

INCOMPLETE = b"incomplete"
"""In `meta`: how many posts have figures without those of each target."""
# Of what single transactions wrote, for whoever keeps answers: a process that is further behind forgets all of them.
_RECENT_BYTES = 4 * 1024 * 1024
_PRUNED_AT_ONCE = 2_000


_NO_MARKS: Mapping[Place, Mark] = MappingProxyType({})


class Writer:
    """Writes one environment.

    Args:
        decoders: by topic.
        partitions: of each topic.
        refused: told topic and reason of each record that does not count.
        is_read: whether anybody reads the environment yet, and has to be told what changed.
    """

    def __init__(
        self,
        environment: Environment,
        decoders: Mapping[str, Decoder],
        partitions: int,
        refused: Callable[[str, Reason], None] = lambda _, __: None,
        *,
        is_read: bool = True,
    ) -> None:
        self._env = environment
        self._db = environment.databases
        self._decoders = decoders
        self._partitions = partitions
        self._refused = refused
        self._is_read = is_read
        self._recent: deque[tuple[int, int]] = deque()
        self._recent_bytes = 0
        with environment.writing() as txn:
            self._next = self._forget_recent(txn)

    def _forget_recent(self, txn: Transaction) -> int:
        """Begin a row of numbers of its own behind what an earlier writer wrote: nobody may take it for a whole one."""
        last = 0
        with txn.cursor(db=self._db[layout.RECENT]) as cursor:
            if cursor.last():
                last = layout.number_of(cursor.key())
        txn.drop(self._db[layout.RECENT], delete=False)
        txn.put(layout.number(last + 2), b"[]", db=self._db[layout.RECENT])
        return last + 3

    def positions(self) -> dict[Place, int]:
        """The next offset of each partition."""
        with self._env.reading() as txn:
            return {
                Place(TOPICS[topic_at], partition): layout.number_of(value)
                for key, value in txn.cursor(db=self._db[layout.POSITIONS])
                for topic_at, partition in (layout.place_of(key),)
            }

    def decoded(self, batch: Iterable[Record]) -> list[Message]:
        """The messages that count; see `messages`."""
        return messages(batch, self._decoders, self._partitions, self.refuse)

    def refuse(self, refused: Refused) -> None:
        """Note and count a record that does not count."""
        log_refused(refused)
        self._refused(refused.topic, Reason(refused.reason))

    def marks(self) -> dict[Place, Mark]:
        """The last message that was taken of each partition."""
        with self._env.reading() as txn:
            held = {}
            for key, value in txn.cursor(db=self._db[layout.META]):
                if key.startswith(layout.MARKED):
                    topic_at, partition = layout.place_of(key.removeprefix(layout.MARKED))
                    held[Place(TOPICS[topic_at], partition)] = unpacked(value)
            return held

    def take(
        self, messages: Sequence[Message], positions: Mapping[Place, int], marks: Mapping[Place, Mark] = _NO_MARKS
    ) -> None:
        """Take messages in, in one transaction with the positions behind them.

        Args:
            marks: by which messages the partitions' logs are known again.

        A message that can't be written is refused, and the others are taken in several transactions.

        Raises:
            StoreError: the positions were not taken; MapFullError: there is no room.
        """
        try:
            self._take(messages, positions, marks)
        except Exception as error:
            if not messages or not _is_of_a_message(error):
                raise
            if len(messages) == 1:
                self._refuse_message(messages[0], error)
                self.take([], positions, marks)
                return
            middle = len(messages) // 2
            self.take(messages[:middle], {})
            self.take(messages[middle:], positions, marks)

    def _refuse_message(self, message: Message, error: Exception) -> None:
        partition = partition_of(message.key.partition(b"/")[0].decode(), self._partitions)
        reason = Reason.MALFORMED_VALUE.value
        self.refuse(Refused(TOPICS[message.topic_at], partition, message.offset, reason, repr(error)))

    def _take(self, messages: Sequence[Message], positions: Mapping[Place, int], marks: Mapping[Place, Mark]) -> None:
        incomplete = 0
        touched: dict[tuple[int, bytes], bool] = {}
        with self._env.writing() as txn:
            for message in messages:
                change = self._put(txn, message)
                if change is not None:
                    incomplete += change
                    if self._is_read:
                        touched[(message.topic_at, message.key)] = not message.payload
            if incomplete:
                self._count_incomplete(txn, incomplete)
            for place, offset in positions.items():
                key = layout.place_key(TOPICS.index(place.topic), place.partition)
                txn.put(key, layout.number(offset), db=self._db[layout.POSITIONS])
            for place, mark in marks.items():
                key = layout.MARKED + layout.place_key(TOPICS.index(place.topic), place.partition)
                txn.put(key, mark.packed(), db=self._db[layout.META])
            kept = self._note_recent(txn, touched) if touched else None
        if kept is not None:
            self._next += 1
            self._recent, self._recent_bytes = kept

    def _put(self, txn: Transaction, message: Message) -> int | None:
        """Take one message; returns by how much more posts lack figures of targets, None where it changes nothing."""
        topic_at, key, offset, timestamp, payload, targets, published = message
        table = self._db[TABLES[topic_at]]
        stored = txn.get(key, db=table)
        held = None if stored is None else layout.unpack(key, stored)
        if held is not None and held.offset >= offset:
            return None
        incomplete = 0
        if topic_at == FIGURES_AT:
            before = b"" if held is None else held.payload
            if not payload and before and self._is_held(txn, key):
                # The post was made again since: its figures stand until the aggregator says new ones, which it does
                # once it has read so far.
                payload = before
            else:
                # Also where the figures are those of before: another post may have had the targets meanwhile.
                shown_before = (before and records.read_targets(before)) or ()
                self._put_targets(txn, key, shown_before, targets)
                gone, come = set(shown_before).difference(targets), set(targets).difference(shown_before)
                if gone or come:
                    published = records.published(self._payload(txn, POST_AT, key))
                    self._put_order(
                        txn,
                        ordering.target_entries(key, published, gone),
                        ordering.target_entries(key, published, come),
                    )
            incomplete = (payload == _INCOMPLETE) - (before == _INCOMPLETE)
        elif topic_at == POST_AT:
            figures = self._payload(txn, FIGURES_AT, key)
            shown = (figures and records.read_targets(figures)) or ()
            published_before = None if held is None else records.published(held.payload)
            self._put_order(
                txn, ordering.entries(key, published_before, shown), ordering.entries(key, published, shown)
            )
        if is_listed(topic_at, key):
            workspace, _, rest = key.partition(b"/")
            changes = self._db[layout.CHANGES]
            if held is not None:
                txn.delete(layout.change_key(workspace, topic_at, held.offset), db=changes)
            txn.put(layout.change_key(workspace, topic_at, offset), rest, db=changes)
        if not payload:
            txn.put(layout.gone_key(timestamp, topic_at, key), layout.number(offset), db=self._db[layout.GONE])
        txn.put(key, layout.pack(key, offset, payload), db=table)
        return incomplete

    def _is_held(self, txn: Transaction, key: bytes) -> bool:
        return bool(self._payload(txn, POST_AT, key))

    def _payload(self, txn: Transaction, topic_at: int, key: bytes) -> bytes:
        """What a message key holds; empty where that is nothing."""
        return layout.payload_of(key, txn.get(key, db=self._db[TABLES[topic_at]]))

    def _put_order(self, txn: Transaction, had: Set[ordering.Entry], has: Set[ordering.Entry]) -> None:
        """Let a post and its targets be found by their time."""
        order = self._db[layout.ORDER]
        for at, value in had - has:
            txn.delete(at, value, db=order)
        for at, value in has - had:
            txn.put(at, value, db=order)

    def _put_targets(self, txn: Transaction, key: bytes, before: Iterable[str], after: Sequence[str]) -> None:
        """Let the targets of a post be found by their ids."""
        targets = self._db[layout.TARGETS]
        workspace, _, post_id = key.partition(b"/")
        known = frozenset(before)
        for target_id in known.difference(after):
            at = b"%b/%b" % (workspace, target_id.encode())
            # Another post may have taken it since.
            if txn.get(at, db=targets) == post_id:
                txn.delete(at, db=targets)
        for target_id in after:
            at = b"%b/%b" % (workspace, target_id.encode())
            # A page that nothing is put into is neither copied nor written: most figures are of the targets of before.
            if target_id not in known or txn.get(at, db=targets) != post_id:
                txn.put(at, post_id, db=targets)

    def _count_incomplete(self, txn: Transaction, more: int) -> None:
        meta = self._db[layout.META]
        held = txn.get(INCOMPLETE, db=meta)
        txn.put(INCOMPLETE, layout.number((0 if held is None else layout.number_of(held)) + more), db=meta)

    def _note_recent(
        self, txn: Transaction, touched: Mapping[tuple[int, bytes], bool]
    ) -> tuple[deque[tuple[int, int]], int]:
        """Note what this transaction wrote, and let go of what the oldest ones did."""
        recent = self._db[layout.RECENT]
        told = orjson.dumps([[topic_at, key.decode(), is_gone] for (topic_at, key), is_gone in touched.items()])
        txn.put(layout.number(self._next), told, db=recent)
        kept = deque(self._recent)
        kept.append((self._next, len(told)))
        size = self._recent_bytes + len(told)
        while size > _RECENT_BYTES and len(kept) > 1:
            oldest, oldest_size = kept.popleft()
            size -= oldest_size
            txn.delete(layout.number(oldest), db=recent)
        return kept, size

    def prune(self, now: int) -> int:
        """Let go of tombstones that are older than cursors may be, some at a time; returns how many were.

        Args:
            now: ms.
        """
        until = now - layout.TOMBSTONE_MILLIS
        pruned = 0
        with self._env.writing() as txn, txn.cursor(db=self._db[layout.GONE]) as cursor:
            while pruned < _PRUNED_AT_ONCE and cursor.first():
                instant, topic_at, key = layout.gone_at(cursor.key())
                if instant >= until:
                    break
                self._prune(txn, topic_at, key, layout.number_of(cursor.value()))
                cursor.delete()
                pruned += 1
        return pruned

    def _prune(self, txn: Transaction, topic_at: int, key: bytes, offset: int) -> None:
        table = self._db[TABLES[topic_at]]
        stored = txn.get(key, db=table)
        held = None if stored is None else layout.unpack(key, stored)
        if held is None or held.payload or held.offset != offset:
            return
        txn.delete(key, db=table)
        txn.delete(layout.change_key(key.partition(b"/")[0], topic_at, offset), db=self._db[layout.CHANGES])


def _is_of_a_message(error: Exception) -> bool:
    """Whether an error may be the fault of what is written, and not of the disk or of what lies there."""
    return is_of_a_key(error) or not isinstance(error, (StoreError, Damaged, OSError, MemoryError))


_INCOMPLETE = b"null"
_LISTED_WINDOW = f"/{layout.LONGEST_RANGE}".encode()


def is_listed(topic_at: int, key: bytes) -> bool:
    """Whether a message stands in the order of changes; of a channel's windows, which come together, one does."""
    return topic_at != WINDOW_AT or key.endswith(_LISTED_WINDOW)
