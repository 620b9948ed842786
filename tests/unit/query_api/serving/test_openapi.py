"""What the description says of every operation, and that samples and golden replies keep to it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from services.query_api.apis import all_apis
from services.query_api.dialects import all_dialects
from services.query_api.serving.components import Components
from services.query_api.serving.openapi import openapi
from services.query_api.serving.shapes import shape
from services.query_api.site.pages import documentation_page
from tests.support.dialects import GoldenCase, golden_cases

DESCRIBED: dict[str, Any] = openapi(all_apis())
OPERATIONS_BY_NAME: dict[str, Any] = {
    f"{method.upper()} {path}": operation
    for path, methods in DESCRIBED["paths"].items()
    for method, operation in methods.items()
}


# What generated clients call each operation: a name that is taken is in somebody's program. Add to it, change none.
IDS = {
    "listOpenpostSnapshots": "GET /v1/analytics",
    "getOpenpostPostMetrics": "GET /v1/analytics/post/{post_id}",
    "getPostflowPostMetrics": "GET /v1/posts/{postId}/metrics",
    "getPostfuzePostAnalytics": "GET /api/v1/posts/{id}/analytics",
    "getPostfuzeAccountMetrics": "GET /api/v1/social-accounts/{id}/metrics",
    "getPostfuzeAccountHealth": "GET /api/v1/social-accounts/{id}/health",
    "getPostmePostInsights": "GET /api/v1/posts/{id}/insights",
    "getPostmeChannelInsights": "GET /api/v1/channels/{id}/insights",
    "getPowerpostItemAnalytics": "GET /api/v1/post-items/{id}/analytics",
    "getPostSeries": "GET /tidemark/v1/posts/{id}/series",
    "getTargetSeries": "GET /tidemark/v1/targets/{id}/series",
    "getChannelSeries": "GET /tidemark/v1/channels/{id}/series",
    "getWorkspaceSeries": "GET /tidemark/v1/series",
    "getChannelTotals": "GET /tidemark/v1/channels/{id}/totals",
    "getWorkspaceTotals": "GET /tidemark/v1/totals",
    "exportDataset": "GET /tidemark/v1/exports/{dataset}",
    "getBestTimes": "GET /tidemark/v1/insights/best-times",
    "getDecay": "GET /tidemark/v1/insights/decay",
    "getUnusual": "GET /tidemark/v1/insights/unusual",
    "getPost": "GET /tidemark/v1/posts/{id}",
    "getTarget": "GET /tidemark/v1/targets/{id}",
    "getChannel": "GET /tidemark/v1/channels/{id}",
    "listPosts": "GET /tidemark/v1/posts",
    "listTargets": "GET /tidemark/v1/targets",
    "listChannels": "GET /tidemark/v1/channels",
    "queryPosts": "POST /tidemark/v1/posts/query",
    "queryTargets": "POST /tidemark/v1/targets/query",
    "queryChannels": "POST /tidemark/v1/channels/query",
    "listTopPosts": "GET /tidemark/v1/top/posts",
    "explainPost": "GET /tidemark/v1/posts/{id}/explain",
    "explainTarget": "GET /tidemark/v1/targets/{id}/explain",
    "getChannelWindow": "GET /tidemark/v1/channels/{id}/windows",
    "listChannelEvents": "GET /tidemark/v1/channels/{id}/events",
    "listCapabilities": "GET /tidemark/v1/capabilities",
    "getUsage": "GET /tidemark/v1/usage",
    "createWebhook": "POST /tidemark/v1/webhooks",
    "listWebhooks": "GET /tidemark/v1/webhooks",
    "getWebhook": "GET /tidemark/v1/webhooks/{id}",
    "changeWebhook": "PATCH /tidemark/v1/webhooks/{id}",
    "deleteWebhook": "DELETE /tidemark/v1/webhooks/{id}",
    "rotateWebhookSecret": "POST /tidemark/v1/webhooks/{id}/rotate",
    "testWebhook": "POST /tidemark/v1/webhooks/{id}/test",
    "listWebhookDeliveries": "GET /tidemark/v1/webhooks/{id}/deliveries",
    "redeliver": "POST /tidemark/v1/webhooks/{id}/redeliver",
    "listChanges": "GET /tidemark/v1/changes",
    "streamChanges": "GET /tidemark/v1/stream",
    "getStatus": "GET /admin/v1/status",
    "listAccounts": "GET /admin/v1/accounts",
    "listDeadLetters": "GET /admin/v1/dead-letters",
    "redriveDeadLetters": "POST /admin/v1/dead-letters/redrive",
    "getWorkspace": "GET /admin/v1/workspaces/{workspace_id}",
    "putChannel": "PUT /admin/v1/workspaces/{workspace_id}/channels/{channel_id}",
    "deleteChannel": "DELETE /admin/v1/workspaces/{workspace_id}/channels/{channel_id}",
    "putPost": "PUT /admin/v1/workspaces/{workspace_id}/posts/{post_id}",
    "deletePost": "DELETE /admin/v1/workspaces/{workspace_id}/posts/{post_id}",
    "writeCatalog": "POST /admin/v1/catalog",
    "createKey": "POST /admin/v1/workspaces/{workspace_id}/keys",
    "revokeKey": "DELETE /admin/v1/workspaces/{workspace_id}/keys/{key_id}",
}


WITH_BODY = {
    f"{endpoint.method} {endpoint.path}"
    for api in all_apis()
    for endpoint in api.endpoints
    if endpoint.body is not None
}
# What answers writes is never kept, so it is never "not modified".
WRITTEN = {
    f"{endpoint.method} {endpoint.path}": set() if endpoint.action.is_read else {"304"}
    for api in all_apis()
    for endpoint in api.endpoints
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
    expected = {"401", "422", "503"} | (set() if is_admin else {"403", "404", "429"}) | ({"304"} - WRITTEN[name])
    assert expected <= set(operation["responses"])
    for status, response in operation["responses"].items():
        if status < "400":
            continue
        (kind, content), *more = response["content"].items()
        assert (kind, more) == ("application/problem+json", [])
        assert refused(content["schema"], content["example"]) == []
        assert content["example"]["status"] == int(status)
    assert ("requestBody" in operation) is (name in WITH_BODY)
    assert ("413" in operation["responses"]) is (name in WITH_BODY)


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
                if kind == "application/json" or holder is operation.get("requestBody"):
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
    return [read for dialect in all_dialects() if dialect.name == product for read in dialect.endpoints]


def path_fits(template: str, path: str) -> bool:
    parts, asked = template.split("/"), path.split("?")[0].split("/")
    return len(parts) == len(asked) and all(
        part == given or part.startswith("{") for part, given in zip(parts, asked, strict=True)
    )


def test_the_page_shows_every_operation() -> None:
    page = documentation_page(all_apis())
    for name in OPERATIONS_BY_NAME:
        assert f"<code>{name}</code>" in page
    assert "Tidemark" in page


def test_the_ids_of_operations_never_change() -> None:
    assert {operation["operationId"]: name for name, operation in OPERATIONS_BY_NAME.items()} == IDS
    assert len(IDS) == len(OPERATIONS_BY_NAME)


def schemas_of(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every schema of the description with its place, parts of schemas included."""
    if isinstance(value, dict):
        for key, held in value.items():
            if key in ("example", "examples", "default", "enum"):
                continue
            inner = f"{place}/{key}"
            if key in ("schema", "items", "additionalProperties") and isinstance(held, dict):
                yield inner, held
            elif key in ("properties", "schemas") and isinstance(held, dict):
                yield from ((f"{inner}/{name}", part) for name, part in held.items())
            elif key in ("anyOf", "oneOf", "allOf"):
                yield from ((f"{inner}/{number}", part) for number, part in enumerate(held))
            yield from schemas_of(held, inner)
    elif isinstance(value, list):
        for number, held in enumerate(value):
            yield from schemas_of(held, f"{place}/{number}")


