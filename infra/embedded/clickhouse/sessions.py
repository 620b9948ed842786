"""Sessions: settings, database and temporary tables that stay for the next request with the same `session_id`.

In: the session that a request names. Out: the engine handle that the request's statement runs on. A session gets a
handle of its own with its first statement that leaves something behind. Until then its requests run like any other, and
so do all requests of a user who may leave nothing behind. Sessions are bounded in number and time, and belong to the
user who began them.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from infra.embedded.clickhouse.engine import Call, Engine, Handle
from infra.embedded.clickhouse.errors import (
    INVALID_SESSION_TIMEOUT,
    READONLY,
    SESSION_IS_LOCKED,
    SESSION_NOT_FOUND,
    USER_SESSION_LIMIT_EXCEEDED,
    refusal,
)

MOST_SESSIONS = 1000
# How many sessions may have a handle; each handle has a thread.
MOST_KEPT = 32
_DEFAULT_SECONDS = 60
_MOST_SECONDS = 3600
# Python reads no number of thousands of digits.
_SECONDS = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Named:
    """The session that a request names.

    Attributes:
        seconds: how long the session outlives the request.
        must_exist: whether a session that does not exist is an error, instead of being begun.
        ends: whether the session ends with this request.
    """

    id: str
    seconds: float
    must_exist: bool
    ends: bool


@dataclass(slots=True)
class _Session:
    seconds: float
    ends_at: float = 0.0
    handle: Handle | None = None
    busy: bool = False


def named(query: Mapping[str, str]) -> Named | None:
    """The session in a request's parameters; None for a request without a session.

    Raises:
        ServerError: INVALID_SESSION_TIMEOUT.
    """
    session_id = query.get("session_id")
    if not session_id:
        return None
    text = query.get("session_timeout") or str(_DEFAULT_SECONDS)
    if not _SECONDS.fullmatch(text) or not 0 < int(text) <= _MOST_SECONDS:
        allowed = f"allowed are 1 to {_MOST_SECONDS} seconds"
        raise refusal(INVALID_SESSION_TIMEOUT, f"Session timeout is {text[:40]!r}; {allowed}")
    must_exist, ends = (query.get(name, "0") in ("1", "true") for name in ("session_check", "close_session"))
    return Named(session_id, float(text), must_exist, ends)


class Sessions:
    """The sessions of all users; used on the event loop only."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._sessions: dict[tuple[str, str], _Session] = {}
        self._timer: asyncio.TimerHandle | None = None

    @contextlib.asynccontextmanager
    async def lease(
        self, call: Call, user: str, asked: Named | None, *, leaves: bool, fresh: bool = False
    ) -> AsyncIterator[Handle]:
        """A handle for one statement.

        Args:
            leaves: whether the statement leaves something behind for the session.
            fresh: whether a handle that does not belong to the session must be new; see `Engine.lease`.

        Raises:
            ServerError: SESSION_NOT_FOUND, SESSION_IS_LOCKED, USER_SESSION_LIMIT_EXCEEDED; READONLY for a readonly
                request in a session that may write.
        """
        session = self._find(user, asked) if asked is not None else None
        try:
            async with self._leased(call, session, leaves=leaves, fresh=fresh) as handle:
                yield handle
        finally:
            if asked is not None and asked.ends and session is not None and not session.busy:
                self._end(session)
                self._sessions.pop((user, asked.id), None)

    @contextlib.asynccontextmanager
    async def _leased(
        self, call: Call, session: _Session | None, *, leaves: bool, fresh: bool
    ) -> AsyncIterator[Handle]:
        if session is None or (session.handle is None and not leaves):
            async with self._engine.lease(call, fresh=fresh) as handle:
                handle.spoiled = leaves or fresh
                yield handle
            return
        if session.busy:
            raise refusal(SESSION_IS_LOCKED, "Session is locked by a concurrent client")
        if session.handle is None:
            self._check_room()
            session.handle = self._engine.new_handle(readonly=0, role=call.role)
        if call.readonly:
            raise refusal(READONLY, "A session with SET, USE or temporary tables takes no readonly requests; use POST")
        session.busy = True
        try:
            async with self._engine.slot():
                yield session.handle
        finally:
            session.busy = False
            self._touch(session)

    def close(self) -> None:
        """End all sessions; statements must have ended."""
        if self._timer is not None:
            self._timer.cancel()
        for session in self._sessions.values():
            self._end(session)
        self._sessions.clear()

    def _find(self, user: str, asked: Named) -> _Session:
        self._forget_old()
        key = (user, asked.id)
        session = self._sessions.pop(key, None)
        if session is None:
            if asked.must_exist:
                raise refusal(SESSION_NOT_FOUND, f"Session {asked.id} not found")
            session = _Session(asked.seconds)
            if len(self._sessions) >= MOST_SESSIONS:
                self._forget_least_used()
        session.seconds = asked.seconds
        # Put last: the first sessions in order are those unused for longest.
        self._sessions[key] = session
        self._touch(session)
        return session

    def _check_room(self) -> None:
        if sum(session.handle is not None for session in self._sessions.values()) >= MOST_KEPT:
            raise refusal(
                USER_SESSION_LIMIT_EXCEEDED,
                f"There are {MOST_KEPT} sessions with SET, USE or temporary tables; close one, or wait for its timeout",
            )

    def _touch(self, session: _Session) -> None:
        loop = asyncio.get_running_loop()
        session.ends_at = loop.time() + session.seconds
        if self._timer is None:
            self._timer = loop.call_later(session.seconds, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._forget_old()
        if self._sessions:
            loop = asyncio.get_running_loop()
            next_end = min(session.ends_at for session in self._sessions.values())
            self._timer = loop.call_later(max(1.0, next_end - loop.time()), self._on_timer)

    def _forget_old(self) -> None:
        now = asyncio.get_running_loop().time()
        for key in [key for key, session in self._sessions.items() if session.ends_at <= now and not session.busy]:
            self._end(self._sessions.pop(key))

    def _forget_least_used(self) -> None:
        idle = next((key for key, session in self._sessions.items() if session.handle is None), None)
        if idle is not None:
            del self._sessions[idle]

    def _end(self, session: _Session) -> None:
        if session.handle is not None:
            self._engine.close_handle(session.handle)
            session.handle = None
