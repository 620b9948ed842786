"""Holds the operator's users to their grants, and makes new grants count.

In: a user's statement. Out: the call with the user's role. The engine reads grants only when it is opened, so it is
opened anew before the first statement of such a user after a change.
"""

from __future__ import annotations

import asyncio
import dataclasses

from infra.embedded.clickhouse.access import User
from infra.embedded.clickhouse.config import Settings, write_users
from infra.embedded.clickhouse.engine import Call, Engine, Reopened
from infra.embedded.clickhouse.errors import ServerError
from infra.embedded.clickhouse.named import NamedUsers, refuse_another_role
from infra.embedded.clickhouse.sessions import Sessions
from infra.embedded.clickhouse.statements import SHORT_BYTES, Statement

# The name that the engine knows its one user by.
_ENGINES_USER = "default: "


class Rights:
    """The operator's users on one engine.

    Args:
        parser: holds a connection to the engine.
    """

    def __init__(self, settings: Settings, users: NamedUsers, engine: Engine, parser: Reopened) -> None:
        self._settings = settings
        self._users = users
        self._engine = engine
        self._parser = parser
        self._reopening = asyncio.Lock()

    async def change(self, statement: Statement) -> bool:
        """Do a statement of the user `default` that makes a user or grants; False for any other statement."""

        def check(sql: str) -> None:
            self._engine.control(f"EXPLAIN AST {sql}")

        return await asyncio.to_thread(self._users.change, statement, check)

    async def held_to(self, user: User, call: Call, statement: Statement, sessions: Sessions) -> Call:
        """The call with the rights of its user.

        Raises:
            ServerError: ACCESS_DENIED: the statement would take other rights.
        """
        if not user.role:
            return call
        if len(statement.sql) <= SHORT_BYTES:
            refuse_another_role(statement)
        else:
            await asyncio.to_thread(refuse_another_role, statement)
        if self._users.is_stale:
            await self._renew(sessions)
        return dataclasses.replace(call, role=user.role)

    def named(self, error: ServerError, user: User | None) -> ServerError:
        """An error of the engine with the name of the user whose statement it was."""
        if user is None or not user.role:
            return error
        return ServerError(error.code, error.message.replace(_ENGINES_USER, f"{user.name}: ", 1))

    async def _renew(self, sessions: Sessions) -> None:
        async with self._reopening:
            if not self._users.is_stale:
                return
            async with self._engine.standstill():
                sessions.close()
                self._users.is_stale = False
                write_users(self._settings, self._users.grants)
                await asyncio.to_thread(self._engine.reopen, [self._parser])
