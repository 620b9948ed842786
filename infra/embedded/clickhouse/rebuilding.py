"""Takes a guest's judged syntax tree apart: the statement to run, and how its reply is written.

In: a syntax tree. Out: the same tree without its FORMAT clause and its last SETTINGS clause; format and settings are
passed beside the statement instead, like those in a request's address. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from infra.embedded.clickhouse import trees
from infra.embedded.clickhouse.analyst import Tree, not_readonly

_VERBS = {
    "AlterQuery": "ALTER",
    "CreateQuery": "CREATE",
    "DeleteQuery": "DELETE",
    "DropQuery": "DROP",
    "InsertQuery": "INSERT",
    "OptimizeQuery": "OPTIMIZE",
    "RenameQuery": "RENAME",
    "SetQuery": "SET",
    "ExplainQuery": "EXPLAIN",
    "ShowTablesQuery": "SHOW",
    "ShowColumnsQuery": "SHOW",
    "ShowIndexesQuery": "SHOW",
}

_USER_FUNCTIONS = frozenset({"currentuser", "authenticateduser"})
_MADE_OF_SELECTS = frozenset({"CreateQuery", "InsertQuery"})


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a statement.

    Attributes:
        verb: the statement's verb, as `Statement.verb`.
        settings: the last SETTINGS clause, which the engine applies to the whole statement.
    """

    verb: str
    tree: Tree
    format: str | None
    settings: Mapping[str, str]


def taken_apart(tree: Tree) -> Parts:
    """Take a statement apart.

    Raises:
        ServerError: READONLY for a clause that cannot be passed beside the statement.
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
    elif isinstance(rest.get("select"), Mapping) and rest.get("type") in _MADE_OF_SELECTS:
        # A view's settings stay in its tree: they apply when somebody reads the view.
        if not rest.get("is_ordinary_view"):
            rest["select"] = _without_settings(rest["select"], settings)
        _take(rest, "settings_ast", settings)
    else:
        rest = _without_settings(rest, settings)
    return Parts(_VERBS.get(str(rest.get("type")), "SELECT"), rest, fmt, settings)


def _without_settings(tree: Tree, settings: dict[str, str]) -> dict[str, Any]:
    rest = dict(tree)
    # The last SELECT, and in that its own last one.
    chain = [rest]
    while True:
        selects = chain[-1].get("list_of_selects")
        if not isinstance(selects, Mapping) or not selects.get("children"):
            break
        *others, last = selects["children"]
        chain.append(dict(last))
        chain[-2]["list_of_selects"] = {**selects, "children": [*others, chain[-1]]}
    for select in reversed(chain):
        if select.get("type") == "SelectQuery":
            _take(select, "settings", settings)
        _take(select, "settings_ast", settings)
    return rest


def _take(tree: dict[str, Any], key: str, settings: dict[str, str]) -> None:
    clause = tree.pop(key, None)
    if clause is None:
        return
    settings.update(settings_of(clause))


def settings_of(clause: Any) -> dict[str, str]:
    """The settings in a SETTINGS clause; empty without a clause.

    Raises:
        ServerError: READONLY for a clause that holds more than settings.
    """
    if clause is None:
        return {}
    if set(clause) - {"type", "changes", "default_settings", "is_standalone"}:
        raise not_readonly()
    return {str(change["name"]): _value(change["value"]) for change in clause.get("changes", [])}


def _value(value: Any) -> str:
    """A setting's value as text, as it would stand in an address."""
    plain = value.get("value") if isinstance(value, Mapping) else value
    if isinstance(plain, bool):
        return "1" if plain else "0"
    if isinstance(plain, (int, float, str)):
        return str(plain)
    raise not_readonly()


def with_user(tree: Any, user: str, functions: Mapping[str, str]) -> Any:
    """A tree in which the functions for the current user give the guest's name; the engine itself knows one user only.

    Args:
        functions: function names in lower case, each with the function's full name.
    """

    def change(node: Tree, named: dict[str, Any]) -> Tree:
        if node.get("type") == "SelectQuery" and isinstance(named.get("select"), Mapping):
            columns = zip(node["select"].get("children", []), named["select"].get("children", []), strict=True)
            children = [_under_its_name(old, new) for old, new in columns]
            named["select"] = {**named["select"], "children": children}
        if _is_user(node, functions):
            alias = {"alias": node["alias"]} if "alias" in node else {}
            return {"type": "Literal", "value": {"field_type": "String", "value": user}, **alias}
        return named

    return trees.rebuilt(tree, change)


def with_source(tree: Any, table: tuple[str, str], source: Callable[[], Tree], database: str) -> Any:
    """A tree that reads a SELECT in place of a table; columns can still be named by the table's name.

    Args:
        table: the table's database and name.
        source: returns the tree of the SELECT.
        database: the current database, for names without one.
    """

    def change(node: Tree, replaced: dict[str, Any]) -> Tree:
        named = node.get("database_and_table_name")
        if node.get("type") == "TableExpression" and isinstance(named, Mapping):
            parts = [str(part) for part in named.get("name_parts") or [named.get("name", "")]]
            if tuple(parts if len(parts) > 1 else [database, *parts]) == table:
                del replaced["database_and_table_name"]
                alias = str(named.get("alias") or table[1])
                replaced["subquery"] = {"type": "Subquery", "alias": alias, "children": [source()]}
        return replaced

    return trees.rebuilt(tree, change)


def _under_its_name(old: Tree, new: Tree) -> Tree:
    """Give a replaced column the name that it had before."""
    if old.get("type") == "Function" and new.get("type") == "Literal" and "alias" not in new:
        return {**new, "alias": f"{old['name']}()"}
    return new


def _is_user(node: Tree, functions: Mapping[str, str]) -> bool:
    name = str(node.get("name", "")).lower()
    return (
        node.get("type") == "Function"
        and (functions.get(name) or name) in _USER_FUNCTIONS
        and not (node.get("arguments") or {}).get("children")
    )
