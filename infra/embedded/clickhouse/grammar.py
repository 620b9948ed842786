"""The engine's own parser and writer of statements, for judging guests' statements.

In: text or a syntax tree. Out: a syntax tree or text. Neither is ever run: texts and trees are parameters' values in
statements of this module. These run on a connection of their own, so that a statement that takes long to parse delays
no other.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from infra.embedded.clickhouse import trees
from infra.embedded.clickhouse.bodies import GUEST_STATEMENT_BYTES
from infra.embedded.clickhouse.engine import Engine
from infra.embedded.clickhouse.errors import (
    BAD_ARGUMENTS,
    NOT_IMPLEMENTED,
    SYNTAX_ERROR,
    ServerError,
    refusal,
)
from infra.embedded.clickhouse.limits import OF_WRITTEN

# The engine holds a tree's JSON to the length of a statement, and some trees have a hundred bytes a token.
_JSON_BYTES = 64 * 1024 * 1024
_KEPT = 512
_KEPT_CHARACTERS = 16 * 1024

_PARSE = "SELECT parseQueryToJSON({value:String})"
_WRITE = (
    "SELECT formatQueryFromJSON({value:String}) AS text, parseQueryToJSON(text)"
    f" SETTINGS max_parser_depth = {OF_WRITTEN['max_parser_depth']}, max_query_size = {_JSON_BYTES}"
)
_FUNCTIONS = "SELECT lower(name), lower(if(empty(alias_to), name, alias_to)) FROM system.functions"


class EngineGrammar:
    """One parser, used by one thread at a time; the others wait."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection = engine.connect()
        self._lock = threading.Lock()
        # The same text always has the same tree, and asking the engine costs as much as a small statement.
        self._answered = functools.lru_cache(maxsize=_KEPT)(self._ask_engine)
        lines = self._ask(_FUNCTIONS).splitlines()
        self._functions = dict(line.split("\t") for line in lines)

    @property
    def functions(self) -> Mapping[str, str]:
        """The engine's function names in lower case, each with the function's full name."""
        return self._functions

    def syntax_tree(self, sql: str) -> Mapping[str, Any] | None:
        """The statement as the engine's own parser reads it; blocks the calling thread.

        Returns:
            the tree as parsed JSON, or None for a kind of statement for which the engine makes no tree.

        Raises:
            ServerError: SYNTAX_ERROR, also for a text of more than `GUEST_STATEMENT_BYTES`.
        """
        size = len(sql.encode("utf-8", "surrogateescape"))
        if size > GUEST_STATEMENT_BYTES:
            raise refusal(
                SYNTAX_ERROR, f"The statement has {size} bytes; the analyst's may have {GUEST_STATEMENT_BYTES}"
            )
        try:
            return _mapping(trees.read(self._ask(_PARSE, sql)))
        except ServerError as error:
            if error.code == BAD_ARGUMENTS:
                return None
            raise

    def text_of(self, tree: Mapping[str, Any]) -> str:
        """The statement that the engine reads as exactly this tree; blocks the calling thread.

        Raises:
            ServerError: NOT_IMPLEMENTED where the engine would read the written statement as another tree.
        """
        text, _, again = self._ask(_WRITE, trees.written(tree)).rstrip("\n").rpartition("\t")
        # `a::Date` is written `CAST(a, 'Date')`: whether a function was spelt as an operator is a mark in the tree.
        if not trees.alike(trees.read(again), tree, beside="is_operator"):
            raise refusal(
                NOT_IMPLEMENTED,
                "analyst: the engine cannot write this statement back as it was read; phrase the statement differently",
            )
        return text

    @contextlib.contextmanager
    def closed(self) -> Iterator[None]:
        """A context in which the parser has no connection; whoever asks it waits."""
        with self._lock:
            self._connection.close()
            try:
                yield
            finally:
                self._connection = self._engine.connect()

    def _ask(self, sql: str, value: str = "") -> str:
        return self._answered(sql, value) if len(value) <= _KEPT_CHARACTERS else self._ask_engine(sql, value)

    def _ask_engine(self, sql: str, value: str) -> str:
        escaped = value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
        try:
            with self._lock:
                reply: bytes = self._connection.query(sql, "TabSeparatedRaw", {"value": escaped}).bytes()
        except ServerError as error:
            raise ServerError(error.code, _without_scope(error.message)) from error
        return reply.decode("utf-8", "surrogateescape")


def _mapping(tree: Any) -> Mapping[str, Any] | None:
    return tree if isinstance(tree, Mapping) else None


def _without_scope(message: str) -> str:
    """An error's message without the statement of this module, which holds the guest's whole statement once more."""
    words, scope, rest = message.partition(": In scope SELECT parseQueryToJSON")
    if not scope:
        words, scope, rest = message.partition(": In scope SELECT formatQueryFromJSON")
    # The name of the error's code is at the end.
    name = rest[rest.rfind(" (") :] if rest.endswith(")") else ""
    return words + name if scope else message
