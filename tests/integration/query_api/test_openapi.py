"""Whatever the description allows, and what it doesn't, is answered as it says: found out by schemathesis."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import CheckFunction, load_all_checks
from schemathesis.generation.feedback import FeedbackSources
from schemathesis.pytest._test_builder import build_operation_test
from schemathesis.python._constants.orchestrator import make_constants_value_source
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from schemas.metrics import CHANNEL_NAMES, POST_NAMES
from services.query_api.apis import all_apis
from services.query_api.serving.openapi import openapi
from tests.integration.query_api.rows import Store
from tests.integration.query_api.running import ADMIN, Service
from tests.support.backend import now_ms
from tests.support.loopback import LOOPBACK
from tests.support.query_api import target, values
from tests.support.waiting import wait_until

WORKSPACE = "filled-workspace"
DAY = 86_400_000
KNOWN = {"posts": "p1", "targets": "t1", "post-items": "t1", "post": "p1", "channels": "c1", "social-accounts": "c1"}
CHECKS: list[CheckFunction] = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# This service has no store of changes: it says so, as described.
CHANGES, STORELESS = ("/tidemark/v1/changes", "/tidemark/v1/stream"), CHECKS[1:]
DESCRIBED = openapi(all_apis())
load_all_checks()
SCHEMA = schemathesis.openapi.from_dict(DESCRIBED)
# Every bound of every parameter, one by one: thousands of requests, so only at length.
SCHEMA_AT_LENGTH = schemathesis.openapi.from_dict(DESCRIBED)
SCHEMA.config.phases.coverage.enabled = False
Decorated = TypeVar("Decorated", bound=Callable[..., Any])
Decorator = Callable[[Decorated], Decorated]
# The library's decorators have no types of their own.
hook: Decorator[Any] = schemathesis.hook
every_operation: Decorator[Any] = pytest.mark.parametrize(
    ("method", "path"), [(method, path) for path, held in DESCRIBED["paths"].items() for method in held]
)
serializer: Decorator[Any] = schemathesis.serializer("application/x-ndjson")
EVERYTHING = settings(
    derandomize=True, deadline=None, database=None, max_examples=5, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="module", autouse=True)
def workspace(service: Service, tables: Store) -> Iterator[None]:
    """A workspace with posts, channels and their histories."""
    fill(tables)
    for channel_id, platform in (("c1", "x"), ("c2", "instagram")):
        put = service.client.put(
            f"/admin/v1/workspaces/{WORKSPACE}/channels/{channel_id}",
            json={"platform": platform, "external_id": f"ext-{channel_id}", "status": "active"},
            headers=ADMIN,
        )
        assert put.status_code == 200, put.text
    yield
    tables.clear()


def fill(store: Store) -> None:
    now = now_ms()
    figures = {name: 3 + number for number, name in enumerate(POST_NAMES)}
    for number in range(3):
        targets = [
            target(f"t{2 * number + 1}", "c1", published_at=now - number * DAY, captured_at=now - DAY,
                   values=values(**figures)),
            target(f"t{2 * number + 2}", "c2", "instagram", published_at=now - number * DAY,
                   parent_target_id=f"t{2 * number + 1}" if number else None),
        ]  # fmt: skip
        store.post(WORKSPACE, f"p{number + 1}", targets, published_at=now - number * DAY)
        for age in (3, 2, 1):
            store.snapshot(
                WORKSPACE, f"t{2 * number + 1}", f"e{number}{age}", now - age * DAY, values(**figures),
                post_id=f"p{number + 1}", channel_id="c1",
            )  # fmt: skip
            store.raw_event(
                WORKSPACE, f"e{number}{age}", "x", [(f"t{2 * number + 1}", f"ext-t{2 * number + 1}")], {"data": []}
            )
    for channel_id, platform in (("c1", "x"), ("c2", "instagram")):
        store.channel(WORKSPACE, channel_id, platform, external_id=f"ext-{channel_id}")
    account: dict[str, Any] = dict.fromkeys(CHANNEL_NAMES, 7)
    store.channel_period(WORKSPACE, "c1", "lifetime", None, None, **account)
    store.channel_snapshot(WORKSPACE, "c1", "e01", now - DAY, followers=7)


@pytest.fixture(scope="module")
def headers(service: Service) -> dict[str, dict[str, str]]:
    """The key of each tag of the description."""
    _, made = service.make_key(WORKSPACE)
    # As the headers that schemathesis makes up itself, so that it takes their place.
    reads = {"authorization": f"Bearer {made['x-api-key']}"}
    path = "/api/v1/channels/c1/insights"
    wait_until(lambda: service.client.get(path, headers=reads).is_success, 20, "the channel is known")
    tags = [tag["name"] for tag in DESCRIBED["tags"]]
    return {tag: ADMIN if tag == "admin" else reads for tag in tags}


@serializer
def lines(context: Any, value: Any) -> bytes:
    """One value or several, a line each."""
    return b"".join(json.dumps(line).encode() + b"\n" for line in (value if isinstance(value, list) else [value]))


@hook
def map_query(context: Any, query: dict[str, Any] | None) -> dict[str, Any] | None:
    """Known ids and metrics for half of those made up."""
    for name, known in (("channel_id", "c1"), ("integration_id", "c1"), ("ids", ["p1", "t1"]), ("metrics", ["likes"])):
        if query and name in query and len(str(query[name])) % 2:
            query[name] = known
    return query


def check(case: Any, service: Service, headers: dict[str, dict[str, str]]) -> None:
    """Ask as schemathesis says, and again with known ids in the path; never in writes, which would take them away."""
    (tag,) = case.operation.tags
    is_of_changes = case.operation.path.startswith(CHANGES)
    named = {"X-Workspace-Id": WORKSPACE} if case.headers and "X-Workspace-Id" in case.headers else {}
    for _ in range(2):
        response = case.call(base_url=str(service.client.base_url).rstrip("/"), headers={**named, **headers[tag]})
        case.validate_response(response, checks=STORELESS if response.status_code == 503 and is_of_changes else CHECKS)
        before = case.operation.path.split("/{")[0].rpartition("/")[2]
        if tag == "admin" or before not in KNOWN or not case.path_parameters:
            return
        case.path_parameters = dict.fromkeys(case.path_parameters, KNOWN[before])


def test_the_description_is_the_one_that_is_served(service: Service) -> None:
    assert service.client.get("/openapi.json").json() == DESCRIBED


def check_operation(schema: Any, method: str, path: str, examples: settings, ask: Callable[[Any], None]) -> None:
    """Make up the requests of one operation, and ask.

    The library's own decorator would make up those of all operations when tests are collected, in every process.
    """
    build_operation_test(
        config=schema.config,
        operation=schema[path][method],
        test_func=examples(ask),
        given_kwargs={},
        feedback=FeedbackSources(constants_value_source=make_constants_value_source(schema)),
    )()


@every_operation
def test_replies_are_as_described(method: str, path: str, service: Service, headers: dict[str, dict[str, str]]) -> None:
    def ask(case: Any) -> None:
        check(case, service, headers)

    check_operation(SCHEMA, method, path, EVERYTHING, ask)


@pytest.mark.long
@every_operation
def test_replies_are_as_described_at_length(
    method: str, path: str, service: Service, headers: dict[str, dict[str, str]]
) -> None:
    def ask(case: Any) -> None:
        check(case, service, headers)

    check_operation(SCHEMA_AT_LENGTH, method, path, settings(EVERYTHING, max_examples=150), ask)


@every_operation
def test_without_a_key_or_its_scope_nothing_is_told(service: Service, method: str, path: str) -> None:
    """401 comes before everything else, also before what is wrong with the request."""
    operation = DESCRIBED["paths"][path][method]
    kinds: list[tuple[int, dict[str, str]]] = [(401, {}), (401, {"authorization": "Bearer nobody's"})]
    if operation["tags"] != ["admin"]:
        kinds.append((403, service.make_key(WORKSPACE, ("posts:write",))[1]))
    for status, key in kinds:
        url = service.client.base_url.join(path.replace("{", "").replace("}", ""))
        reply = LOOPBACK.request(method, url, headers=key, content=b"no json", timeout=20)
        assert reply.status_code == status
        assert reply.headers["content-type"] == "application/problem+json"
        assert reply.json() == operation["responses"][str(status)]["content"]["application/problem+json"]["example"] | {
            name: reply.json()[name] for name in ("detail", "message")
        }
