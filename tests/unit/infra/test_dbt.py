"""dbt's project: sources are the public views with every column's comment, and tests of each."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from infra.dbt.__main__ import CHECKS, SOURCES, VALUES, document
from schemas.metrics import PLATFORMS
from schemas.views import public_views
from tests.support.deployments import INFRA

PROJECT = INFRA / "dbt" / "tidemark"
(SOURCE,) = yaml.safe_load(SOURCES.read_text(encoding="utf-8"))["sources"]
TABLES = {table["name"]: table for table in SOURCE["tables"]}
EXAMPLES = {
    model["name"]: model
    for model in yaml.safe_load((PROJECT / "models" / "examples" / "examples.yml").read_text(encoding="utf-8"))[
        "models"
    ]
}


def test_the_sources_are_up_to_date() -> None:
    assert SOURCES.read_text(encoding="utf-8") == document(), "run python -m infra.dbt"


def test_the_sources_are_the_public_views_with_every_columns_comment() -> None:
    assert list(TABLES) == list(public_views())
    for name, view in public_views().items():
        assert TABLES[name]["description"] == view.comment
        held = [(column["name"], column["description"]) for column in TABLES[name]["columns"]]
        assert held == [(column.name, column.comment) for column in view.columns]


def checks_of(entry: dict[str, Any]) -> dict[str, Any]:
    """Tests by name, with their arguments."""
    return {
        name: (told[name]["arguments"] if isinstance(told, dict) else {})
        for told in entry.get("data_tests", ())
        for name in ([told] if isinstance(told, str) else told)
    }


@pytest.mark.parametrize("name", list(public_views()))
def test_each_view_has_a_key_and_columns_that_are_never_null(name: str) -> None:
    view = {column.name: column for column in public_views()[name].columns}
    columns = {column["name"]: checks_of(column) for column in TABLES[name]["columns"]}
    (key,) = [arguments["columns"] for test, arguments in checks_of(TABLES[name]).items() if test == "unique_together"]
    assert set(key) <= set(view)
    for column, tests in columns.items():
        assert not ("not_null" in tests and view[column].is_nullable), column
    for column in key:
        assert "not_null" in columns[column] or view[column].is_nullable, column
    fresh = CHECKS[name].fresh_by
    assert (TABLES[name].get("loaded_at_field") or "") == fresh
    assert not fresh or view[fresh].is_time


def test_the_values_are_those_that_the_comments_name() -> None:
    for (view, column), values in VALUES.items():
        (comment,) = [one.comment for one in public_views()[view].columns if one.name == column]
        for value in values:
            assert re.search(rf"\b{value}\b", comment), f"{view}.{column}: {value} is not in {comment!r}"


def test_the_platforms_are_those_of_the_product() -> None:
    project = yaml.safe_load((PROJECT / "dbt_project.yml").read_text(encoding="utf-8"))
    assert sorted(project["vars"]["platforms"]) == sorted(PLATFORMS)


def test_the_examples_read_public_views_and_name_their_columns() -> None:
    models = {path.stem: path.read_text(encoding="utf-8") for path in (PROJECT / "models" / "examples").glob("*.sql")}
    assert set(models) == set(EXAMPLES)
    assert len(models) == 2
    for name, text in models.items():
        read = set(re.findall(r"source\('tidemark', '(\w+)'\)", text))
        assert read
        assert read <= set(public_views())
        for column in EXAMPLES[name]["columns"]:
            assert re.search(rf"\b{column['name']}\b", text), f"{name}.{column['name']}"
