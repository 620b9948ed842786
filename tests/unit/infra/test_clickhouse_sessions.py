"""Which handle a statement of a session gets; the engine is a fake that makes handles and closes them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from infra.embedded.clickhouse.engine import Call, Handle
from infra.embedded.clickhouse.errors import ServerError
from infra.embedded.clickhouse.sessions import MOST_KEPT, MOST_SESSIONS, Named, Sessions, named


class FakeEngine:
    """Handles without connections."""

    def __init__(self) -> None:
        self.closed: list[Handle] = []

    def new_handle(self, *, readonly: int, role: str = "") -> Handle:
        return Handle(None, readonly, ThreadPoolExecutor(1), ThreadPoolExecutor(1))

    @contextlib.asynccontextmanager
    async def lease(self, call: Call, *, fresh: bool = False) -> AsyncIterator[Handle]:
        yield self.new_handle(readonly=call.readonly)

    def slot(self) -> contextlib.AbstractAsyncContextManager[None]:
        return contextlib.nullcontext()

    def close_handle(self, handle: Handle) -> None:
        self.closed.append(handle)


def call(readonly: int = 0) -> Call:
    return Call("", "TSV", "tidemark", {}, {}, readonly)


def session(name: str, seconds: float = 60, *, must_exist: bool = False, ends: bool = False) -> Named:
    return Named(name, seconds, must_exist, ends)


def sessions() -> tuple[Sessions, FakeEngine]:
    engine = FakeEngine()
    fake: Any = engine
    return Sessions(fake), engine


async def handle_of(kept: Sessions, asked: Named | None, *, leaves: bool = False, user: str = "default") -> Handle:
    async with kept.lease(call(), user, asked, leaves=leaves) as handle:
        return handle


async def code_of(kept: Sessions, asked: Named, *, leaves: bool = False, readonly: int = 0) -> int:
    with pytest.raises(ServerError) as caught:
        async with kept.lease(call(readonly), "default", asked, leaves=leaves):
            pass
    return caught.value.code


async def test_a_session_keeps_its_handle_and_is_its_users() -> None:
    kept, engine = sessions()
    assert (await handle_of(kept, None, leaves=True)).spoiled
    first = await handle_of(kept, session("s"))
    mine = await handle_of(kept, session("s"), leaves=True)
    assert mine is not first
    assert not mine.spoiled
    assert await handle_of(kept, session("s")) is mine
    assert await handle_of(kept, session("other")) is not mine
    assert await handle_of(kept, session("s"), user="analyst") is not mine
    assert await code_of(kept, session("s"), readonly=2) == 164
    assert await handle_of(kept, session("s", ends=True)) is mine
    assert engine.closed == [mine]
    assert await code_of(kept, session("s", must_exist=True)) == 372
    kept.close()


async def test_one_statement_at_a_time() -> None:
    kept, _ = sessions()
    async with kept.lease(call(), "default", session("s"), leaves=True):
        assert await code_of(kept, session("s")) == 373
        # Ended by nobody but the statement that has it.
        assert await code_of(kept, session("s", ends=True)) == 373
    await handle_of(kept, session("s", must_exist=True))
    kept.close()


async def test_a_session_ends_by_itself() -> None:
    kept, engine = sessions()
    mine = await handle_of(kept, session("s", 0.05), leaves=True)
    async with asyncio.timeout(10):
        while not engine.closed:  # noqa: ASYNC110 - the timer closes it
            await asyncio.sleep(0.01)
    assert engine.closed == [mine]
    assert await code_of(kept, session("s", must_exist=True)) == 372


async def test_sessions_are_bounded() -> None:
    kept, engine = sessions()
    handles = [await handle_of(kept, session(f"kept {n}"), leaves=True) for n in range(MOST_KEPT)]
    assert await code_of(kept, session("one more"), leaves=True) == 700
    for number in range(MOST_SESSIONS + 10):
        await handle_of(kept, session(f"idle {number}"))
    assert await handle_of(kept, session("kept 0")) is handles[0]
    assert await code_of(kept, session("idle 0", must_exist=True)) == 372
    kept.close()
    assert sorted(map(id, engine.closed)) == sorted(map(id, handles))


@pytest.mark.parametrize("timeout", ["0", "3601", "x", "-1", "1.5"])
def test_a_timeout_out_of_bounds(timeout: str) -> None:
    with pytest.raises(ServerError) as caught:
        named({"session_id": "s", "session_timeout": timeout})
    assert caught.value.code == 374


def test_what_a_request_names() -> None:
    assert named({}) is None
    assert named({"session_id": ""}) is None
    assert named({"session_id": "s"}) == session("s")
    query = {"session_id": "s", "session_timeout": "5", "session_check": "1", "close_session": "1"}
    assert named(query) == session("s", 5, must_exist=True, ends=True)
