"""Records come from the topic and from writes of our own, in any order; the newest stays."""

from __future__ import annotations

from itertools import permutations

import pytest

from services.query_api.directory import Directory
from tests.support.query_api import channel, place, record_key

KEY = record_key("w1", "c1")


def name(directory: Directory) -> str | None:
    found = directory.get("w1", "c1")
    return None if found is None else found.username


def test_records_of_the_topic_are_taken_in_order() -> None:
    directory = Directory()
    directory.observe(KEY, channel("w1", "c1", username="one"), place(0))
    directory.observe(KEY, channel("w1", "c1", username="two"), place(1))
    assert name(directory) == "two"
    directory.observe(KEY, None, place(2))
    assert name(directory) is None


def test_a_write_of_our_own_holds_at_once_and_is_not_undone_by_older_records() -> None:
    directory = Directory()
    directory.wrote(KEY, channel("w1", "c1", username="new"), place(7))
    directory.observe(KEY, channel("w1", "c1", username="old"), place(6))
    assert name(directory) == "new"
    directory.observe(KEY, channel("w1", "c1", username="new"), place(7))
    directory.observe(KEY, channel("w1", "c1", username="newer"), place(8))
    assert name(directory) == "newer"


def test_a_write_confirmed_after_the_topic_was_read_past_it_changes_nothing() -> None:
    directory = Directory()
    directory.observe(KEY, channel("w1", "c1", username="newer"), place(9))
    directory.wrote(KEY, None, place(8))
    assert name(directory) == "newer"


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_writes_confirmed_in_any_order_end_at_the_newest(order: tuple[int, ...]) -> None:
    directory = Directory()
    for offset in order:
        directory.wrote(KEY, channel("w1", "c1", username=str(offset)), place(offset))
    assert name(directory) == "2"


def test_partitions_count_offsets_for_themselves() -> None:
    directory = Directory()
    directory.observe(record_key("w2", "c1"), channel("w2", "c1"), place(50, partition=1))
    directory.wrote(KEY, channel("w1", "c1", username="mine"), place(3, partition=0))
    assert name(directory) == "mine"
