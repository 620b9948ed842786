"""What the builder may change, judged by trees as the engine gives them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infra.embedded.clickhouse.analyst import Policy, TreeCheck
from infra.embedded.clickhouse.builder import Own, check_written, insert_head
from infra.embedded.clickhouse.errors import ServerError
from infra.embedded.clickhouse.limits import Limits
from infra.embedded.clickhouse.rebuilding import taken_apart, with_user

OWN = Own("a")
POLICY = Policy("tidemark", OWN.patterns, ("_*",), OWN.patterns)
GOLDEN = Path(__file__).parents[2] / "golden" / "clickhouse" / "builder_trees.jsonl"
CASES = [json.loads(line) for line in GOLDEN.read_text().splitlines()]


def judge(tree: dict[str, Any], database: str = "a") -> None:
    check_written(taken_apart(tree).tree, OWN, TreeCheck(POLICY, database))


@pytest.mark.parametrize("case", CASES, ids=[case["sql"][:60] for case in CASES])
def test_statements(case: dict[str, Any]) -> None:
    if case["allowed"]:
        judge(case["tree"])
        return
    with pytest.raises(ServerError) as caught:
        judge(case["tree"])
    assert caught.value.code in (164, 497)


@pytest.mark.parametrize("case", [case for case in CASES if case["allowed"]], ids=lambda case: case["sql"][:60])
def test_every_clause_that_is_not_known_is_refused(case: dict[str, Any]) -> None:
    for name in ("a_clause_of_a_later_engine", "cluster", "uuid", "table_function", "infile", "sql_security"):
        with pytest.raises(ServerError):
            judge({**case["tree"], name: "x"})
    for name in ("database", "database_ast"):
        for other in ("tidemark", "system", {"type": "Identifier", "name": "tidemark"}):
            with pytest.raises(ServerError):
                judge({**case["tree"], name: other})


def test_bare_names_belong_to_the_current_database() -> None:
    (tree,) = [case["tree"] for case in CASES if case["sql"].startswith("ALTER TABLE t MODIFY ORDER")]
    judge(tree, "a_more")
    for database in ("tidemark", "ab", "system", "A"):
        with pytest.raises(ServerError):
            judge(tree, database)


def test_the_head_of_an_insert_is_made_of_names() -> None:
    columns = {"type": "ExpressionList", "children": [{"type": "Identifier", "name": "x`; DROP"}]}
    tree = {
        "type": "InsertQuery", "format": "Values", "columns": columns,
        "database": {"type": "Identifier", "name": "a"}, "table": {"type": "Identifier", "name": "b"},
    }  # fmt: skip
    assert insert_head(tree, OWN, TreeCheck(POLICY, "tidemark")) == "INSERT INTO `a`.`b` (`x\\`; DROP`)"
    everything = {**columns, "children": [{"type": "Asterisk"}]}
    for wrong in ({**tree, "columns": everything}, {**tree, "select": {}}, {**tree, "type": "SelectQuery"}):
        with pytest.raises(ServerError):
            insert_head(wrong, OWN, TreeCheck(POLICY, "tidemark"))


def test_rows_after_values_are_never_expressions() -> None:
    given = {"input_format_values_interpret_expressions": "1", "allow_python_table_function": "1"}
    with pytest.raises(ServerError):
        Limits().writing_settings(given)
    given = {"input_format_values_interpret_expressions": "1", "mutations_sync": "3"}
    wanted = Limits().writing_settings(given)
    assert (wanted["input_format_values_interpret_expressions"], wanted["mutations_sync"]) == ("0", "3")
    for name in ("format_schema", "storage_policy", "input_format_schema_path", "readonly", "allow_ddl"):
        with pytest.raises(ServerError):
            Limits().writing_settings({name: "x"})


def test_a_users_name_is_written_where_the_engine_would_write_its_own() -> None:
    call = {"type": "Function", "name": "User", "arguments": {"type": "ExpressionList"}}
    inner = {"type": "Function", "name": "upper", "arguments": {"type": "ExpressionList", "children": [call]}}
    select = {"type": "SelectQuery", "select": {"type": "ExpressionList", "children": [call, inner]}}
    named = with_user(select, "it's", {"user": "currentuser", "currentuser": "currentuser"})
    literal = {"type": "Literal", "value": {"field_type": "String", "value": "it's"}}
    first, second = named["select"]["children"]
    assert first == {**literal, "alias": "User()"}
    assert second["arguments"]["children"] == [literal]
    with_argument = {**call, "arguments": {"type": "ExpressionList", "children": [literal]}}
    assert with_user(with_argument, "x", {"user": "currentuser"}) == with_argument
