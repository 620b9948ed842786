"""The application as callers meet it: the order of refusals, their form, isolation, health and documentation."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from services.query_api.dialects import all_dialects
from services.query_api.errors import ReadsUnavailable
from services.query_api.reads.query import ChannelWindowQuestion, Post, PostQuestion
from tests.support.query_api import ADMIN_KEY, NOW, FakeApi, fake_api

PATHS = [
    "/api/v1/posts/p1/insights",
    "/api/v1/channels/c1/insights",
    "/api/v1/post-items/t1/analytics",
    "/api/v1/posts/p1/analytics",
    "/api/v1/social-accounts/c1/metrics",
    "/api/v1/social-accounts/c1/health",
    "/v1/posts/p1/metrics",
    "/v1/analytics",
    "/v1/analytics/post/p1",
]
# What each endpoint refuses of the same query.
BAD_QUERY = "?days=0&since=x"
REFUSING = ("/v1/analytics", "/api/v1/social-accounts/c1/metrics")
POST = Post("p1", "published", None, None, NOW, ())


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    made = fake_api()
    yield made
    await made.client.aclose()


def test_every_documented_path_is_there() -> None:
    found = {read.path for dialect in all_dialects() for read in dialect.endpoints}
    assert len(found) == len(PATHS)


@pytest.mark.parametrize("path", PATHS)
async def test_refusals_come_in_the_order_of_the_contract(path: str) -> None:
    """Each request deserves every refusal from its row on down, and gets the first."""
    api = fake_api(rate_limit=1)
    allowed = api.add_key("w1", "allowed")
    scopeless = api.add_key("w1", "scopeless", scopes=("posts:write",))
    query = BAD_QUERY
    assert (await api.client.get(path + query)).status_code == 401
    assert (await api.client.get(path + query, headers={"authorization": "Bearer unknown"})).status_code == 401
    assert (await api.client.get(path + query, headers=scopeless)).status_code == 403
    first = await api.client.get(path + query, headers=allowed)
    expected = 422 if path.startswith(REFUSING) else 404
    assert first.status_code == expected
    assert (await api.client.get(path + query, headers=allowed)).status_code == 429
    api.clock.advance(60)
    plain = await api.client.get(path, headers=allowed)
    assert plain.status_code == 404


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("/api/v1/posts/p1/insights", {}, 401, "unauthorized"),
        ("/api/v1/posts/p1/insights", {"x-api-key": "scopeless"}, 403, "insufficient_scope"),
        ("/api/v1/posts/p1/insights", {"x-api-key": "good"}, 404, "not_found"),
        ("/api/v1/posts/no%20id/insights", {"x-api-key": "good"}, 404, "not_found"),
        ("/v1/analytics?days=x", {"x-api-key": "good"}, 422, "invalid_parameter"),
        ("/v1/posts/p1/metrics", {"x-api-key": "good"}, 404, "not_found"),
        ("/api/v1/social-accounts/p1/metrics?since=days=x", {"x-api-key": "good"}, 422, "invalid_parameter"),
        ("/api/v1/unknown", {}, 404, "not_found"),
        ("/api/v1/posts/p1/insights/", {}, 401, "unauthorized"),
        ("/api/v1/posts/p1/insights//", {}, 404, "not_found"),
    ],
)
async def test_errors_are_problems_that_echo_nothing(
    api: FakeApi, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    api.add_key("w1", "good")
    api.add_key("w1", "scopeless", scopes=())
    reply = await api.client.get(path, headers=headers)
    assert reply.status_code == status
    assert reply.headers["content-type"] == "application/problem+json"
    body = reply.json()
    assert list(body) == ["type", "title", "status", "detail", "code", "message"]
    assert (body["status"], body["code"], body["detail"]) == (status, code, body["message"])
    assert "p1" not in reply.text
    assert "days=x" not in reply.text


async def test_a_wrong_method_is_405(api: FakeApi) -> None:
    for method, path in [("POST", PATHS[0]), ("DELETE", "/v1/analytics"), ("POST", "/healthz")]:
        reply = await api.client.request(method, path)
        assert (reply.status_code, reply.json()["code"]) == (405, "method_not_allowed")
        assert "GET" in reply.headers["allow"]


async def test_a_bug_is_a_500_without_its_text(api: FakeApi) -> None:
    headers = api.add_key("w1", "good")
    api.read_model.error = RuntimeError("the secret reason")
    reply = await api.client.get(PATHS[0], headers=headers)
    assert (reply.status_code, reply.json()["code"]) == (500, "internal_error")
    assert "secret" not in reply.text


async def test_reads_without_clickhouse_are_503(api: FakeApi) -> None:
    headers = api.add_key("w1", "good")
    api.read_model.error = ReadsUnavailable()
    reply = await api.client.get(PATHS[0], headers=headers)
    assert (reply.status_code, reply.json()["code"]) == (503, "analytics_unavailable")
    assert int(reply.headers["retry-after"]) >= 1


async def test_a_key_opens_its_own_workspace_only(api: FakeApi) -> None:
    mine, other = api.add_key("w1", "mine"), api.add_key("w2", "other")
    api.read_model.answers[PostQuestion("w1", "p1")] = POST
    assert (await api.client.get(PATHS[0], headers=mine)).status_code == 200
    missing = await api.client.get("/api/v1/posts/p2/insights", headers=mine)
    foreign = await api.client.get(PATHS[0], headers=other)
    assert foreign.status_code == missing.status_code == 404
    assert foreign.content == missing.content
    assert {question.workspace_id for question in api.read_model.asked} == {"w1", "w2"}


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer good"},
        {"authorization": "bearer good"},
        {"x-api-key": "good"},
        {"x-api-key": "good", "authorization": "Basic Z29vZA=="},
    ],
)
async def test_a_key_comes_as_bearer_or_x_api_key(api: FakeApi, headers: dict[str, str]) -> None:
    api.add_key("w1", "good")
    api.read_model.answers[PostQuestion("w1", "p1")] = POST
    reply = await api.client.get(PATHS[0], headers=headers)
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/json"
    assert "ratelimit" not in reply.headers


async def test_limit_headers_count_down() -> None:
    api = fake_api(rate_limit=2)
    headers = api.add_key("w1", "good")
    api.read_model.answers[PostQuestion("w1", "p1")] = POST
    left = [(await api.client.get(PATHS[0], headers=headers)).headers for _ in range(3)]
    assert [one["ratelimit"] for one in left] == ['"default";r=1;t=60', '"default";r=0;t=60', '"default";r=0;t=60']
    assert all(one["ratelimit-policy"] == '"default";q=2;w=60' for one in left)
    assert ["retry-after" in one for one in left] == [False, False, True]
    other = api.add_key("w1", "second")
    assert (await api.client.get(PATHS[0], headers=other)).status_code == 200
    missing = await api.client.get("/api/v1/posts/p2/insights", headers=other)
    assert (missing.status_code, missing.headers["ratelimit"]) == (404, '"default";r=0;t=60')


async def test_health_and_readiness(api: FakeApi) -> None:
    assert (await api.client.get("/healthz")).text == "ok\n"
    assert (await api.client.get("/readyz")).status_code == 200
    api.missing.append("the keys are not read yet")
    reply = await api.client.get("/readyz")
    assert (reply.status_code, reply.text) == (503, "the keys are not read yet\n")


async def test_metrics_count_requests_by_endpoint(api: FakeApi) -> None:
    await api.client.get(PATHS[0])
    page = (await api.client.get("/metrics", headers={"authorization": f"Bearer {ADMIN_KEY}"})).text
    wanted = 'endpoint="/api/v1/posts/{id}/insights",product="postme",status="401"'
    assert f"tidemark_query_api_requests_total{{{wanted}}}" in page


async def test_the_description_has_a_tag_a_product_and_an_example_each(api: FakeApi) -> None:
    described = (await api.client.get("/openapi.json")).json()
    assert {tag["name"] for tag in described["tags"]} == {
        "postme", "PowerPost", "PostFuze", "PostFlow", "OpenPost", "Tidemark", "admin",
    }  # fmt: skip
    for dialect in all_dialects():
        for read in dialect.endpoints:
            reply = described["paths"][read.path]["get"]["responses"]["200"]
            assert "example" in reply["content"]["application/json"]
    assert "ChannelPut" in described["components"]["schemas"]
    page = await api.client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "/api/v1/posts/{id}/insights" in page.text


@pytest.mark.parametrize(
    ("text", "shown"), [("24h", "24h"), ("7d", "7d"), ("28d", "28d"), ("", "28d"), ("1d", "28d"), ("24H", "28d")]
)
async def test_any_other_range_is_28d(api: FakeApi, text: str, shown: str) -> None:
    headers = api.add_key("w1", "good")
    await api.client.get("/api/v1/channels/c1/insights", params={"range": text}, headers=headers)
    assert api.read_model.asked == [ChannelWindowQuestion("w1", "c1", shown, NOW // 1000 * 1000)]


async def test_the_admin_key_opens_no_reads(api: FakeApi) -> None:
    reply = await api.client.get(PATHS[0], headers={"authorization": f"Bearer {ADMIN_KEY}"})
    assert reply.status_code == 401


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer good"}, {"x-api-key": "wrong"}])
@pytest.mark.parametrize("path", [*PATHS, "/tidemark/v1/posts?ids=p1", "/tidemark/v1/exports/posts", "/nowhere"])
async def test_no_shared_cache_keeps_what_a_key_opens_or_its_refusals(
    api: FakeApi, path: str, headers: dict[str, str]
) -> None:
    api.add_key("w1", "good")
    reply = await api.client.get(path, headers=headers)
    assert reply.headers["cache-control"] == "private"
    varying = {name.strip() for name in reply.headers["vary"].split(",")}
    assert varying >= {"authorization", "x-api-key", "x-workspace-id", "accept", "accept-encoding"}
    assert len(reply.headers.get_list("vary")) == len(reply.headers.get_list("cache-control")) == 1


async def test_metrics_are_for_operators(api: FakeApi) -> None:
    for headers in ({}, {"authorization": "Bearer good"}, {"authorization": "Bearer "}):
        reply = await api.client.get("/metrics", headers=headers)
        assert reply.status_code == 401
        assert "tidemark_" not in reply.text


async def test_what_is_admins_is_stored_nowhere(api: FakeApi) -> None:
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    reply = await api.client.post("/admin/v1/workspaces/w1/keys", json={"scopes": ["analytics:read"]}, headers=headers)
    assert (reply.status_code, reply.headers["cache-control"]) == (201, "no-store")


async def test_encodings_that_nobody_sends_are_not_looked_into() -> None:
    from services.query_api.serving import accept

    before = accept._coding.cache_info()
    assert accept.coding_among(b"gzip, " + b"x" * 100_000, (b"gzip",)) is None
    assert accept.coding_among(b"gzip, deflate, br, zstd", (b"gzip",)) == b"gzip"
    after = accept._coding.cache_info()
    assert after.currsize + after.hits <= before.currsize + before.hits + 1
