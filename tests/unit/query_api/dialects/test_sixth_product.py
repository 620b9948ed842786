"""A product is one folder and its golden cases: one is added while nothing else changes."""

from __future__ import annotations

import ast
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import jsonschema_rs
import pytest

from services.query_api import dialects
from services.query_api.apis import all_apis
from services.query_api.dialects import all_dialects
from services.query_api.serving.openapi import openapi
from tests.support.dialects import golden_cases
from tests.support.query_api import fake_api
from tests.unit.test_architecture import DIALECT_MAY

SIXTH = Path(__file__).parents[3] / "support" / "sixth"
NAME = "postbeam"
PATH = "/beam/v1/posts/{id}/reactions"
ASKED = PATH.format(id="p-7")
(CASE,) = golden_cases(SIXTH / "golden")


@pytest.fixture(autouse=True)
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The project with one more folder among the products."""
    shutil.copytree(SIXTH / NAME, tmp_path / NAME, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(dialects, "__path__", [*dialects.__path__, str(tmp_path)])
    all_dialects.cache_clear()
    yield
    all_dialects.cache_clear()
    for module in [name for name in sys.modules if name.startswith(f"{dialects.__name__}.{NAME}")]:
        del sys.modules[module]


async def test_a_request_asks_its_question_and_an_answer_becomes_its_reply() -> None:
    api = fake_api(cache_bytes=1_000_000)
    api.read_model.answers[CASE.question] = CASE.answer
    request, key = CASE.read("request"), api.add_key("w1", "good")
    first = await api.client.get(request["path"], params=request["query"], headers=key)
    assert (first.status_code, api.read_model.asked) == (200, [CASE.question])
    assert json.dumps(first.json(), indent=1) == json.dumps(CASE.read("reply"), indent=1)
    # What every endpoint has comes with the declaration: kept replies, tags, HEAD, a slash at the end.
    known = {**key, "if-none-match": first.headers["etag"]}
    assert (await api.client.get(ASKED + "/", headers=known)).status_code == 304
    assert (await api.client.head(ASKED, headers=key)).headers["etag"] == first.headers["etag"]
    assert len(api.read_model.asked) == 1


async def test_refusals_are_those_of_every_endpoint() -> None:
    api = fake_api(rate_limit=4)
    key, scopeless = api.add_key("w1", "good"), api.add_key("w1", "scopeless", scopes=("posts:write",))
    asked = [
        ("GET", f"{ASKED}?fresh=x", {}, 401),
        ("GET", f"{ASKED}?fresh=x", scopeless, 403),
        ("GET", f"{ASKED}?fresh=x", key, 422),
        ("GET", PATH.format(id="no%20id"), key, 404),
        ("GET", ASKED, key, 404),
        ("GET", ASKED, key, 404),
        ("GET", ASKED, key, 429),
        ("POST", ASKED, key, 405),
    ]
    for method, path, headers, status in asked:
        reply = await api.client.request(method, path, headers=headers)
        assert (reply.status_code, reply.json()["status"]) == (status, status), (method, path)
    assert reply.headers["allow"] == "GET, HEAD"
    assert api.read_model.asked == [CASE.question, CASE.question]


async def test_it_is_described_and_shown() -> None:
    described = openapi(all_apis())
    operation = described["paths"][PATH]["get"]
    assert (operation["operationId"], operation["tags"]) == ("getPostbeamReactions", ["PostBeam"])
    assert [(one["name"], one["in"]) for one in operation["parameters"]] == [("id", "path"), ("fresh", "query")]
    assert operation["parameters"][1]["schema"] == {"type": "boolean", "default": False}
    assert set(operation["responses"]) == {"200", "304", "401", "403", "404", "422", "429", "503"}
    shown = operation["responses"]["200"]["content"]["application/json"]
    check = jsonschema_rs.validator_for({**shown["schema"], "components": described["components"]})
    assert check.is_valid(shown["example"])
    assert check.is_valid(CASE.read("reply"))
    assert {"PostbeamReactions", "PostbeamChannel"} <= set(described["components"]["schemas"])
    client = fake_api().client
    assert (await client.get("/openapi.json")).json() == described
    products = (await client.get("/")).json()["products"]
    assert {"name": "PostBeam", "paths": [PATH]} in products
    for page in ("/", "/docs"):
        assert PATH in (await client.get(page, headers={"accept": "text/html"})).text


def test_it_imports_what_a_dialect_may() -> None:
    for file in (SIXTH / NAME).glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.ImportFrom)
                and node.level == 0
                and str(node.module).startswith("services.query_api")
            ):
                assert node.module in DIALECT_MAY, f"{file.name} imports {node.module}"
