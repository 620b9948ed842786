"""Users and passwords, and the analyst's rights by syntax tree and by tokens."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from infra.embedded.clickhouse.access import Users
from infra.embedded.clickhouse.analyst import Policy, TreeCheck, check_settings, check_tokens, harmless_setting
from infra.embedded.clickhouse.config import Settings
from infra.embedded.clickhouse.errors import ServerError
from infra.embedded.clickhouse.request import Credentials, credentials

POLICY = Policy(database="tidemark", databases=("reports", "test_*"), hidden=("_*", "secret?"))


def request(headers: dict[str, str] | None = None, query: str = "") -> Request:
    raw = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    return Request({"type": "http", "method": "GET", "path": "/", "query_string": query.encode(), "headers": raw})


def basic(text: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (request(), Credentials("default", "")),
        (request(basic("analyst:a:b")), Credentials("analyst", "a:b")),
        (request({"X-ClickHouse-User": "analyst", "X-ClickHouse-Key": "k"}), Credentials("analyst", "k")),
        (request({"X-ClickHouse-Key": "k"}), Credentials("default", "k")),
        (request(query="user=analyst&password=p%20q"), Credentials("analyst", "p q")),
        (request({"Authorization": "Basic ???"}), Credentials("", "")),
        (request({"Authorization": "Bearer x"}, "user=default&password=right"), Credentials("", "")),
    ],
)
def test_credentials(given: Request, expected: Credentials) -> None:
    assert credentials(given) == expected


def test_authentication() -> None:
    users = Users(Settings(Path("x"), 0, password="right", analyst_password="look"))
    assert not users.authenticate(Credentials("default", "right")).analyst
    assert users.authenticate(Credentials("analyst", "look")).analyst
    for wrong in (("default", ""), ("default", "look"), ("analyst", ""), ("root", "right"), ("", "")):
        with pytest.raises(ServerError) as caught:
            users.authenticate(Credentials(*wrong))
        assert caught.value.code == 516


def test_no_analyst_without_a_password() -> None:
    users = Users(Settings(Path("x"), 0, password="right"))
    for password in ("", "right"):
        with pytest.raises(ServerError):
            users.authenticate(Credentials("analyst", password))


def select(*, source: Mapping[str, Any] | None = None, column: Mapping[str, Any] | None = None) -> dict[str, Any]:
    query: dict[str, Any] = {"type": "SelectQuery", "select": {"type": "ExpressionList", "children": [column or {}]}}
    if source is not None:
        query["tables"] = {"type": "TableExpression", **source}
    return {"type": "SelectWithUnionQuery", "list_of_selects": {"type": "ExpressionList", "children": [query]}}


def table(*parts: str) -> dict[str, Any]:
    return {"database_and_table_name": {"type": "TableIdentifier", "name": ".".join(parts), "name_parts": list(parts)}}


def function(name: str, *arguments: Any) -> dict[str, Any]:
    return {"type": "Function", "name": name, "arguments": {"type": "ExpressionList", "children": list(arguments)}}


ALLOWED = [
    select(),
    select(source=table("posts")),
    select(source=table("tidemark", "posts")),
    select(source=table("reports", "x")),
    select(source=table("test_1", "x")),
    select(source=table("system", "tables")),
    select(source=table("information_schema", "tables")),
    select(source={"table_function": function("numbers")}),
    select(column=function("count")),
    {"type": "ExplainQuery", "kind": "EXPLAIN", "settings": {"type": "SetQuery", "changes": []}, "query": select()},
    {"type": "ShowTablesQuery", "databases": True},
]
REFUSED = [
    select(source=table("other", "x")),
    select(source=table("_hidden")),
    select(source=table("tidemark", "secret1")),
    select(source=table("system", "processes")),
    select(source=table("a", "b", "c")),
    select(source={"table_function": function("file")}),
    select(source={"table_function": function("a_function_of_a_later_engine")}),
    select(column=function("file")),
    select(column=function("aiGenerate")),
    select(column={"type": "Identifier", "name": "file"}),
    select(column={"type": "Identifier", "name": "_hidden", "alias": "y"}),
    select(column={"type": "ColumnsApplyTransformer", "func_name": "file"}),
    select(column=function("in", {"type": "Identifier", "name": "a"}, {"type": "Identifier", "name": "_hidden"})),
    select(column={"type": "SetQuery", "changes": [{"name": "readonly"}]}),
    select(column={"type": "ANodeOfALaterEngine"}),
    {**select(), "out_file": {"type": "Literal"}},
    {"type": "InsertQuery"},
    {"type": "KillQueryQuery"},
    {"type": "ExplainQuery", "kind": "EXPLAIN TABLE OVERRIDE", "table_function": function("mysql")},
    {"type": "ExplainQuery", "kind": "EXPLAIN AST", "query": {"type": "InsertQuery"}},
    {"type": "ShowTablesQuery", "clusters": True},
    {"type": "ShowColumnsQuery", "database": "other", "table": "x"},
]


@pytest.mark.parametrize("tree", ALLOWED)
def test_trees_that_may_run(tree: dict[str, Any]) -> None:
    TreeCheck(POLICY, "tidemark").check(tree)


@pytest.mark.parametrize("tree", REFUSED)
def test_trees_that_may_not(tree: dict[str, Any]) -> None:
    with pytest.raises(ServerError) as caught:
        TreeCheck(POLICY, "tidemark").check(tree)
    assert caught.value.code in (164, 497)


def test_a_parameter_in_a_table_name_is_resolved() -> None:
    name = {"type": "TableIdentifier", "name": "", "name_parts": ["", ""]}
    children = [{"type": "QueryParameter", "name": "d"}, {"type": "QueryParameter", "name": "t"}]
    tree = select(source={"database_and_table_name": {**name, "children": children}})
    TreeCheck(POLICY, "tidemark", {"d": "tidemark", "t": "posts"}).check(tree)
    for params in ({"d": "other", "t": "posts"}, {"d": "tidemark", "t": "_x"}, {"t": "posts"}):
        with pytest.raises(ServerError):
            TreeCheck(POLICY, "tidemark", params).check(tree)


@pytest.mark.parametrize(
    ("text", "select_inside"),
    [
        ("DESCRIBE posts", None),
        ("desc table tidemark.`posts` FORMAT JSON", None),
        ("DESCRIBE (SELECT 1)", "(SELECT 1)"),
        ("EXISTS TABLE posts", None),
        ("EXISTS DATABASE tidemark", None),
        ("SHOW CREATE VIEW reports.x", None),
        ("SHOW FUNCTIONS LIKE 'a'", None),
    ],
)
def test_statements_without_a_tree_that_may_run(text: str, select_inside: str | None) -> None:
    assert check_tokens(text, POLICY, "tidemark") == select_inside


@pytest.mark.parametrize(
    "text",
    [
        "DESCRIBE file('/etc/passwd')",
        "DESCRIBE other.x",
        "DESCRIBE _x",
        "DESCRIBE posts INTO OUTFILE '/x'",
        "DESCRIBE `a``b`",
        "EXISTS DATABASE other",
        "EXISTS DICTIONARY x",
        "SHOW CREATE TABLE other.x",
        "SHOW CREATE USER default",
        "SHOW GRANTS",
        "SHOW PROCESSLIST",
        "SHOW",
        "DROP TABLE posts",
        "SYSTEM SHUTDOWN",
        "",
    ],
)
def test_statements_without_a_tree_that_may_not(text: str) -> None:
    with pytest.raises(ServerError) as caught:
        check_tokens(text, POLICY, "tidemark")
    assert caught.value.code in (164, 497)


def test_settings() -> None:
    check_settings({"max_threads": "1", "output_format_json_quote_64bit_integers": "0"})
    for name in ("readonly", "allow_ddl", "format_schema", "output_format_schema", "dialect", "format_template_row"):
        assert not harmless_setting(name)
        with pytest.raises(ServerError) as caught:
            check_settings({name: "1"})
        assert caught.value.code == 164
