"""Pages of other origins: none may read unless it is set which; then preflights and every reply say so."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from services.query_api.apis import all_apis
from services.query_api.reads.query import Post, PostQuestion
from services.query_api.settings import QueryApiSettings
from tests.support.query_api import NOW, FakeApi, fake_api

PAGE, OTHER = "https://app.example.com", "https://elsewhere.example.com"
PATH = "/api/v1/posts/p1/insights"
ASKED = {"access-control-request-method": "GET", "access-control-request-headers": "authorization"}
HEADERS = ("Authorization", "x-api-key", "X-Workspace-Id", "Content-Type", "If-None-Match", "Last-Event-ID")
NEEDED = {
    "kafka_bootstrap": "127.0.0.1:9092",
    "schema_registry_url": "http://127.0.0.1:8081",
    "clickhouse_url": "http://127.0.0.1:8123",
}


def api_for(*origins: str, rate_limit: int = 0) -> FakeApi:
    api = fake_api(cors_origins=origins, rate_limit=rate_limit, cache_bytes=1_000_000)
    api.read_model.answers[PostQuestion("w1", "p1")] = Post("p1", "published", None, None, NOW, ())
    return api


@pytest.mark.parametrize("path", [PATH, PATH + "/", "/v1/analytics", "/tidemark/v1/posts/query", "/admin/v1/catalog"])
@pytest.mark.parametrize("header", HEADERS)
async def test_a_preflight_is_answered_without_a_key(path: str, header: str) -> None:
    for origins, allowed in (((PAGE,), PAGE), (("*",), "*")):
        reply = await api_for(*origins).client.options(
            path, headers={**ASKED, "origin": PAGE, "access-control-request-headers": header.lower()}
        )
        assert reply.status_code == 200
        assert reply.headers["access-control-allow-origin"] == allowed
        assert header.lower() in reply.headers["access-control-allow-headers"].lower()
        assert "access-control-allow-credentials" not in reply.headers


@pytest.mark.parametrize(
    "method", sorted({endpoint.method for api in all_apis() for endpoint in api.endpoints} | {"HEAD"})
)
async def test_a_preflight_allows_each_method_of_an_endpoint(method: str) -> None:
    asked = {**ASKED, "origin": PAGE, "access-control-request-method": method}
    reply = await api_for(PAGE).client.options("/tidemark/v1/webhooks/x", headers=asked)
    assert reply.status_code == 200, reply.text
    assert method in reply.headers["access-control-allow-methods"].split(", ")


async def test_a_preflight_refuses_a_method_that_no_endpoint_has() -> None:
    asked = {**ASKED, "origin": PAGE, "access-control-request-method": "TRACE"}
    assert (await api_for(PAGE).client.options("/tidemark/v1/webhooks/x", headers=asked)).status_code == 400


async def test_replies_and_errors_can_be_read_by_the_pages_named_alone() -> None:
    api = api_for(PAGE, rate_limit=3)
    good, scopeless = api.add_key("w1", "good"), api.add_key("w1", "scopeless", scopes=())
    asked = [(200, PATH, good), (401, PATH, {}), (403, PATH, scopeless), (404, "/nothing", {}), (200, PATH, good)]
    asked += [(422, "/v1/analytics?days=x", good), (429, PATH, good), (200, "/openapi.json", {})]
    for status, path, key in asked:
        reply = await api.client.get(path, headers={**key, "origin": PAGE})
        assert (reply.status_code, reply.headers["access-control-allow-origin"]) == (status, PAGE)
        assert "origin" in [name.strip() for name in reply.headers["vary"].lower().split(",")]
        exposed = reply.headers["access-control-expose-headers"].lower().split(", ")
        assert {"etag", "age", "retry-after", "ratelimit", "ratelimit-policy"} <= set(exposed)
    api.read_model.error = RuntimeError("a bug")
    api.clock.advance(60)
    broken = await api.client.get("/v1/analytics", headers={**good, "origin": PAGE})
    assert (broken.status_code, broken.headers["access-control-allow-origin"]) == (500, PAGE)


async def test_a_kept_reply_is_marked_for_whoever_asks_now() -> None:
    """One page's mark must not go out with the bytes that are kept, and no cache may mix callers up."""
    api = api_for(PAGE)
    key = api.add_key("w1", "good")
    seen = []
    for origin in (PAGE, OTHER, None, PAGE):
        reply = await api.client.get(PATH, headers={**key, **({"origin": origin} if origin else {})})
        assert reply.status_code == 200
        assert reply.headers["vary"].lower().count("origin") == 1
        seen.append(reply.headers.get("access-control-allow-origin"))
    assert seen == [PAGE, None, None, PAGE]
    assert len(api.read_model.asked) == 1
    unchanged = await api.client.get(PATH, headers={**key, "origin": PAGE, "if-none-match": reply.headers["etag"]})
    assert (unchanged.status_code, unchanged.headers["access-control-allow-origin"]) == (304, PAGE)


async def test_unset_nothing_is_allowed_and_nothing_is_in_between() -> None:
    api = api_for()
    key = api.add_key("w1", "good")
    reply = await api.client.get(PATH, headers={**key, "origin": PAGE})
    assert not [name for name in reply.headers if name.startswith("access-control-")]
    assert "origin" not in reply.headers["vary"].lower()
    preflight = await api.client.options(PATH, headers={**ASKED, "origin": PAGE})
    assert preflight.status_code == 405
    # Hot reads pay for no layer that does nothing.
    assert type(api.client._transport.app).__name__ == "QueryApi"  # type: ignore[attr-defined]


def test_origins_are_read_from_the_setting() -> None:
    assert QueryApiSettings(**NEEDED).cors_origins == ()  # type: ignore[arg-type]
    read = QueryApiSettings(**NEEDED, cors_origins=f"{PAGE}, http://127.0.0.1:3000")  # type: ignore[arg-type]
    assert read.cors_origins == (PAGE, "http://127.0.0.1:3000")
    assert QueryApiSettings(**NEEDED, cors_origins="*").cors_origins == ("*",)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value",
    ["app.example.com", f"{PAGE}/", f"{PAGE}/path", "https://App.example.com", "null", f"*,{PAGE}", "https://*.a.com"],
)
def test_what_no_browser_sends_as_an_origin_is_refused(value: str) -> None:
    with pytest.raises(ValidationError, match="origin"):
        QueryApiSettings(**NEEDED, cors_origins=value)  # type: ignore[arg-type]
