"""Syntax trees that are nested deeper than Python recurses."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.embedded.clickhouse import rebuilding, trees
from infra.embedded.clickhouse.analyst import Policy, TreeCheck
from infra.embedded.clickhouse.builder import Own, check_written
from infra.embedded.clickhouse.errors import ServerError
from infra.embedded.clickhouse.native_blocks import for_version

DEPTHS = [10, 163, 1000, 8000]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=30,
)


def deep(depth: int, leaf: dict[str, Any]) -> dict[str, Any]:
    """A sum of many terms in a SELECT."""
    tree = leaf
    for _ in range(depth):
        one = {"type": "Literal", "value": 1}
        tree = {"type": "Function", "name": "plus", "arguments": {"type": "ExpressionList", "children": [tree, one]}}
    select = {"type": "SelectQuery", "select": {"type": "ExpressionList", "children": [tree]}}
    return {"type": "SelectWithUnionQuery", "list_of_selects": {"type": "ExpressionList", "children": [select]}}


def leaf_of(tree: Any, depth: int) -> Any:
    tree = tree["list_of_selects"]["children"][0]["select"]["children"][0]
    for _ in range(depth):
        tree = tree["arguments"]["children"][0]
    return tree


@given(VALUES)
def test_any_json_is_read_and_written_as_json_does(value: Any) -> None:
    text = json.dumps(value)
    assert trees._read_deep(text) == value
    assert trees._read_deep(json.dumps(value, indent=1, ensure_ascii=False)) == value
    assert "".join(trees._pieces(value)) == text
    assert trees.rebuilt(value, lambda old, copy: copy) == value
    assert trees.alike(value, json.loads(text), beside="x")


@given(VALUES, VALUES)
def test_trees_are_alike_when_they_are_equal_without_the_marks(one: Any, other: Any) -> None:
    def unmarked(node: Any) -> Any:
        if isinstance(node, dict):
            return {name: unmarked(value) for name, value in node.items() if name != "a"}
        return [unmarked(value) for value in node] if isinstance(node, list) else node

    assert trees.alike(one, other, beside="a") == (unmarked(one) == unmarked(other))


@pytest.mark.parametrize("text", ["", "[", '{"a": 1', "[1][2]", '{"a": [}'])
def test_json_without_an_end_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        trees._read_deep(text)


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_deep_tree_comes_through_every_step(depth: int) -> None:
    tree = deep(depth, {"type": "Function", "name": "currentUser", "arguments": None})
    read = trees.read(trees.written(tree))
    assert trees.alike(read, tree, beside="is_operator")
    assert trees.alike(trees.read(json.dumps({"a": 1})), {"a": 1, "b": 2}, beside="b")
    parts = rebuilding.taken_apart(read)
    TreeCheck(Policy("d"), "d", {}, {"currentuser": "currentuser", "plus": "plus"}).check(parts.tree)
    named = rebuilding.with_user(parts.tree, "analyst", {})
    assert leaf_of(named, depth)["value"] == {"field_type": "String", "value": "analyst"}
    assert not trees.alike(named, read, beside="is_operator")
    assert trees.alike(rebuilding.with_source(named, ("system", "settings"), dict, "d"), named, beside="")


@pytest.mark.parametrize("depth", DEPTHS)
def test_what_may_not_run_is_found_at_any_depth(depth: int) -> None:
    tree = deep(depth, {"type": "Function", "name": "file", "arguments": None})
    with pytest.raises(ServerError, match="function file"):
        TreeCheck(Policy("d"), "d", {}, {"plus": "plus"}).check(tree)
    view = {"type": "CreateQuery", "database": "d", "table": "v", "is_ordinary_view": True, "select": tree}
    with pytest.raises(ServerError, match="function file"):
        check_written(view, Own("d"), TreeCheck(Policy("d"), "d", {}, {"plus": "plus"}))


@pytest.mark.parametrize("depth", DEPTHS)
def test_settings_of_the_last_select_at_any_depth(depth: int) -> None:
    clause = {"type": "SetQuery", "changes": [{"name": "max_threads", "value": 1}]}
    tree: dict[str, Any] = {"type": "SelectQuery", "settings": clause}
    for _ in range(depth):
        tree = {"type": "SelectWithUnionQuery", "list_of_selects": {"type": "ExpressionList", "children": [tree]}}
    parts = rebuilding.taken_apart(tree)
    assert parts.settings == {"max_threads": "1"}
    assert all("settings" not in node for node in trees.nodes(parts.tree))
    assert any("settings" in node for node in trees.nodes(tree))


@pytest.mark.parametrize("depth", [10, 900, 20_000])
def test_a_column_of_deep_arrays(depth: int) -> None:
    kind = b"Array(" * depth + b"UInt8" + b")" * depth
    size = bytes([len(kind) & 127 | 128, len(kind) >> 7 & 127 | 128, len(kind) >> 14])
    column = b"\1a" + size + kind
    data = (1).to_bytes(8, "little") * depth + b"\7"
    expected = bytes.fromhex("01 00 02 ffffffff 00") + b"\1\1" + column + b"\0" + data
    assert for_version(b"\1\1" + column + data, 54460) == expected
