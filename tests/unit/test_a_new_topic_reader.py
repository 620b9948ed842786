"""A topic reader that nobody here knows: what a newcomer writes, and nothing else.

It keeps the newest value of each key of two topics in a database of its own, with its positions in the same
transaction; so it goes on where it was after a crash at any moment, and each message has its effect once.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.topic_names import CHANNEL_ROLLUPS, POST_ROLLUPS
from services.runtime.brokers import Brokers, Place
from services.runtime.following import Batch, Follower, at_positions
from tests.support import properties
from tests.support.memory_brokers import MemoryBrokers

TOPICS = (POST_ROLLUPS, CHANNEL_ROLLUPS)
PARTITIONS = 2


class Killed(Exception):
    """Stands for a crash."""


class Store:
    """The newest value of each key, and how many messages it took in for it.

    Args:
        crashes_in: commits until it is killed, just before one.
    """

    def __init__(self, path: Path | str, brokers: Brokers, crashes_in: int = 1_000) -> None:
        self._database = sqlite3.connect(path, isolation_level=None, uri=True)
        self._database.executescript(
            "CREATE TABLE IF NOT EXISTS newest (topic, partition, key, value, messages, PRIMARY KEY (topic, key));"
            "CREATE TABLE IF NOT EXISTS positions (topic, partition, offset, PRIMARY KEY (topic, partition))"
        )
        rows = self._database.execute("SELECT topic, partition, offset FROM positions").fetchall()
        held = {Place(topic, partition): offset for topic, partition, offset in rows}
        self._crashes_in = crashes_in
        self.follower = Follower(
            brokers, TOPICS, range(PARTITIONS), self.take, begin=at_positions(held), most=3, wait_seconds=0.01
        )

    async def take(self, batch: Batch) -> None:
        """Take in one batch, in one transaction."""
        self._database.execute("BEGIN")
        try:
            for place in batch.lost:
                # Another topic of that name: nothing that was known of it holds.
                self._database.execute("DELETE FROM newest WHERE topic = ? AND partition = ?", place)
            for record in batch.records:
                self._database.execute(
                    "INSERT INTO newest VALUES (?, ?, ?, ?, 1) ON CONFLICT DO UPDATE "
                    "SET value = excluded.value, messages = messages + 1",
                    (record.topic, record.partition, record.key, record.value),
                )
            for (topic, partition), offset in batch.positions.items():
                self._database.execute("INSERT OR REPLACE INTO positions VALUES (?, ?, ?)", (topic, partition, offset))
            self._crashes_in -= 1
            if self._crashes_in == 0:
                raise Killed
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    def held(self) -> dict[tuple[str, bytes], tuple[bytes, int]]:
        """By topic and key, the newest value and how many messages there were."""
        rows = self._database.execute("SELECT topic, key, value, messages FROM newest")
        return {(topic, key): (value, count) for topic, key, value, count in rows}

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()


class Written:
    """Topics, and what a reader of them has to hold."""

    def __init__(self) -> None:
        self.brokers = MemoryBrokers(dict.fromkeys(TOPICS, PARTITIONS))
        self.newest: dict[tuple[str, bytes], bytes] = {}
        self.counts: Counter[tuple[str, bytes]] = Counter()

    def put(self, topic: str, number: int, value: bytes) -> None:
        key = f"k{number}".encode()
        self.brokers.put(topic, number % PARTITIONS, key, value)
        self.newest[topic, key] = value
        self.counts[topic, key] += 1

    def expected(self) -> dict[tuple[str, bytes], tuple[bytes, int]]:
        return {name: (value, self.counts[name]) for name, value in self.newest.items()}


async def test_it_reads_what_is_there_and_what_comes(tmp_path: Path) -> None:
    written = Written()
    written.put(POST_ROLLUPS, 0, b"a")
    store = Store(tmp_path / "store", written.brokers)
    store.follower.start()
    await store.follower.caught_up()
    assert store.held() == written.expected()
    written.put(CHANNEL_ROLLUPS, 3, b"b")
    await store.follower.reached({Place(CHANNEL_ROLLUPS, 1): 1})
    assert store.held() == written.expected()
    assert store.follower.lag() == (0, 0.0)
    await store.follower.stop()
    store.close()


@settings(deadline=None, max_examples=properties.of(30))
@given(
    st.lists(st.tuples(st.sampled_from(TOPICS), st.integers(0, 4), st.binary(max_size=2)), max_size=30),
    st.lists(st.integers(1, 4), max_size=4),
)
async def test_each_message_counts_once_however_often_it_is_killed(
    messages: list[tuple[str, int, bytes]], crashes: list[int]
) -> None:
    written = Written()
    for topic, number, value in messages:
        written.put(topic, number, value)
    database = f"file:{id(written)}?mode=memory&cache=shared"
    keeper = sqlite3.connect(database, uri=True)
    try:
        for crashes_in in (*crashes, 1_000):
            store = Store(database, written.brokers, crashes_in)
            try:
                await store.follower.run(until_caught_up=True)
            except Killed:
                continue
            finally:
                held = store.held()
                store.close()
        assert held == written.expected()
    finally:
        keeper.close()


async def test_another_topic_of_that_name_replaces_what_was_known_of_it(tmp_path: Path) -> None:
    written = Written()
    for number in range(4):
        written.put(POST_ROLLUPS, number, b"old")
    written.put(CHANNEL_ROLLUPS, 0, b"kept")
    first = Store(tmp_path / "store", written.brokers)
    await first.follower.run(until_caught_up=True)
    first.close()
    written.brokers.make(POST_ROLLUPS, PARTITIONS)
    written.brokers.put(POST_ROLLUPS, 0, b"k0", b"new")
    second = Store(tmp_path / "store", written.brokers)
    await second.follower.run(until_caught_up=True)
    assert second.held() == {(POST_ROLLUPS, b"k0"): (b"new", 1), (CHANNEL_ROLLUPS, b"k0"): (b"kept", 1)}
    second.close()
