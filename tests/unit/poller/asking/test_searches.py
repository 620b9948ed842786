"""Searches for a refused metric: one a kind and channel, and nobody waits for one that stands still."""

from __future__ import annotations

from services.poller.asking.refusals import Kind
from services.poller.asking.searches import LONGEST, MOST_SEARCHES, Searches

KEY = ("w1", "c1")
KIND = Kind("facebook", "posts", "feed")
NOW = 1_790_000_000_000


def test_the_first_searches_and_the_others_wait() -> None:
    searches = Searches()
    assert searches.wait_until(KEY, KIND, ("a",), NOW) == 0
    searches.step(KEY, KIND, "a", NOW)
    searches.step(KEY, KIND, "b", NOW + 1)
    assert searches.wait_until(KEY, KIND, ("a",), NOW) == 0
    assert searches.wait_until(KEY, KIND, ("b", "c"), NOW) == NOW + LONGEST
    assert searches.wait_until(("w1", "c2"), KIND, ("b",), NOW) == 0
    searches.step(KEY, KIND, "a", NOW + 10)
    assert searches.wait_until(KEY, KIND, ("b",), NOW) == NOW + 10 + LONGEST
    searches.end(KEY, KIND)
    assert searches.wait_until(KEY, KIND, ("b",), NOW) == 0
    assert not searches


def test_one_that_comes_to_nothing_is_taken_over() -> None:
    searches = Searches()
    searches.step(KEY, KIND, "a", NOW)
    assert searches.wait_until(KEY, KIND, ("b",), NOW + LONGEST) == 0
    searches.step(KEY, KIND, "b", NOW + LONGEST)
    assert searches.wait_until(KEY, KIND, ("a",), NOW + LONGEST) == NOW + 2 * LONGEST
    searches.clock_set_back(LONGEST)
    assert searches.wait_until(KEY, KIND, ("a",), NOW) == NOW + LONGEST


def test_they_are_bounded() -> None:
    searches = Searches()
    for number in range(MOST_SEARCHES + 10):
        searches.step(("w1", f"c{number}"), KIND, "a", NOW)
    assert len(searches) == MOST_SEARCHES
