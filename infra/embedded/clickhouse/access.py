"""Who asks, and what the analyst may ask.

In: credentials; a statement and the engine's own parse of it. Out: a user, or a call that may run, or a refusal.

Text of the analyst is never run. What runs is written by the engine from the syntax tree that was judged, and has that
same tree again; or it is a form of `forms`, built here from names. Anything else is refused.
"""

from __future__ import annotations

import dataclasses
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from infra.embedded.clickhouse import analyst, forms, limits, rebuilding, statements
from infra.embedded.clickhouse.config import Settings, digest
from infra.embedded.clickhouse.engine import Call
from infra.embedded.clickhouse.errors import AUTHENTICATION_FAILED, UNKNOWN_FORMAT, refusal
from infra.embedded.clickhouse.request import Credentials
from infra.embedded.clickhouse.statements import Statement

_FORMAT = re.compile(r"\w+")


class Grammar(Protocol):
    """The engine's own parser and writer of statements."""

    def syntax_tree(self, sql: str) -> analyst.Tree | None:
        """The tree of a text; None for a kind of statement that has none."""

    def text_of(self, tree: analyst.Tree) -> str:
        """The statement that has exactly this tree."""

    @property
    def functions(self) -> Mapping[str, str]:
        """Function names in small letters, each with the name that it stands for."""


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
        self._limits = settings.analyst_limits
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

    def permit(self, call: Call, statement: Statement, grammar: Grammar) -> tuple[Call, Statement]:
        """The analyst's statement as it may run, made anew; blocks the thread.

        Raises:
            ServerError: SYNTAX_ERROR of the engine's parser, READONLY or ACCESS_DENIED; nothing must run.
        """
        if statement.data_start is not None:
            raise analyst.not_readonly()
        limits.check_settings(call.settings)
        database = self._policy.database if call.database == "default" else call.database
        if not self._policy.may_use(database):
            raise analyst.denied(f"SHOW DATABASES on {database}")
        made = self._made_anew(statement.sql, database, call.params, grammar)
        fmt = made.format or call.format
        if not _FORMAT.fullmatch(fmt):
            raise refusal(UNKNOWN_FORMAT, "Unknown format in the statement")
        streamed = made.reads and fmt in statements.STREAMED_FORMATS | statements.DOCUMENT_FORMATS
        settings = self._limits.settings({**call.settings, **made.settings}, streamed=streamed)
        made_call = dataclasses.replace(
            call, sql=made.sql, format=fmt, settings=settings, readonly=1, database=database, guest=True
        )
        return made_call, Statement(made.verb, made.sql, fmt)

    def _made_anew(self, sql: str, database: str, params: Mapping[str, str], grammar: Grammar) -> _MadeAnew:
        check = analyst.TreeCheck(self._policy, database, params, grammar.functions)
        tree = grammar.syntax_tree(sql)
        if tree is not None:
            parts = rebuilding.taken_apart(tree)
            check.check(parts.tree)
            return _MadeAnew(parts.verb, grammar.text_of(parts.tree), parts.format, parts.settings)
        form = forms.parse(sql, database, self._policy.check_table, check.check_database)
        if form is None:
            raise analyst.not_readonly()
        if form.sql is not None:
            return _MadeAnew(form.verb, form.sql, form.format, form.settings)
        inner = grammar.syntax_tree(form.select or "")
        if inner is None or inner.get("type") not in analyst.ROOTS:
            raise analyst.not_readonly()
        parts = rebuilding.taken_apart(inner)
        check.check(parts.tree)
        sql = f"DESCRIBE ({grammar.text_of(parts.tree)})"
        return _MadeAnew(form.verb, sql, form.format, {**parts.settings, **form.settings})


@dataclass(frozen=True, slots=True)
class _MadeAnew:
    verb: str
    sql: str
    format: str | None
    settings: Mapping[str, str]

    @property
    def reads(self) -> bool:
        return self.verb == "SELECT"
