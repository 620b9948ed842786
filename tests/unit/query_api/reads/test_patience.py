"""Values that may be some seconds old: who waits, who is given what, and what is never kept."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Mapping

import pytest

from services.query_api.cache import making
from services.query_api.reads import patience
from services.query_api.reads.patience import OLD_SECONDS, Patience
from tests.support.waiting import wait_until_async


class Source:
    """A source whose answers come when they are let go."""

    def __init__(self) -> None:
        self.asked = 0
        self.value = "old"
        self.goes = asyncio.Event()
        self.goes.set()
        self.error: Exception | None = None

    async def load(self) -> Mapping[Hashable, str]:
        self.asked += 1
        await self.goes.wait()
        if self.error is not None:
            raise self.error
        return {"a": self.value, "b": self.value}


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers wait for an instant: whatever comes does so because it is let go."""
    monkeypatch.setattr(patience, "WAIT_SECONDS", 0.01)


async def test_the_newest_is_shown_where_it_comes_in_time() -> None:
    source, kept = Source(), Patience[str](10_000)
    assert await kept.get(["a"], source.load) == {"a": "old", "b": "old"}
    source.value = "new"
    assert (await kept.get(["a", "b"], source.load))["b"] == "new"
    assert source.asked == 2


async def test_what_takes_too_long_goes_on_and_is_kept_for_the_next_reader() -> None:
    clock = Clock()
    source, kept = Source(), Patience[str](10_000, now=clock)
    await kept.get(["a"], source.load)
    read_at = clock.now
    source.value = "new"
    source.goes.clear()
    clock.now += OLD_SECONDS
    for _ in range(2):
        with making(clock.now) as made_of:
            assert await kept.get(["a"], source.load) == {"a": "old"}
        assert made_of.began_at == read_at, "the reply is as old as what it is made of"
    assert source.asked == 2, "both wait for one load"
    source.goes.set()

    async def is_kept() -> bool:
        source.goes.clear()
        return (await kept.get(["a"], source.load))["a"] == "new"

    await wait_until_async(is_kept, 20, "what was asked for is kept")


async def test_what_anothers_query_brought_is_not_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    source, kept = Source(), Patience[str](10_000, now=clock)
    await kept.get(["a"], source.load)
    source.goes.clear()
    clock.now += 1
    began_at = clock.now
    assert await kept.get(["a"], source.load) == {"a": "old"}
    clock.now += 1
    # The query has begun; what happens from here on, it may not know of.
    monkeypatch.setattr(patience, "WAIT_SECONDS", 20)
    with making(clock.now) as made_of:
        joined = asyncio.create_task(kept.get(["a"], source.load))
        await asyncio.sleep(0)
        source.value = "begun before"
        source.goes.set()
        assert await joined == {"a": "begun before"}
    assert (source.asked, made_of.began_at) == (2, began_at), "its reply is as old as the query"


async def test_nobody_is_shown_anything_older_or_a_part() -> None:
    clock = Clock()
    source, kept = Source(), Patience[str](10_000, now=clock)
    await kept.get(["a", "b"], source.load)
    source.goes.clear()
    source.value = "new"
    for keys in (["a", "c"], ["a"]):
        waiting = asyncio.create_task(kept.get(keys, source.load))
        done, _ = await asyncio.wait({waiting}, timeout=0.1)
        if "c" in keys:
            assert not done, "c was never read"
        else:
            assert done
        source.goes.set()
        await waiting
        source.goes.clear()
    clock.now += OLD_SECONDS + 0.1
    waiting = asyncio.create_task(kept.get(["a"], source.load))
    done, _ = await asyncio.wait({waiting}, timeout=0.1)
    assert not done
    source.goes.set()
    assert (await waiting)["a"] == "new"


async def test_errors_are_told_to_readers_that_wait() -> None:
    source, kept = Source(), Patience[str](10_000)
    await kept.get(["a"], source.load)
    source.error = ValueError("away")
    with pytest.raises(ValueError, match="away"):
        await kept.get(["a"], source.load)
    with pytest.raises(ValueError, match="away"):
        await kept.get(["c"], source.load)


async def test_without_memory_everybody_waits() -> None:
    source, kept = Source(), Patience[str](0)
    await kept.get(["a"], source.load)
    source.goes.clear()
    waiting = asyncio.create_task(kept.get(["a"], source.load))
    done, _ = await asyncio.wait({waiting}, timeout=0.1)
    assert not done
    source.goes.set()
    await waiting


async def test_one_owner_has_so_many_loads_at_once_and_then_waits() -> None:
    source, kept = Source(), Patience[str](10_000, most_each=1)
    await kept.get(["a", "b"], source.load, "w1")
    source.goes.clear()
    source.value = "new"
    assert (await kept.get(["a"], source.load, "w1"))["a"] == "old"
    assert (await kept.get(["a"], source.load, "w1"))["a"] == "old", "the same load"
    assert (await kept.get(["b"], source.load, "w2"))["b"] == "old", "another's"
    waiting = asyncio.create_task(kept.get(["b", "a"], source.load, "w1"))
    done, _ = await asyncio.wait({waiting}, timeout=0.1)
    assert not done
    source.goes.set()
    assert (await waiting)["a"] == "new"

    async def is_free() -> bool:
        source.goes.clear()
        return (await kept.get(["a", "b"], source.load, "w1"))["a"] == "new"

    await wait_until_async(is_free, 20, "the loads have ended")
