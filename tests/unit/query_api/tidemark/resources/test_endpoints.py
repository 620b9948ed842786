"""The endpoints as callers meet them, over a fake store: shapes, schemas, parameters, and what is kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from schemas.metrics import CHANNEL_NAMES, POST_NAMES, mask_of
from schemas.registers import Stamp, dump_groups
from services.platforms import all_platforms
from services.query_api.cache import post_tag
from services.query_api.errors import ReadsUnavailable
from services.query_api.tidemark.resources import models
from services.query_api.tidemark.resources.routes import ENDPOINTS
from tests.support.query_api import NOW, FakeApi, fake_api, values

V1 = "/tidemark/v1"


def post_rows(post_id: str, target_id: str, **figures: int) -> list[list[Any]]:
    """A post of one target as the store answers it."""
    held = {
        "target_id": target_id, "channel_id": "c1", "post_type": "", "status": "published", "external_id": "9",
        "permalink": None, "published_at": NOW - 3_600_000, "is_story": False, "parent_target_id": None,
    }  # fmt: skip
    known = values(**figures)
    groups = dump_groups(((Stamp(1, NOW - 5_500, b"e1"), mask_of(known)),))
    catalog = [0, post_id, "published", None, NOW - 3_600_000, NOW - 3_600_000, orjson.dumps([held]).decode(), None]
    return [
        [*catalog, *[None] * len(POST_NAMES)],
        [1, target_id, "p1", None, None, 0, groups, NOW - 5_500, *known],
    ]


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    made = fake_api(cache_bytes=1_000_000)
    made.add_channel("w1", "c1", "bluesky")
    rows = post_rows("p1", "t1", likes=3, comments=0)
    made.store.answers["tidemark_posts"] = lambda asked: rows if "p1" in asked["ids"] else []
    made.store.answers["tidemark_targets"] = lambda asked: rows if "t1" in asked["ids"] else []
    yield made
    await made.client.aclose()


def conforms(value: Any, schema: Any) -> bool:
    """Whether a JSON value is what a schema of these endpoints says; the words that they use and no others."""
    kinds = schema.get("type")
    names = {"object": dict, "array": list, "string": str, "integer": int, "number": int | float, "boolean": bool}
    if kinds is not None:
        allowed = [kinds] if isinstance(kinds, str) else kinds
        fits = [value is None if kind == "null" else isinstance(value, names[kind]) for kind in allowed]
        if not any(fits) or (isinstance(value, bool) and "boolean" not in allowed):
            return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if isinstance(value, list):
        return all(conforms(part, schema.get("items", {})) for part in value)
    if isinstance(value, dict):
        held = schema.get("properties", {})
        more = schema.get("additionalProperties", {})
        return set(schema.get("required", ())) <= set(value) and all(
            conforms(part, held.get(name, more)) for name, part in value.items()
        )
    return True


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: f"{endpoint.method} {endpoint.path}")
def test_a_sample_is_what_its_schema_says(endpoint: Any) -> None:
    sample = orjson.loads(orjson.dumps(endpoint.sample))
    assert conforms(sample, endpoint.schema)
    assert not conforms({}, endpoint.schema)


async def test_a_target_has_every_column_and_a_reason_for_every_null(api: FakeApi) -> None:
    headers = api.add_key("w1", "good")
    target = (await api.client.get(f"{V1}/targets/t1", headers=headers)).json()
    assert list(target["metrics"]) == [*POST_NAMES, "engagements", "engagement_rate"]
    assert {name for name, value in target["metrics"].items() if value is None} == set(target["reasons"])
    assert (target["metrics"]["likes"], target["metrics"]["engagements"]) == (3, 3)
    assert (target["captured_at"], target["age_seconds"], target["tier"]) == ("2026-06-28T09:14:16Z", 5, "30m")
    assert conforms(target, models.TARGET_SCHEMA)
    post = (await api.client.get(f"{V1}/posts/p1", headers=headers)).json()
    assert post["targets"] == [target]
    assert conforms(post, models.POST_SCHEMA)


async def test_many_are_one_query_in_the_order_asked_with_what_is_missing(api: FakeApi) -> None:
    headers = api.add_key("w1", "good")
    page = (await api.client.get(f"{V1}/posts", params={"ids": "x,p1,y"}, headers=headers)).json()
    assert [row["id"] for row in page["data"]] == ["p1"]
    assert (page["missing"], page["next_cursor"]) == (["x", "y"], None)
    body = {"ids": ["y", "p1"]}
    queried = (await api.client.post(f"{V1}/posts/query", json=body, headers=headers)).json()
    assert (queried["data"], queried["missing"]) == (page["data"], ["y"])
    assert [asked["ids"] for name, asked in api.store.asked if name == "tidemark_posts"] == [
        ["x", "p1", "y"],
        ["y", "p1"],
    ]
    assert all(asked["workspace"] == "w1" for _, asked in api.store.asked)


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("posts?ids=p1&limit=3", "ids"),
        ("posts?limit=0", "limit"),
        ("posts?limit=501", "limit"),
        ("posts?cursor=abc", "cursor"),
        ("posts?from=2026-06-28&to=2026-06-28", "from"),
        ("posts?from=soon", "from"),
        ("posts?external_id=1", "external_id"),
        ("targets?external_id=1", "external_id"),
        ("channels?external_id=1", "external_id"),
        ("channels?from=2026-06-28", "from"),
        ("targets?platform=X", "platform"),
        ("top/posts", "metric"),
        ("top/posts?metric=love", "metric"),
        ("posts/p1/explain", "metric"),
        ("targets/t1/explain?metric=love", "metric"),
        ("posts/p1?x=1", "x"),
        (f"targets?ids={','.join(map(str, range(501)))}", "ids"),
    ],
)
async def test_a_bad_parameter_is_named(api: FakeApi, path: str, named: str) -> None:
    reply = await api.client.get(f"{V1}/{path}", headers=api.add_key("w1", "good"))
    assert (reply.status_code, reply.json()["code"]) == (422, "invalid_parameter")
    assert named in reply.json()["message"]
    assert not api.store.asked


async def test_a_page_asks_for_one_more_than_it_shows(api: FakeApi) -> None:
    headers = api.add_key("w1", "good")
    api.store.answers["tidemark_posts_page"] = [["p1", 7], ["p2", 5]]
    page = (await api.client.get(f"{V1}/posts", params={"limit": 1, "channel_id": "c1"}, headers=headers)).json()
    assert [row["id"] for row in page["data"]] == ["p1"]
    name, asked = api.store.asked[0]
    assert (name, asked["limit"], asked["is_first"], asked["channels"]) == ("tidemark_posts_page", 2, 1, ["c1"])
    api.store.asked.clear()
    api.store.answers["tidemark_posts_page"] = []
    cursor = {"limit": 1, "cursor": page["next_cursor"]}
    last = (await api.client.get(f"{V1}/posts", params=cursor, headers=headers)).json()
    assert last == {"data": [], "missing": [], "next_cursor": None}
    assert (api.store.asked[0][1]["at"], api.store.asked[0][1]["after"]) == (7, "p1")


async def test_a_reply_is_kept_for_a_second_and_dropped_by_its_post(api: FakeApi) -> None:
    headers = api.add_key("w1", "good")
    assert api.cache is not None
    first = await api.client.get(f"{V1}/targets/t1", headers=headers)
    count = len(api.store.asked)
    assert (await api.client.get(f"{V1}/targets/t1", headers=headers)).content == first.content
    assert len(api.store.asked) == count
    api.cache.drop(post_tag("w1", "p1"))
    await api.client.get(f"{V1}/targets/t1", headers=headers)
    assert len(api.store.asked) == 2 * count
    api.clock.advance(5)
    later = await api.client.get(f"{V1}/targets/t1", headers=headers)
    assert later.json()["age_seconds"] == 10
    # Only time has changed something.
    assert later.headers["etag"] == first.headers["etag"]


async def test_a_channel_that_was_never_measured_has_reasons_only(api: FakeApi) -> None:
    headers = api.add_key("w1", "good")
    channel = (await api.client.get(f"{V1}/channels/c1", headers=headers)).json()
    assert set(channel["reasons"]) == set(CHANNEL_NAMES)
    assert (channel["reasons"]["followers"], channel["reasons"]["reach"]) == ("pending", "not_supported")
    assert (channel["captured_at"], channel["age_seconds"], channel["periods"]) == (None, None, [])
    assert conforms(channel, models.CHANNEL_SCHEMA)


async def test_capabilities_name_every_platform_subject_and_column(api: FakeApi) -> None:
    reply = await api.client.get(f"{V1}/capabilities", headers=api.add_key("w1", "good"))
    rows = {(row["platform"], row["subject"], row["metric"]): row for row in reply.json()["data"]}
    assert len(rows) == len(all_platforms()) * (len(POST_NAMES) + len(CHANNEL_NAMES))
    assert rows["instagram", "post", "dislikes"]["not_supported_because"] == "not in the API"
    assert rows["youtube", "post", "views"]["kinds"] == ["lifetime", "range"]
    # Windows of a channel are added up from its days: no poll asks YouTube for them.
    assert rows["youtube", "channel", "views"]["kinds"] == ["lifetime", "day"]
    assert rows["youtube", "post", "impressions"]["supported"] is False
    assert rows["youtube", "post", "impressions"]["not_supported_because"].startswith("Analytics refuses them")
    assert "yt-analytics.readonly" in rows["youtube", "post", "watch_time_seconds"]["condition"]
    assert rows["youtube", "post", "views"]["condition"] is None
    assert rows["youtube", "channel", "impressions"]["not_supported_because"] == "no poll asks for it"
    assert rows["youtube", "channel", "views"]["lag"] == "2 to 3 days"
    assert rows["google_business", "post", "views"]["supported"] is False
    assert all(row["supported"] is bool(row["kinds"]) for row in rows.values())
    finds = {row["platform"]: row for row in reply.json()["discovery"]}
    assert set(finds) == set(all_platforms())
    assert "r_organization_social" in finds["linkedin"]["condition"]
    assert finds["google_business"] == {"platform": "google_business", "supported": False, "condition": None}
    assert {name for name, row in finds.items() if not row["supported"]} == {"google_business"}
    assert not api.store.asked


async def test_without_clickhouse_it_is_503(api: FakeApi) -> None:
    headers = api.add_key("w1", "good")
    api.store.error = ReadsUnavailable()
    for path in ("posts/p1", "targets", "top/posts?metric=likes", "targets/t1/explain?metric=likes", "channels/c1"):
        reply = await api.client.get(f"{V1}/{path}", headers=headers)
        assert (reply.status_code, reply.json()["code"]) == (503, "analytics_unavailable"), path


async def test_the_description_has_every_endpoint(api: FakeApi) -> None:
    described = (await api.client.get("/openapi.json")).json()
    for endpoint in ENDPOINTS:
        operation = described["paths"][endpoint.path][endpoint.method.lower()]
        assert operation["tags"] == ["Tidemark"]
        assert {"200", "304", "401", "403", "404", "422", "429", "503"} <= set(operation["responses"])
        assert operation["responses"]["200"]["content"]["application/json"]["example"]
    posts = {held["name"]: held for held in described["paths"][f"{V1}/posts"]["get"]["parameters"]}
    assert {"ids", "limit", "cursor", "platform", "channel_id", "channel_ids", "order", "from", "to", "search"} == set(
        posts
    )
    assert (posts["from"]["required"], posts["limit"]["schema"]["maximum"]) == (False, 500)
    body = described["paths"][f"{V1}/posts/query"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/ByIds"}
    assert described["components"]["schemas"]["ByIds"]["properties"]["ids"]["maxItems"] == 500


def test_the_sample_of_a_target_says_its_origin() -> None:
    assert models.TARGET["origin"] == "product"
    assert models.TARGET_SCHEMA["properties"]["origin"]["enum"] == ["product", "discovered"]
