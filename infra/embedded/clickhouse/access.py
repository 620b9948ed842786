"""Who sends a statement, and which statements of the guests, analyst and builder, may run.

In: credentials; a statement and the engine's own parse of that statement. Out: a user, a call that may run, or a
refusal.

Text of a guest is never run. The engine writes the statement anew from the judged syntax tree, and the new text must
parse to the same tree; statements without a tree are built from names alone (see `forms`). All others are refused.
"""

from __future__ import annotations

import dataclasses
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from infra.embedded.clickhouse import analyst, builder, forms, limits, rebuilding
from infra.embedded.clickhouse.config import Settings, digest
from infra.embedded.clickhouse.engine import Call
from infra.embedded.clickhouse.errors import (
    AUTHENTICATION_FAILED,
    READONLY,
    UNKNOWN_FORMAT,
    ServerError,
    refusal,
)
from infra.embedded.clickhouse.named import NamedUsers
from infra.embedded.clickhouse.request import Credentials
from infra.embedded.clickhouse.statements import Statement

_FORMAT = re.compile(r"\w+")
# Formats of rows that the builder may send. Other formats need a schema from a file.
_DATA_FORMAT = re.compile(
    r"Native|Values|(?:CSV|TSV|TabSeparated|TSVRaw|TabSeparatedRaw)(?:WithNames(?:AndTypes)?)?|Parquet|Arrow|ArrowStream|ORC"
    r"|RowBinary(?:WithNames(?:AndTypes)?|WithDefaults)?|JSON(?:Compact|Columns|Lines)?"
    r"|JSON(?:Compact)?(?:Strings)?EachRow(?:WithNames(?:AndTypes)?)?"
)
_ANALYST = "analyst: "


class Grammar(Protocol):
    """The engine's own parser and writer of statements."""

    def syntax_tree(self, sql: str) -> analyst.Tree | None:
        """The syntax tree of a text; None for a kind of statement without a tree."""

    def text_of(self, tree: analyst.Tree) -> str:
        """The statement that has exactly this tree."""

    @property
    def functions(self) -> Mapping[str, str]:
        """Function names in lower case, each with the function's full name, which differs for an alias."""


@dataclass(frozen=True, slots=True)
class User:
    """A user of the interface.

    Attributes:
        guest: whether the user's statements are judged, and written anew, before they run.
        inserts: whether the user may send rows.
        role: the engine's role whose rights the user has; empty for all rights.
    """

    name: str
    guest: bool
    inserts: bool
    role: str = ""


@dataclass(frozen=True, slots=True)
class _Guest:
    """What a guest may do; `own` are the databases that the builder may change."""

    name: str
    policy: analyst.Policy
    limits: limits.Limits
    own: builder.Own | None = None


class Users:
    """The users `default`, `analyst` and `builder`, and those that an operator has made.

    Args:
        named: the operator's users; None where there can be none.
    """

    def __init__(self, settings: Settings, named: NamedUsers | None = None) -> None:
        self._named = named
        self._passwords = {"default": digest(settings.password)}
        if settings.analyst_password is not None:
            self._passwords["analyst"] = digest(settings.analyst_password)
        if settings.builder_password is not None:
            self._passwords["builder"] = digest(settings.builder_password)
        self._nobody = digest("no such user")
        own = builder.Own(settings.builder_database)
        read = analyst.Policy(settings.database, settings.analyst_databases, settings.analyst_hidden)
        built = dataclasses.replace(read, databases=(*read.databases, *own.patterns), own=own.patterns)
        self._guests = {
            "analyst": _Guest("analyst", read, settings.analyst_limits),
            "builder": _Guest("builder", built, settings.builder_limits, own),
        }

    def authenticate(self, credentials: Credentials) -> User:
        """The user with these credentials.

        Raises:
            ServerError: AUTHENTICATION_FAILED, with the same text for an unknown user and a wrong password.
        """
        expected = self._passwords.get(credentials.user)
        is_named = expected is None and self._named is not None
        if is_named and self._named is not None:
            expected = self._named.password(credentials.user)
        matches = hmac.compare_digest(expected or self._nobody, digest(credentials.password))
        if expected is None or not matches:
            raise refusal(
                AUTHENTICATION_FAILED,
                f"{credentials.user}: Authentication failed: password is incorrect,"
                " or there is no user with such name.",
            )
        name = credentials.user
        return User(name, name in self._guests, inserts=name != "analyst", role=name if is_named else "")

    def permit(self, user: User, call: Call, statement: Statement, grammar: Grammar) -> tuple[Call, Statement]:
        """A guest's statement, judged and written anew; blocks the thread.

        Raises:
            ServerError: SYNTAX_ERROR of the engine's parser, READONLY or ACCESS_DENIED; the statement must not run.
        """
        try:
            return _Permit(self._guests[user.name], call, grammar).permit(statement)
        except ServerError as error:
            if error.message.startswith(_ANALYST) and user.name != "analyst":
                raise ServerError(error.code, f"{user.name}: {error.message.removeprefix(_ANALYST)}") from error
            raise


