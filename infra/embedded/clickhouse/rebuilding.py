"""A statement of the analyst as it will run: its judged syntax tree, and apart from it how the reply is written.

In: a syntax tree. Out: the same tree without its FORMAT clause and its last SETTINGS clause, which travel beside the
statement instead, as they do in a request's address. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra.embedded.clickhouse.analyst import Tree, not_readonly

_VERBS = {
    "ExplainQuery": "EXPLAIN",
    "ShowTablesQuery": "SHOW",
    "ShowColumnsQuery": "SHOW",
    "ShowIndexesQuery": "SHOW",
}


@dataclass(frozen=True, slots=True)
class Parts:
    """A statement in parts.

    Attributes:
        verb: as `Statement.verb`.
        settings: what its last SETTINGS clause says, which is what the engine applies to the whole statement.
    """

    verb: str
    tree: Tree
    format: str | None
    settings: Mapping[str, str]


def taken_apart(tree: Tree) -> Parts:
    """The parts of a statement.

    Raises:
        ServerError: READONLY for a clause that cannot travel beside the statement.
    """
    settings: dict[str, str] = {}
    rest = dict(tree)
    format_node = rest.pop("format_ast", None)
    fmt = None if format_node is None else str(format_node.get("name", ""))
    if rest.get("type") == "ExplainQuery":
        inner = rest.get("query")
        if isinstance(inner, Mapping):
            rest["query"] = _without_settings(inner, settings)
        _take(rest, "settings_ast", settings)
    else:
        rest = _without_settings(rest, settings)
    return Parts(_VERBS.get(str(rest.get("type")), "SELECT"), rest, fmt, settings)


def _without_settings(tree: Tree, settings: dict[str, str]) -> dict[str, Any]:
    rest = dict(tree)
    selects = rest.get("list_of_selects")
    if isinstance(selects, Mapping) and selects.get("children"):
        *others, last = selects["children"]
        rest["list_of_selects"] = {**selects, "children": [*others, _without_settings(last, settings)]}
    if rest.get("type") == "SelectQuery":
        _take(rest, "settings", settings)
    _take(rest, "settings_ast", settings)
    return rest


def _take(tree: dict[str, Any], key: str, settings: dict[str, str]) -> None:
    clause = tree.pop(key, None)
    if clause is None:
        return
    if set(clause) - {"type", "changes", "default_settings", "is_standalone"}:
        raise not_readonly()
    for change in clause.get("changes", []):
        settings[str(change["name"])] = _value(change["value"])


def _value(value: Any) -> str:
    """A setting's value as an address would say it."""
    plain = value.get("value") if isinstance(value, Mapping) else value
    if isinstance(plain, bool):
        return "1" if plain else "0"
    if isinstance(plain, (int, float, str)):
        return str(plain)
    raise not_readonly()
