"""Who asks, and what the analyst may ask.

In: credentials; a statement and the engine's own parse of it. Out: a user, or a call that may run, or a refusal.
"""

from __future__ import annotations

import dataclasses
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from infra.embedded.clickhouse import analyst
from infra.embedded.clickhouse.config import Settings, digest
from infra.embedded.clickhouse.engine import Call, Engine
from infra.embedded.clickhouse.errors import AUTHENTICATION_FAILED, refusal
from infra.embedded.clickhouse.request import Credentials
from infra.embedded.clickhouse.statements import Statement


@dataclass(frozen=True, slots=True)
class User:
    """A user of the interface."""

    name: str
    analyst: bool


class Users:
    """The two users, `default` and `analyst`."""

    def __init__(self, settings: Settings) -> None:
        self._passwords = {"default": digest(settings.password)}
        if settings.analyst_password is not None:
            self._passwords["analyst"] = digest(settings.analyst_password)
        self._nobody = digest("no such user")
        self._policy = analyst.Policy(
            database=settings.database, databases=settings.analyst_databases, hidden=settings.analyst_hidden
        )

    def authenticate(self, credentials: Credentials) -> User:
        """The user with these credentials.

        Raises:
            ServerError: AUTHENTICATION_FAILED, the same for an unknown user and a wrong password.
        """
        expected = self._passwords.get(credentials.user)
        matches = hmac.compare_digest(expected or self._nobody, digest(credentials.password))
        if expected is None or not matches:
            raise refusal(
                AUTHENTICATION_FAILED,
                f"{credentials.user}: Authentication failed: password is incorrect,"
                " or there is no user with such name.",
            )
        return User(credentials.user, credentials.user == "analyst")

    def permit(self, call: Call, statement: Statement, engine: Engine) -> Call:
        """The analyst's call as it may run: read-only, in a database that the analyst may use; blocks the thread.

        Raises:
            ServerError: SYNTAX_ERROR of the engine's parser, READONLY or ACCESS_DENIED; it must not run.
        """
        if statement.data_start is not None:
            raise analyst.not_readonly()
        analyst.check_settings(call.settings)
        database = self._policy.database if call.database == "default" else call.database
        if not self._policy.may_use(database):
            raise analyst.denied(f"SHOW DATABASES on {database}")
        self._judge(statement.sql, database, call.params, engine)
        return dataclasses.replace(call, readonly=1, database=database)

    def _judge(self, sql: str, database: str, params: Mapping[str, str], engine: Engine) -> None:
        tree = engine.syntax_tree(sql)
        if tree is None:
            select = analyst.check_tokens(sql, self._policy, database)
            if select is None:
                return
            tree = engine.syntax_tree(select)
            if tree is None:
                raise analyst.not_readonly()
        analyst.TreeCheck(self._policy, database, params).check(tree)
