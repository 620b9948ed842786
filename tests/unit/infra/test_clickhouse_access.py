"""Users and passwords, and the analyst's rights by syntax tree and by tokens."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from infra.embedded.clickhouse import forms
from infra.embedded.clickhouse.access import Users
from infra.embedded.clickhouse.analyst import Policy, TreeCheck
from infra.embedded.clickhouse.config import Settings
from infra.embedded.clickhouse.errors import ServerError
from infra.embedded.clickhouse.limits import Limits, check_settings, harmless_setting
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
    assert not users.authenticate(Credentials("default", "right")).guest
    assert users.authenticate(Credentials("analyst", "look")).guest
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


def form(text: str) -> forms.Form | None:
    return forms.parse(text, "tidemark", POLICY.check_table, TreeCheck(POLICY, "tidemark").check_database)


def form_or_code(text: str) -> forms.Form | int | None:
    try:
        return form(text)
    except ServerError as error:
        return error.code


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("DESCRIBE posts", "DESCRIBE TABLE `tidemark`.`posts`"),
        ("desc table tidemark.`posts` FORMAT JSON", "DESCRIBE TABLE `tidemark`.`posts`"),
        ('DESCRIBE TABLE "reports"."x y" SETTINGS describe_compact_output = 1', "DESCRIBE TABLE `reports`.`x y`"),
        ("EXISTS posts", "EXISTS TABLE `tidemark`.`posts`"),
        ("EXISTS TABLE posts;", "EXISTS TABLE `tidemark`.`posts`"),
        ("EXISTS DATABASE tidemark", "EXISTS DATABASE `tidemark`"),
        ("SHOW CREATE VIEW reports.x", "SHOW CREATE VIEW `reports`.`x`"),
        ("SHOW CREATE TABLE posts -- it", "SHOW CREATE TABLE `tidemark`.`posts`"),
        ("SHOW FUNCTIONS LIKE 'a'", "SHOW FUNCTIONS LIKE 'a'"),
        ("SHOW ENGINES", "SHOW ENGINES"),
        ("SHOW SETTING max_threads", "SHOW SETTING `max_threads`"),
        ("/* /* */ DESCRIBE secret1 -- */ DESCRIBE posts", "DESCRIBE TABLE `tidemark`.`posts`"),
    ],
)
def test_statements_without_a_tree_are_made_of_names(text: str, made: str) -> None:
    found = form(text)
    assert found is not None
    assert found.sql == made


def test_what_goes_with_a_form() -> None:
    found = form("DESCRIBE TABLE posts FORMAT JSON SETTINGS a = 1, b = 'x y'")
    assert found is not None
    assert (found.format, found.settings) == ("JSON", {"a": "1", "b": "x y"})
    found = form("DESC (SELECT 1, (2)) SETTINGS a = 1.5 FORMAT JSON")
    assert found is not None
    assert (found.sql, found.select, found.format, found.settings) == (None, "SELECT 1, (2)", "JSON", {"a": "1.5"})


@pytest.mark.parametrize(
    "text",
    [
        "DESCRIBE file('/etc/passwd')",
        # The engine nests comments.
        "/* /* */ DESCRIBE posts -- */ DESCRIBE file('x')",
        "DESCRIBE posts /* /* */",
        "DESCRIBE other.x",
        "DESCRIBE _x",
        "DESCRIBE posts INTO OUTFILE '/x'",
        "DESCRIBE `a``b`",
        "DESCRIBE a.b.c",
        "DESCRIBE posts SETTINGS a = 1,",
        "DESCRIBE posts SETTINGS a = (1)",
        "DESCRIBE posts FORMAT JSON x",
        "EXISTS DATABASE other",
        "EXISTS DICTIONARY x",
        "SHOW CREATE TABLE other.x",
        "SHOW CREATE USER default",
        "SHOW GRANTS",
        "SHOW ACCESS",
        "SHOW PROCESSLIST",
        "SHOW",
        "DROP TABLE posts",
        "SYSTEM SHUTDOWN",
        "",
    ],
)
def test_statements_without_a_tree_that_may_not(text: str) -> None:
    assert form_or_code(text) in (None, 164, 497)


@pytest.mark.parametrize("name", ["AIGenerate", "aigenerate", "AI_GENERATE", "FILE", "DictGet", "DICTHAS", "HOSTNAME"])
def test_functions_are_judged_in_any_case(name: str) -> None:
    for column in (function(name), {"type": "Identifier", "name": name}):
        with pytest.raises(ServerError):
            TreeCheck(POLICY, "tidemark").check(select(column=column))


def test_functions_are_judged_by_what_they_stand_for() -> None:
    functions = {"an_alias": "file", "file": "file"}
    for column in (function("An_Alias"), {"type": "Identifier", "name": "AN_ALIAS"}):
        with pytest.raises(ServerError):
            TreeCheck(POLICY, "tidemark", {}, functions).check(select(column=column))
    TreeCheck(POLICY, "tidemark", {}, functions).check(select(column={"type": "Identifier", "name": "air_date"}))


def test_a_parameter_may_not_name_a_function() -> None:
    name = {"type": "Identifier", "name": "", "name_parts": [""], "children": [{"type": "QueryParameter", "name": "f"}]}
    tree = select(column=function("arrayMap", name))
    TreeCheck(POLICY, "tidemark", {"f": "lower"}).check(tree)
    with pytest.raises(ServerError):
        TreeCheck(POLICY, "tidemark", {"f": "file"}).check(tree)


def test_limits_are_given_and_only_lowered() -> None:
    limits = Limits(seconds=60, memory_bytes=1000, result_rows=500)
    assert limits.settings({})["max_execution_time"] == "60"
    given = {"max_execution_time": "0.5", "max_memory_usage": "10", "max_result_rows": "0", "max_threads": "auto(2)"}
    kept = limits.settings(given)
    assert (kept["max_execution_time"], kept["max_memory_usage"]) == ("0.5", "10")
    assert (kept["max_result_rows"], kept["max_threads"]) == ("500", str(limits.threads))
    for value in ("0", "1001", "-1", "1e9", "x"):
        with pytest.raises(ServerError):
            limits.settings({"max_memory_usage": value})


def test_settings() -> None:
    check_settings({"max_threads": "1", "output_format_json_quote_64bit_integers": "0"})
    for name in ("readonly", "allow_ddl", "format_schema", "output_format_schema", "dialect", "format_template_row"):
        assert not harmless_setting(name)
        with pytest.raises(ServerError) as caught:
            check_settings({name: "1"})
        assert caught.value.code == 164
