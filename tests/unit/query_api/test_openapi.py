"""What the description says of every operation, and that samples and golden replies keep to it."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest

from services.query_api import tidemark
from services.query_api.admin.routes import OPERATIONS
from services.query_api.dialects import all_dialects
from services.query_api.openapi import documentation_page, openapi
from services.query_api.tidemark import all_endpoints
from tests.support.dialects import GoldenCase, golden_cases

DESCRIBED: dict[str, Any] = openapi(all_dialects(), all_endpoints(), OPERATIONS)
OPERATIONS_BY_NAME: dict[str, Any] = {
    f"{method.upper()} {path}": operation
    for path, methods in DESCRIBED["paths"].items()
    for method, operation in methods.items()
}


def validator(schema: Any) -> Any:
    """Checks values against a schema of the description."""
    return jsonschema_rs.validator_for({**schema, "components": DESCRIBED["components"]})


def refused(schema: Any, value: Any) -> list[str]:
    return [error.message for error in validator(schema).iter_errors(value)]


@pytest.mark.parametrize("name", sorted(OPERATIONS_BY_NAME))
def test_an_operation_is_described_whole(name: str) -> None:
    operation = OPERATIONS_BY_NAME[name]
    tags = {tag["name"] for tag in DESCRIBED["tags"]}
    assert set(operation["tags"]) <= tags
    assert len(operation["tags"]) == 1
    assert operation["summary"]
    assert operation["description"]
    is_admin = operation["tags"] == ["admin"]
    expected = {"401", "422", "503"} | (set() if is_admin else {"304", "403", "404", "429"})
    assert expected <= set(operation["responses"])
    for status, response in operation["responses"].items():
        if status < "400":
            continue
        (kind, content), *more = response["content"].items()
        assert (kind, more) == ("application/problem+json", [])
        assert refused(content["schema"], content["example"]) == []
        assert content["example"]["status"] == int(status)
    is_sent = name.split(" ")[0] in ("POST", "PUT")
    assert ("requestBody" in operation) is is_sent
    assert ("413" in operation["responses"]) is is_sent


@pytest.mark.parametrize("name", sorted(OPERATIONS_BY_NAME))
def test_examples_keep_to_their_schemas(name: str) -> None:
    operation = OPERATIONS_BY_NAME[name]
    good = [response for status, response in operation["responses"].items() if status < "300"]
    shown = 0
    for holder in [*good, *filter(None, [operation.get("requestBody")])]:
        for kind, content in holder.get("content", {}).items():
            schema = content.get("schema", {})
            for example in [content["example"]] if "example" in content else schema.get("examples", []):
                shown += 1
                if kind != "application/x-ndjson":
                    assert refused(schema, example) == [], kind
    assert shown or set(operation["responses"]) >= {"204"}
    for parameter in operation["parameters"]:
        assert validator(parameter["schema"]) is not None
        assert "$ref" not in str(parameter["schema"])


@pytest.mark.parametrize("case", golden_cases(), ids=lambda case: f"{case.product}-{case.name}")
def test_golden_replies_keep_to_their_products_schema(case: GoldenCase) -> None:
    """The golden replies are the documents' own words, so a schema that refuses one is wrong."""
    reply = case.read("reply")
    if isinstance(reply, dict) and "code" in reply and "title" in reply:
        return
    path = case.read("request")["path"]
    found = [read for read in reads_of(case.product) if path_fits(read.path, path)]
    assert len(found) == 1
    assert refused(found[0].schema, reply) == []


def reads_of(product: str) -> list[Any]:
    return [read for dialect in all_dialects() if dialect.name == product for read in dialect.reads]


def path_fits(template: str, path: str) -> bool:
    parts, asked = template.split("/"), path.split("?")[0].split("/")
    return len(parts) == len(asked) and all(
        part == given or part.startswith("{") for part, given in zip(parts, asked, strict=True)
    )


def test_the_page_shows_every_operation() -> None:
    page = documentation_page(all_dialects(), all_endpoints(), OPERATIONS)
    for name in OPERATIONS_BY_NAME:
        assert f"<code>{name}</code>" in page
    assert tidemark.TITLE in page