ALL_SCHEMAS = dict(schemas_of(DESCRIBED))


def test_every_object_is_a_named_component() -> None:
    """Clients get `Post`, not `GetTidemarkV1PostsId200Response`."""
    objects = [place for place, schema in ALL_SCHEMAS.items() if "properties" in schema]
    assert len(objects) > 50
    assert [place for place in objects if not re.fullmatch(r"/components/schemas/[A-Z][A-Za-z]+", place)] == []
    names = DESCRIBED["components"]["schemas"]
    assert {"Post", "Target", "Channel", "Problem", "PostPage"} <= set(names)
    used = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(DESCRIBED)))
    assert used == set(names)


def test_generators_of_clients_can_read_every_schema() -> None:
    """Null stands beside a type, or beside one reference; a default is a plain value."""
    for place, schema in ALL_SCHEMAS.items():
        kinds = schema.get("type")
        assert kinds != "null" or place.rpartition("/anyOf/")[2] == "1", place
        assert not isinstance(kinds, list) or (len(kinds) == 2 and kinds[1] == "null"), place
        assert kinds is not None or not schema.get("enum"), place
        assert not isinstance(schema.get("default"), dict), place
        assert "default" not in schema or schema["default"] is not None, place
        parts = schema.get("anyOf", [])
        if {"type": "null"} in parts:
            assert len(parts) == 2, place
            assert set(parts[0]) == {"$ref"}, place


def test_an_object_without_a_name_and_two_of_one_name_are_found_when_the_description_is_made() -> None:
    components = Components()
    with pytest.raises(TypeError, match="no name"):
        components.schema({"type": "array", "items": {"type": "object", "properties": {"likes": {"type": "integer"}}}})
    components.schema(shape("Figure", {"likes": {"type": "integer"}}))
    components.schema(shape("Figure", {"likes": {"type": "integer", "description": "Said otherwise."}}))
    with pytest.raises(TypeError, match="Figure"):
        components.schema(shape("Figure", {"likes": {"type": "string"}}))


def test_a_property_called_title_is_no_name() -> None:
    components = Components()
    components.schema(shape("Preview", {"title": {"type": "string"}}))
    assert components.schemas["Preview"]["properties"] == {"title": {"type": "string"}}


def test_the_page_begins_with_a_table_of_contents_whose_links_lead_somewhere() -> None:
    page = documentation_page(all_apis())
    contents = page[page.index("<nav") : page.index("</nav>")]
    links = re.findall(r'href="#([^"]+)"', contents)
    assert set(links) >= set(IDS)
    assert len(links) == len(IDS) + len(DESCRIBED["tags"])
    for link in links:
        assert page.count(f' id="{link}"') == 1
