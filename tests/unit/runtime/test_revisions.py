"""Which records of a key count is the same for every reader, and no change that counts is undone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.runtime.revisions import HEADER, Revisions, read_to

KEY = b"w1/h1"


def test_a_record_counts_unless_one_that_its_writer_had_not_read_is_before_it() -> None:
    held = Revisions()
    assert held.counts(KEY, 3, ())
    assert held.counts(KEY, 5, [read_to(4)])
    assert not held.counts(KEY, 6, [read_to(4)])
    assert not held.counts(KEY, 7, [read_to(5)])
    assert held.counts(KEY, 8, [read_to(6)])
    assert held.newest(KEY) == 8
    assert held.counts(b"w1/h2", 9, [read_to(0)])
    assert held.counts(KEY, 10, ()), "an older version, or a command, writes without it"
    assert held.newest(b"w1/h3") == -1


def test_what_is_no_offset_is_no_header() -> None:
    for value in (None, b"", b"-1", b"x", "\N{SUPERSCRIPT TWO}".encode()):
        held = Revisions()
        assert held.counts(KEY, 3, ())
        assert held.counts(KEY, 4, [("other", b"0"), (HEADER, value)])


def test_records_that_are_read_again_are_judged_as_before() -> None:
    held = Revisions()
    records = [(1, read_to(0)), (2, read_to(1)), (3, read_to(3)), (4, read_to(3))]
    first = [held.counts(KEY, offset, [header]) for offset, header in records]
    assert first == [True, False, True, False]
    assert [held.counts(KEY, offset, [header]) for offset, header in records] == first


def test_a_topic_that_was_made_anew_begins_anew() -> None:
    held = Revisions()
    assert held.counts(KEY, 100, ())
    assert held.counts(KEY, 0, [read_to(0)])
    assert not held.counts(KEY, 1, [read_to(0)])


@given(st.lists(st.integers(0, 5), max_size=30))
def test_each_record_that_counts_was_made_of_the_one_before(delays: list[int]) -> None:
    """Writers that have read all but the last few records: what counts is one chain."""
    held, newest = Revisions(), -1
    for offset, delay in enumerate(delays):
        seen = max(0, offset - delay)
        counts = held.counts(KEY, offset, [read_to(seen)])
        assert counts == (newest < seen)
        newest = offset if counts else newest
