"""Paths find their endpoints."""

from __future__ import annotations

import re

import pytest

from services.query_api.dialects import all_dialects
from services.query_api.serving.routing import PathTable

TABLE = PathTable({path: path for path in ("/a", "/a/{id}", "/a/{id}/b", "/a.b/{x}/c/{y}")})


@pytest.mark.parametrize(
    ("path", "template", "parameters"),
    [
        ("/a", "/a", {}),
        ("/a/1", "/a/{id}", {"id": "1"}),
        ("/a/b", "/a/{id}", {"id": "b"}),
        ("/a/b/b", "/a/{id}/b", {"id": "b"}),
        ("/a.b/1/c/2", "/a.b/{x}/c/{y}", {"x": "1", "y": "2"}),
    ],
)
def test_a_path_finds_its_template_and_parameters(path: str, template: str, parameters: dict[str, str]) -> None:
    assert TABLE.find(path) == (template, parameters)


@pytest.mark.parametrize("path", ["", "/", "/a/", "/a//b", "/a/1/2/b", "/axb/1/c/2", "/a\n", "/a/1/b/"])
def test_other_paths_find_nothing(path: str) -> None:
    assert TABLE.find(path) is None


def test_every_products_paths_are_told_apart() -> None:
    paths = [read.path for dialect in all_dialects() for read in dialect.endpoints]
    table = PathTable({path: path for path in paths})
    for path in paths:
        found = table.find(re.sub(r"\{\w+\}", "analytics", path))
        assert found is not None
        assert found[0] == path