class _Permit:
    """The judging of one statement."""

    def __init__(self, guest: _Guest, call: Call, grammar: Grammar) -> None:
        self._guest = guest
        self._call = call
        self._grammar = grammar
        policy = guest.policy
        self._database = policy.database if call.database == "default" else call.database
        if not policy.may_use(self._database):
            raise analyst.denied(f"SHOW DATABASES on {self._database}")
        self._check = analyst.TreeCheck(policy, self._database, call.params, grammar.functions)

    def permit(self, statement: Statement) -> tuple[Call, Statement]:
        if self._guest.own is None:
            limits.check_settings(limits.without_building(self._call.settings))
        if statement.data_start is not None:
            return self._inserting(statement)
        made = self._made_anew(statement.sql)
        fmt = made.format or self._call.format
        if not _FORMAT.fullmatch(fmt):
            raise refusal(UNKNOWN_FORMAT, "Unknown format in the statement")
        if made.writes:
            return self._writing(made.settings, made.sql, fmt), Statement(made.verb, made.sql, fmt)
        given = limits.without_building(self._call.settings)
        bounds = self._guest.limits
        made_call = dataclasses.replace(
            self._call,
            sql=made.sql,
            format=fmt,
            settings=bounds.settings({**given, **made.settings}, held=not made.is_piped),
            readonly=1,
            database=self._database,
            guest=True,
            reply_bytes=bounds.result_bytes,
        )
        return made_call, Statement(made.verb, made.sql, fmt, piped=made.is_piped)

    def _writing(self, settings: Mapping[str, str], sql: str, fmt: str) -> Call:
        if self._call.readonly:
            raise analyst.not_readonly()
        wanted = self._guest.limits.writing_settings({**self._call.settings, **settings})
        return dataclasses.replace(
            self._call, sql=sql, format=fmt, settings=wanted, database=self._database, guest=True
        )

    def _inserting(self, statement: Statement) -> tuple[Call, Statement]:
        """An INSERT whose rows come with the request: a head made of names, and a row format without expressions."""
        own = self._guest.own
        if own is None or statement.input_at is not None:
            raise analyst.not_readonly()
        fmt = statement.format or self._call.format
        if not _DATA_FORMAT.fullmatch(fmt):
            raise refusal(UNKNOWN_FORMAT, f"The format {fmt[:40]} of rows is not open to builder")
        tree = self._grammar.syntax_tree(f"{statement.sql}\nFORMAT Values")
        if tree is None:
            raise analyst.not_readonly()
        parts = rebuilding.taken_apart(tree)
        head = builder.insert_head(parts.tree, own, self._check)
        return self._writing(parts.settings, head, fmt), dataclasses.replace(statement, sql=head, format=fmt)

    def _made_anew(self, sql: str) -> _MadeAnew:
        tree = self._grammar.syntax_tree(sql)
        if tree is not None:
            parts = rebuilding.taken_apart(tree)
            writes = self._judge(parts.tree)
            named = rebuilding.with_user(parts.tree, self._guest.name, self._grammar.functions)
            if not writes:
                named = self._with_changeable_settings(named)
            # EXPLAIN AST takes the clause that names a file for a part of the statement that it explains.
            is_piped = tree.get("kind") != "EXPLAIN AST"
            return _MadeAnew(parts.verb, self._grammar.text_of(named), parts.format, parts.settings, writes, is_piped)
        form = forms.parse(sql, self._database, self._guest.policy.check_table, self._check.check_database)
        if form is None:
            raise analyst.not_readonly()
        if form.sql is not None:
            return _MadeAnew(form.verb, form.sql, form.format, form.settings)
        inner = self._grammar.syntax_tree(form.select or "")
        if inner is None or inner.get("type") not in analyst.ROOTS:
            raise analyst.not_readonly()
        parts = rebuilding.taken_apart(inner)
        self._check.check(parts.tree)
        named = rebuilding.with_user(parts.tree, self._guest.name, self._grammar.functions)
        sql = f"DESCRIBE ({self._grammar.text_of(named)})"
        return _MadeAnew(form.verb, sql, form.format, {**parts.settings, **form.settings})

    def _with_changeable_settings(self, tree: analyst.Tree) -> analyst.Tree:
        def source() -> analyst.Tree:
            made = self._grammar.syntax_tree(limits.changeable_settings())
            assert made is not None
            return made

        changed: analyst.Tree = rebuilding.with_source(tree, ("system", "settings"), source, self._database)
        return changed

    def _judge(self, tree: analyst.Tree) -> bool:
        """Raise for a statement that may not run; else tell whether the statement changes anything."""
        own = self._guest.own
        if own is None or tree.get("type") in analyst.READING_ROOTS:
            self._check.check(tree)
            return False
        if tree.get("type") == "SetQuery":
            if not limits.is_set(rebuilding.settings_of(tree)):
                raise refusal(READONLY, "builder: SET keeps nothing here; send settings with each statement")
            return True
        builder.check_written(tree, own, self._check)
        return True


@dataclass(frozen=True, slots=True)
class _MadeAnew:
    verb: str
    sql: str
    format: str | None
    settings: Mapping[str, str]
    writes: bool = False
    is_piped: bool = True
