"""What is kept, for how long, and what ends it."""

from __future__ import annotations

import pytest

from services.query_api.cache import LONGEST_MAKING_SECONDS, LONGEST_SECONDS, SETTLE_SECONDS, AnswerCache


class World:
    """A cache under a hand-moved clock."""

    def __init__(self, max_bytes: int = 1_000_000) -> None:
        self.at = 1000.0
        self.cache: AnswerCache[str] = AnswerCache(max_bytes, lambda: self.at)

    def put(
        self, key: str, *tags: bytes, began_at: float | None = None, seconds: float = 1e9, size_bytes: int = 10
    ) -> None:
        began_at = self.at if began_at is None else began_at
        self.cache.put(key, f"value of {key}", tags=tags, size_bytes=size_bytes, began_at=began_at, seconds=seconds)

    def shows(self, key: str) -> bool:
        return self.cache.get(key) is not None


def test_an_answer_that_names_a_thing_twice_is_dropped_and_forgotten_as_any_other() -> None:
    world = World()
    world.put("a", b"p/1", b"c/1", b"p/1")
    world.put("a", b"p/1", b"p/1")
    world.cache.drop(b"p/1")
    assert not world.shows("a")
    world.cache.drop(b"p/1", is_gone=True)
    assert (len(world.cache), world.cache.size_bytes) == (0, 0)


def test_an_answer_is_kept_until_something_that_it_is_made_of_changes() -> None:
    world = World()
    world.put("a", b"p/1", b"c/1")
    world.put("b", b"p/2", b"c/1")
    assert world.shows("a")
    world.cache.drop(b"p/1")
    assert (world.shows("a"), world.shows("b")) == (False, True)
    last = world.cache.last_known("a")
    assert last is not None
    assert last.value == "value of a"
    world.cache.drop(b"c/1", is_gone=True)
    assert not world.shows("b")
    assert world.cache.last_known("a") is world.cache.last_known("b") is None
    assert (len(world.cache), world.cache.size_bytes) == (0, 0)


def test_changes_that_come_together_end_what_each_would_end_alone() -> None:
    world = World()
    world.put("a", b"p/1", b"w/1")
    world.put("b", b"p/2", b"w/2")
    world.put("c", b"p/3", b"w/3")
    world.cache.drop_all({b"p/1": False, b"w/2": True, b"p/9": True})
    assert [world.shows(name) for name in "abc"] == [False, False, True]
    assert world.cache.last_known("a") is not None
    assert world.cache.last_known("b") is None
    world.at += SETTLE_SECONDS
    for number, tag in enumerate((b"p/1", b"w/2", b"p/9")):
        world.put(f"again {number}", tag)
    assert [world.shows(f"again {number}") for number in range(3)] == [False] * 3


def test_an_answer_holds_for_its_time_and_never_long() -> None:
    world = World()
    world.put("short", b"t", seconds=2)
    world.put("long", b"t")
    world.at += 1.9
    assert world.shows("short")
    world.at += 0.1
    assert not world.shows("short")
    world.at += LONGEST_SECONDS
    assert not world.shows("long")


def test_an_answer_that_was_being_made_during_a_change_is_not_kept() -> None:
    world = World()
    began_at = world.at
    world.at += 0.01
    world.cache.drop(b"t")
    world.at += 0.01
    world.put("a", b"t", began_at=began_at)
    world.put("other", b"u", began_at=began_at)
    assert (world.shows("a"), world.shows("other")) == (False, True)


def test_an_answer_begun_right_after_a_change_is_not_kept_either() -> None:
    world = World()
    world.cache.drop(b"t")
    world.at += SETTLE_SECONDS
    world.put("a", b"t")
    assert not world.shows("a")
    world.at += 0.01
    world.put("a", b"t")
    assert world.shows("a")


def test_an_answer_that_took_too_long_is_not_kept() -> None:
    world = World()
    began_at = world.at
    world.at += LONGEST_MAKING_SECONDS + 0.1
    world.put("a", b"t", began_at=began_at)
    assert not world.shows("a")


def test_nothing_is_current_while_changes_do_not_arrive() -> None:
    world = World()
    world.put("a", b"t")
    world.cache.is_fed = False
    assert not world.shows("a")
    assert world.cache.last_known("a") is not None
    world.cache.is_fed = True
    assert world.shows("a")


def test_after_missed_changes_nothing_is_held_and_nothing_under_way_is_kept() -> None:
    world = World()
    world.put("a", b"t")
    began_at = world.at
    world.at += 0.5
    world.cache.clear()
    world.put("b", b"t", began_at=began_at)
    assert len(world.cache) == 0


def test_a_flood_of_changes_does_not_bring_back_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.query_api.cache._MOST_RECENT", 3)
    world = World()
    for number in range(3):
        world.cache.drop(b"p/%d" % number)
    world.at += 5
    began_at = world.at - 0.1
    world.cache.distrust()
    world.at += 0.2
    world.cache.drop(b"p/3")  # one too many to remember: the oldest is forgotten
    world.put("a", b"p/9", began_at=began_at)
    assert not world.shows("a")


def test_memory_is_bounded_and_the_least_used_go_first() -> None:
    world = World(max_bytes=10_000)
    for name in "abcd":
        world.put(name, b"t", size_bytes=1_500)
    assert world.shows("a")  # used just now
    world.put("e", b"t", size_bytes=1_500)
    assert [world.shows(name) for name in "abcde"] == [True, False, True, True, True]
    world.put("huge", b"t", size_bytes=50_000)
    assert len(world.cache) == 0
    for number in range(1_000):
        world.put(f"k{number}", b"t", size_bytes=100)
        assert world.cache.size_bytes <= 10_000


def test_a_newer_answer_replaces_the_older() -> None:
    world = World()
    world.put("a", b"t", size_bytes=500)
    size = world.cache.size_bytes
    world.put("a", b"u", size_bytes=500)
    assert world.cache.size_bytes == size
    world.cache.drop(b"t")
    assert world.shows("a")


def test_what_is_asked_for_once_is_told_from_what_is_asked_for_again() -> None:
    cache: AnswerCache[str] = AnswerCache(1_000)
    assert [cache.is_asked_again(number % 3) for number in range(6)] == [False] * 3 + [True] * 3
    # Many others later it was long ago.
    for number in range(10, 50_010):
        assert not cache.is_asked_again(number)
    assert cache.is_asked_again(50_009)
    assert not cache.is_asked_again(0)
