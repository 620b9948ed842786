"""The order of changes: mirrors that read it at any replica, in any steps, hold in the end what the store says.

Replicas read the topics of one partition in different interleavings, are made anew from what compaction and retention
left, and each page of a mirror may come from another one, with other types.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.topic_names import ACCOUNT_EVENTS, CHANNEL_ROLLUPS, CHANNELS, POST_ROLLUPS, POSTS
from services.query_api.connections import KEPT
from services.query_api.store import layout
from services.query_api.store.changes import (
    ACCOUNT,
    ALL_READ,
    BEGINNING,
    CHANNEL,
    NEVER,
    POST,
    TYPES,
    Behind,
    Changed,
    Cursor,
    changes_since,
    end_of,
)
from services.query_api.store.files import Environment
from services.query_api.store.layout import CHANNEL_AT, FIGURES_AT, POST_AT, TOPICS
from services.query_api.store.reading import View
from services.query_api.store.writing import Writer
from services.runtime.brokers import Place, Record
from services.runtime.clock import MILLIS_PER_DAY
from services.runtime.kafka import partition_of
from tests.support import told
from tests.support.manual_clock import START

HERE = partition_of("w1", told.PARTITIONS)
IDS = ("a", "b", "c")


KEPT_MILLIS = KEPT // timedelta(milliseconds=1)


class Topics:
    """One partition of each topic, and whether compaction or retention took a message."""

    def __init__(self) -> None:
        self.logs: dict[str, list[tuple[bytes, bytes | None] | None]] = {topic: [] for topic in TOPICS}
        self.now = START
        self._written: list[int] = []

    @property
    def since(self) -> int:
        """When the oldest account event happened that is still shown."""
        return self.now - KEPT_MILLIS

    def put(self, topic: str, key: str, value: bytes | None) -> None:
        self.logs[topic].append((key.encode(), value))
        if topic == ACCOUNT_EVENTS:
            self._written.append(self.now)

    def compact(self) -> None:
        events = self.logs[ACCOUNT_EVENTS]
        events[:] = [entry if at >= self.since else None for entry, at in zip(events, self._written, strict=True)]
        for topic, log in self.logs.items():
            if topic != ACCOUNT_EVENTS:
                last = {entry[0]: number for number, entry in enumerate(log) if entry is not None}
                self.logs[topic] = [
                    entry if entry is not None and last[entry[0]] == number else None
                    for number, entry in enumerate(log)
                ]


class Replica:
    """A store that reads the topics step by step."""

    def __init__(self, folder: str) -> None:
        self._folder = tempfile.TemporaryDirectory(dir=folder)
        self.environment = Environment(Path(self._folder.name) / "posts-1", is_durable=False, map_bytes=1 << 24)
        self.writer = Writer(self.environment, told.decoders(), told.PARTITIONS)
        self.at = dict.fromkeys(TOPICS, 0)

    def read(self, topics: Topics, topic: str, most: int) -> None:
        first, log = self.at[topic], topics.logs[topic]
        end = min(len(log), first + most)
        found = [
            Record(topic, HERE, offset, START, *entry)
            for offset, entry in enumerate(log[first:end], first)
            if entry is not None
        ]
        self.writer.take(self.writer.decoded(found), {Place(topic, HERE): end})
        self.at[topic] = end

    def read_all(self, topics: Topics) -> None:
        for topic in TOPICS:
            self.read(topics, topic, len(topics.logs[topic]))

    @contextmanager
    def view(self) -> Iterator[View]:
        with self.environment.reading() as txn:
            yield View(self.environment, txn, told.PARTITIONS)

    def close(self) -> None:
        self.environment.close()
        self._folder.cleanup()


State = tuple[Any, tuple[int, ...]]


def state_of(view: View, thing: Changed, since: int = 0) -> State:
    """What is shown of a thing, None where it is not there, and the offsets of the messages that decided it."""
    key = layout.item_key("w1", thing.id)
    if thing.type == POST:
        return view.post("w1", thing.id), tuple(
            -1 if (held := view.held(at, key)) is None else held.offset for at in (POST_AT, FIGURES_AT)
        )
    if thing.type == CHANNEL:
        held = view.held(CHANNEL_AT, key)
        return view.channel("w1", thing.id), (-1 if held is None else held.offset,)
    return view.account("w1", thing.id, since), ()


class Mirror:
    """Whoever applies changes to an empty map."""

    def __init__(self, cursor: Cursor = BEGINNING) -> None:
        self.cursor = cursor
        self.held: dict[Changed, Any] = {}
        self.versions: dict[Changed, tuple[int, ...]] = {}

    def page(
        self, replica: Replica, limit: int, most: int = 1_000, *, types: Collection[str] = TYPES, since: int = 0
    ) -> bool:
        """Apply a page, or only so many of its changes, as whoever is cut off within a stream."""
        with replica.view() as view:
            try:
                found = changes_since(view, "w1", self.cursor, limit, types)
            except Behind:
                return False
            assert len(found.entries) <= limit
            assert {entry.type for entry in found.entries} <= set(types)
            for entry in found.entries[:most]:
                state, version = state_of(view, entry, since)
                before = self.versions.get(entry, version)
                assert all(now >= then for now, then in zip(version, before, strict=True)), "nothing older comes later"
                self.versions[entry] = version
                if state is None:
                    self.held.pop(entry, None)
                else:
                    self.held[entry] = state
            self.cursor = found.cursor if most >= len(found.entries) else found.cursors[most - 1]
        return found.has_more

    def forget(self, since: int) -> None:
        """Take out what the documents say: account events of more than 30 days ago."""
        self.held = {
            entry: state for entry, state in self.held.items() if entry.type != ACCOUNT or state.occurred_at >= since
        }


def everything(replica: Replica, since: int = 0) -> dict[Changed, Any]:
    with replica.view() as view:
        things = [Changed(kind, id_) for kind in (POST, CHANNEL, ACCOUNT) for id_ in IDS]
        return {thing: state for thing in things if (state := state_of(view, thing, since)[0]) is not None}


@st.composite
def writes(draw: st.DrawFn) -> tuple[str, str, int | None]:
    """A write of a topic: id, and a figure, None for a tombstone."""
    topic = draw(st.sampled_from(TOPICS))
    may_be_gone = topic != ACCOUNT_EVENTS
    return topic, draw(st.sampled_from(IDS)), draw(st.integers(0, 9) | st.none() if may_be_gone else st.integers(0, 9))


def apply(topics: Topics, write: tuple[str, str, int | None]) -> None:
    topic, id_, number = write
    key = f"w1/{id_}/28d" if topic == CHANNEL_ROLLUPS else f"w1/{id_}"
    if number is None:
        topics.put(topic, key, None)
    elif topic == CHANNELS:
        topics.put(topic, key, told.channel("w1", id_, username=str(number)))
    elif topic == POSTS:
        topics.put(topic, key, told.post("w1", id_, [told.target(f"t-{id_}", permalink=str(number))]))
    elif topic == POST_ROLLUPS:
        topics.put(topic, key, told.figures("w1", id_, {f"t-{id_}": told.values(likes=number)}))
    elif topic == CHANNEL_ROLLUPS:
        topics.put(topic, key, told.window("w1", id_, likes=number))
    else:
        topics.put(topic, key, told.account("w1", id_, f"account.{number}", at=topics.now))


STEPS = st.one_of(
    st.tuples(st.just("write"), writes()),
    st.tuples(st.just("read"), st.integers(0, 1), st.sampled_from(TOPICS), st.integers(1, 3)),
    st.tuples(
        st.just("page"),
        st.integers(0, 1),
        st.integers(0, 1),
        st.integers(1, 4),
        st.integers(1, 4),
        st.just(TYPES) | st.lists(st.sampled_from(TYPES), min_size=1, unique=True),
    ),
    st.tuples(st.just("anew"), st.integers(0, 1)),
    st.tuples(st.just("late"), st.integers(0, 1)),
    st.tuples(st.just("days"), st.sampled_from([1, 14, 31])),
)


@settings(deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_mirrors_end_with_what_the_store_says(steps: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        topics, mirrors = Topics(), [Mirror(), Mirror()]
        replicas = [Replica(folder), Replica(folder)]
        for step in steps:
            match step:
                case ("write", write):
                    apply(topics, write)
                case ("read", which, topic, most):
                    replicas[which].read(topics, topic, most)
                case ("page", mirror, which, limit, most, types):
                    mirrors[mirror].page(replicas[which], limit, most, types=types, since=topics.since)
                case ("days", days):
                    topics.now += days * MILLIS_PER_DAY
                case ("anew", which):
                    topics.compact()
                    replicas[which].close()
                    replicas[which] = Replica(folder)
                case ("late", mirror):
                    mirrors[mirror] = Mirror()
        for id_ in IDS:
            # Nothing flows any more: the aggregator has followed what the catalog says last.
            last = next(
                (e for e in reversed(topics.logs[POSTS]) if e is not None and e[0] == f"w1/{id_}".encode()), None
            )
            apply(topics, (POST_ROLLUPS, id_, 7 if last is not None and last[1] is not None else None))
        for replica in replicas:
            replica.read_all(topics)
        expected = everything(replicas[0], topics.since)
        assert everything(replicas[1], topics.since) == expected
        for mirror in mirrors:
            turn = 0
            while mirror.page(replicas[turn % 2], 1 + turn % 3, since=topics.since):
                turn += 1
            mirror.forget(topics.since)
            assert mirror.held == expected
        for replica in replicas:
            replica.close()


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[Replica]:
    made = Replica(str(tmp_path))
    yield made
    made.close()


def filled(replica: Replica) -> Topics:
    topics = Topics()
    for id_ in IDS:
        for topic in TOPICS:
            apply(topics, (topic, id_, 1))
    replica.read_all(topics)
    return topics


def test_a_thing_comes_once_though_two_topics_tell_of_it(replica: Replica) -> None:
    filled(replica)
    with replica.view() as view:
        found = changes_since(view, "w1", BEGINNING, 100)
        assert sorted(found.entries) == sorted(Changed(kind, id_) for kind in (POST, CHANNEL, ACCOUNT) for id_ in IDS)
        assert not found.has_more
        assert found.cursor == end_of(view, "w1")
        assert changes_since(view, "w1", found.cursor, 100).entries == ()
        assert changes_since(view, "w2", BEGINNING, 100).entries == (), "another workspace's"


def test_only_wanted_types_come(replica: Replica) -> None:
    filled(replica)
    with replica.view() as view:
        found = changes_since(view, "w1", BEGINNING, 100, {ACCOUNT})
        assert sorted(found.entries) == [Changed(ACCOUNT, id_) for id_ in IDS]
        assert (found.cursor.at, found.cursor.seen) == end_of(view, "w1")[:2]


@pytest.mark.parametrize("limit", [1, 2, 100])
@pytest.mark.parametrize("first", TYPES)
def test_whoever_adds_types_is_told_all_of_them(replica: Replica, first: str, limit: int) -> None:
    filled(replica)
    mirror = Mirror()
    mirror.page(replica, 2, types=(first,))
    while mirror.page(replica, limit, types=(first,)):
        pass
    assert {thing.type for thing in mirror.held} == {first}
    for types in ((first, CHANNEL), TYPES):
        while mirror.page(replica, limit, types=types):
            pass
        assert {thing.type for thing in mirror.held} == set(types)
    assert mirror.held == everything(replica)
    assert not mirror.page(replica, limit)
    assert mirror.cursor.left == ALL_READ
    with replica.view() as view:
        assert changes_since(view, "w1", mirror.cursor, 100).entries == ()


def test_whoever_adds_a_type_again_is_told_what_was_deleted_meanwhile(replica: Replica) -> None:
    topics, mirror = filled(replica), Mirror()
    mirror.page(replica, 100)
    apply(topics, (CHANNELS, "a", None))
    apply(topics, (CHANNELS, "b", 5))
    replica.read_all(topics)
    mirror.page(replica, 100, types=(POST,))
    assert Changed(CHANNEL, "a") in mirror.held
    mirror.page(replica, 100)
    assert mirror.held == everything(replica)
    assert Changed(CHANNEL, "a") not in mirror.held


def test_a_place_knows_since_when_types_are_left_out() -> None:
    narrow = Cursor((1,) * len(TOPICS), (1,) * len(TOPICS)).reading((POST, ACCOUNT), 20_000)
    assert narrow.left == (0, 20_000, 0)
    assert narrow.reading((POST,), 20_050).left == (0, 20_000, 20_050), "each since its own day"
    assert narrow.reading((POST, ACCOUNT), 20_100) is narrow
    assert [narrow.left_since(types) for types in ((POST, ACCOUNT), (CHANNEL,), TYPES)] == [0, 20_000, 20_000]
    assert narrow.reading(TYPES).at == (0, 1, 0, 1, 1), "offsets of topics that tell of channels begin again"
    assert BEGINNING.reading((POST,), 20_000).left == (0, NEVER, NEVER)
    assert BEGINNING.left_since(TYPES) == 0


def test_an_old_account_event_is_nowhere(replica: Replica, tmp_path: Path) -> None:
    """Whatever a replica happens to hold: the topic lets go of events after 30 days."""
    topics, mirror = filled(replica), Mirror()
    mirror.page(replica, 100, since=topics.since)
    topics.now += KEPT_MILLIS
    assert everything(replica, topics.since) == mirror.held, "30 days"
    topics.now += 1
    topics.compact()
    anew = Replica(str(tmp_path))
    anew.read_all(topics)
    assert everything(replica, topics.since) == everything(anew, topics.since)
    assert not any(thing.type == ACCOUNT for thing in everything(replica, topics.since))
    for one in (replica, anew):
        late = Mirror()
        while late.page(one, 100, since=topics.since):
            pass
        assert late.held == everything(anew, topics.since)
    mirror.forget(topics.since)
    assert mirror.held == everything(anew, topics.since)
    anew.close()


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_whoever_was_told_some_of_a_page_goes_on_behind_them(replica: Replica, limit: int) -> None:
    filled(replica)
    with replica.view() as view:
        expected = changes_since(view, "w1", BEGINNING, 100).entries
        cursor, seen = BEGINNING, list[Changed]()
        while (found := changes_since(view, "w1", cursor, limit)).entries:
            seen.append(found.entries[0])
            cursor = found.cursors[0]
            assert len(seen) < 20
    assert set(seen) == set(expected)


def test_a_deleted_channel_takes_its_account_with_it(replica: Replica) -> None:
    topics = filled(replica)
    with replica.view() as view:
        cursor = end_of(view, "w1")
    apply(topics, (CHANNELS, "a", None))
    replica.read_all(topics)
    with replica.view() as view:
        found = changes_since(view, "w1", cursor, 100)
        assert set(found.entries) == {Changed(CHANNEL, "a"), Changed(ACCOUNT, "a")}
        assert view.account("w1", "a", 0) is None


def test_a_replica_that_is_behind_says_so(replica: Replica, tmp_path: Path) -> None:
    topics = filled(replica)
    with replica.view() as view:
        cursor = changes_since(view, "w1", BEGINNING, 1).cursor
    other = Replica(str(tmp_path))
    other.read(topics, POSTS, 1)
    with other.view() as view, pytest.raises(Behind):
        changes_since(view, "w1", cursor, 1)
    other.close()


def test_old_tombstones_go(replica: Replica) -> None:
    topics = filled(replica)
    apply(topics, (POSTS, "a", None))
    apply(topics, (POSTS, "b", None))
    replica.read_all(topics)
    apply(topics, (POST_ROLLUPS, "a", None))
    apply(topics, (POSTS, "b", 2))
    replica.read_all(topics)
    key = layout.item_key("w1", "a")
    assert replica.writer.prune(START + layout.TOMBSTONE_MILLIS) == 0
    with replica.view() as view:
        assert view.held(POST_AT, key) is not None
    assert replica.writer.prune(START + layout.TOMBSTONE_MILLIS + 1) == 3
    with replica.view() as view:
        assert view.held(POST_AT, key) is None
        assert view.post("w1", "b") is not None
        assert Changed(POST, "a") not in changes_since(view, "w1", BEGINNING, 100).entries
