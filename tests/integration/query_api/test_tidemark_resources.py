"""Tidemark's own API about posts, targets and channels, on real tables."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from random import Random
from typing import Any

import httpx
import orjson
import pytest
from pydantic import SecretStr

from schemas.metrics import CHANNEL_NAMES, INT64_MAX, MILLIS_MAX, POST_METRICS, POST_NAMES, Values, mask_of
from schemas.registers import Stamp, dump_groups
from services.query_api.reads.clickhouse import ClickHouse
from services.query_api.reads.query import Target
from services.query_api.tidemark.resources.parameters import METRICS
from services.runtime.clock import iso_millis
from services.runtime.settings import ClickHouseSettings
from tests.integration.query_api.rows import Store
from tests.support.query_api import NOW, FakeApi, fake_api, target, values

DAY = 86_400_000
HOUR = 3_600_000


class Tenant:
    """One workspace over real tables, and a key of it."""

    def __init__(self, api: FakeApi, store: Store, workspace_id: str = "w1") -> None:
        self.api = api
        self.store = store
        self.workspace_id = workspace_id
        self.key = api.add_key(workspace_id, f"key-of-{workspace_id}")

    async def reply(self, path: str, **parameters: Any) -> httpx.Response:
        return await self.api.client.get(f"/tidemark/v1/{path}", params=parameters, headers=self.key)

    async def get(self, path: str, **parameters: Any) -> Any:
        """A reply that must be one."""
        reply = await self.reply(path, **parameters)
        assert reply.status_code == 200, reply.text
        return reply.json()

    async def ids(self, path: str, **parameters: Any) -> list[str]:
        """The ids of every page, one after the other."""
        found: list[str] = []
        while True:
            page = await self.get(path, **parameters)
            found += [row["id"] for row in page["data"]]
            if page["next_cursor"] is None:
                return found
            parameters["cursor"] = page["next_cursor"]

    def channel(self, channel_id: str, platform: str = "x") -> None:
        self.api.add_channel(self.workspace_id, channel_id, platform)
        self.store.channel(self.workspace_id, channel_id, platform, external_id=f"ext-{channel_id}")

    def post(self, post_id: str, *targets: Target, spoken: Mapping[str, int] | None = None, **row: Any) -> None:
        """A post; what is known of a target was said by event `e-<target>`, which spoke of that and of `spoken`."""
        groups = {
            one.target_id: said(
                one.captured_at, f"e-{one.target_id}", mask_of(one.values) | (spoken or {}).get(one.target_id, 0)
            )
            for one in targets
            if one.captured_at is not None
        }
        published_at = max((one.published_at for one in targets if one.published_at is not None), default=None)
        self.store.post(self.workspace_id, post_id, targets, registers=groups, published_at=published_at, **row)


def said(captured_at: int, event_id: str, mask: int) -> str:
    """A register as stored, all of it from one answer."""
    return dump_groups(((Stamp(1, captured_at, event_id.encode()), mask),))


def bit(*names: str) -> int:
    """The mask of some post metrics."""
    return sum(1 << POST_NAMES.index(name) for name in names)


@pytest.fixture
async def api(store: Store) -> AsyncIterator[FakeApi]:
    """The application on real tables."""
    clickhouse = ClickHouse(ClickHouseSettings(clickhouse_url=SecretStr(store.url)))
    made = fake_api(clickhouse=clickhouse)
    yield made
    await made.client.aclose()
    await clickhouse.close()


@pytest.fixture
def tenant(api: FakeApi, store: Store) -> Tenant:
    return Tenant(api, store)


async def test_a_post_has_totals_and_each_target_its_figures(tenant: Tenant) -> None:
    tenant.channel("c1")
    tenant.channel("c2", "instagram")
    tenant.post(
        "p1",
        target(
            "t2",
            "c2",
            "instagram",
            captured_at=NOW - 90_000,
            values=values(reach=100, likes=4, watch_time_seconds=1_500),
        ),
        target("t1", captured_at=NOW - 30_000, values=values(impressions=INT64_MAX, likes=1)),
    )
    post = await tenant.get("posts/p1")
    assert [one["id"] for one in post["targets"]] == ["t2", "t1"]
    assert post["metrics"]["likes"] == 5
    assert post["metrics"]["impressions"] == INT64_MAX
    assert post["metrics"]["engagements"] == 5
    assert post["metrics"]["watch_time_seconds"] == 1.5
    assert post["targets"][0]["metrics"]["engagement_rate"] == 0.04
    assert (post["captured_at"], post["age_seconds"]) == ("2026-06-28T09:13:52Z", 30)
    assert (post["tier"], post["targets"][1]["tier"]) == ("30m", "30m")
    assert await tenant.get("targets/t2") == post["targets"][0]


async def test_every_null_has_its_reason(tenant: Tenant) -> None:
    tenant.channel("c1")
    old, young = NOW - 4 * DAY, NOW - HOUR
    figures = values(impressions=9, likes=1)
    tenant.post("hidden", target("t1", captured_at=NOW, values=figures), spoken={"t1": bit("comments")})
    tenant.post("old", target("t2", captured_at=NOW, values=figures, published_at=old))
    for number, status in [(3, 403), (4, 503), (5, 200)]:
        tenant.post(f"p{number}", target(f"t{number}", published_at=young))
        body: Any = {"data": []} if status == 200 else {"title": "Forbidden", "type": "about:blank"}
        tenant.store.raw_event(
            "w1", f"e{number}", "x", [(f"t{number}", f"ext-t{number}")], body,
            http_status=status, captured_at=iso_millis(NOW - 1000),
        )  # fmt: skip
    tenant.post("asked", target("t6", published_at=young))
    reasons = {
        one["id"]: one["targets"][0]["reasons"]
        for one in (await tenant.get("posts", ids="hidden,old,p3,p4,p5,asked"))["data"]
    }
    assert all(held["reach"] == "not_supported" for held in reasons.values())
    assert reasons["hidden"]["comments"] == "not_supported"
    assert reasons["hidden"]["clicks"] == "pending"
    assert "likes" not in reasons["hidden"]
    assert reasons["old"]["clicks"] == "retired"
    assert (reasons["p3"]["likes"], reasons["p4"]["likes"]) == ("permission", "error")
    assert reasons["asked"]["likes"] == "pending"
    assert reasons["p5"]["likes"] == "pending"


async def test_what_the_platform_says_is_gone_is_not_polled_again(tenant: Tenant) -> None:
    tenant.channel("c1")
    tenant.post("p1", target("t1"), target("t2"))
    gone = {"value": "ext-t1", "resource_id": "ext-t1", "parameter": "ids", "resource_type": "tweet",
            "title": "Not Found Error", "type": "https://api.twitter.com/2/problems/resource-not-found"}  # fmt: skip
    tenant.store.raw_event(
        "w1", "e1", "x", [("t1", "ext-t1"), ("t2", "ext-t2")], {"data": [], "errors": [gone]},
        captured_at=iso_millis(NOW - 1000),
    )  # fmt: skip
    first, second = (await tenant.get("posts/p1"))["targets"]
    assert (first["reasons"]["likes"], first["next_poll_at"]) == ("retired", None)
    assert second["reasons"]["likes"] == "pending"
    assert second["next_poll_at"] > "2026-06-28T09:14:22Z"


async def test_the_newest_answer_to_the_same_question_explains(tenant: Tenant) -> None:
    tenant.channel("c1")
    tenant.post("p1", target("t1"))
    for number, (status, ids) in enumerate([(403, "7,ext-t1"), (503, "8,ext-t1,9")]):
        tenant.store.raw_event(
            "w1", f"e{number}", "x", [("t0", "7"), ("t1", "ext-t1")], {}, http_status=status,
            captured_at=iso_millis(NOW - 5000 + number), request={"ids": ids, "tweet.fields": "public_metrics"},
        )  # fmt: skip
    assert (await tenant.get("targets/t1"))["reasons"]["likes"] == "error"


async def test_a_refusal_is_found_behind_many_answers_to_another_question(tenant: Tenant) -> None:
    tenant.channel("c1")
    tenant.post("p1", target("t1", captured_at=NOW - 1000, values=values(impressions=9, likes=1)))
    refused = {
        "errors": [
            {
                "resource_id": "7", "field": "non_public_metrics.url_link_clicks", "title": "Field Authorization Error",
                "type": "https://api.twitter.com/2/problems/not-authorized-for-field",
            }
        ]
    }  # fmt: skip
    private = {"ids": "7", "tweet.fields": "public_metrics,non_public_metrics"}
    tenant.store.raw_event(
        "w1", "e-private", "x", [("t1", "7")], refused, captured_at=iso_millis(NOW - 24 * 3_600_000), request=private
    )
    for number in range(40):
        tenant.store.raw_event(
            "w1", f"e{number:02}", "x", [("t1", "7")], {"data": [{"id": "7", "public_metrics": {"like_count": 1}}]},
            captured_at=iso_millis(NOW - 60_000 * (40 - number)),
            request={"ids": ",".join(["7"] * (number + 1)), "tweet.fields": "public_metrics"},
        )  # fmt: skip
    reasons = (await tenant.get("targets/t1"))["reasons"]
    assert reasons["clicks"] == "permission"


async def test_only_the_newest_posts_of_x_are_polled(tenant: Tenant) -> None:
    tenant.channel("c1")
    targets = [
        target(f"t{number}", published_at=NOW - HOUR - number, captured_at=NOW, values=values(likes=1))
        for number in range(52)
    ]
    tenant.post("p1", *targets)
    shown = {row["id"]: row for row in (await tenant.get("targets", limit=100))["data"]}
    assert [shown[f"t{number}"]["tier"] for number in (0, 49, 50, 51)] == ["30m", "30m", None, None]
    assert shown["t51"]["reasons"]["clicks"] == "retired"
    assert shown["t51"]["next_poll_at"] is None


async def test_many_are_answered_in_the_order_asked(tenant: Tenant) -> None:
    tenant.channel("c1")
    for number in (3, 5, 10, 15):
        tenant.post(f"p{number}", target(f"t{number}"))
    tenant.store.post("w2", "foreign", [target("t-foreign")])
    ids = [f"p{number}" for number in range(25, 0, -5)] + ["foreign"]
    page = await tenant.get("posts", ids=",".join(ids))
    assert [row["id"] for row in page["data"]] == ["p15", "p10", "p5"]
    assert page["missing"] == ["p25", "p20", "foreign"]
    long = [f"{'t' * 120}{number}" for number in range(499)]
    body = {"ids": ["t3", *long]}
    reply = await tenant.api.client.post("/tidemark/v1/targets/query", json=body, headers=tenant.key)
    assert [row["id"] for row in reply.json()["data"]] == ["t3"]
    assert reply.json()["missing"] == long


async def test_pages_hold_each_thing_once_whatever_is_added_meanwhile(tenant: Tenant) -> None:
    tenant.channel("c1")
    tenant.channel("c2", "instagram")
    for number in range(9):
        tenant.post(f"p{number}", target(f"t{number}", published_at=NOW - number // 2 * HOUR))
    tenant.post("draft", target("td", "c2", "instagram", published_at=None, status="draft"))
    expected = [f"p{number}" for number in range(9)]
    assert await tenant.ids("posts", limit=4) == [*expected, "draft"]
    assert await tenant.ids("posts", limit=10) == [*expected, "draft"]
    first = await tenant.get("posts", limit=3)
    tenant.post("newer", target("tn", published_at=NOW))
    rest = await tenant.ids("posts", limit=3, cursor=first["next_cursor"])
    assert [row["id"] for row in first["data"]] + rest == [*expected, "draft"]
    assert await tenant.ids("targets", limit=4, platform="instagram") == ["td"]
    assert await tenant.ids("posts", channel_id="c2") == ["draft"]
    assert await tenant.ids("posts", platform="x", limit=3, **{"from": iso_millis(NOW - HOUR)}) == [
        "newer",
        *expected[:4],
    ]
    assert await tenant.ids("targets", to=iso_millis(NOW - 3 * HOUR)) == ["t8"]
    assert await tenant.ids("posts", channel_id="unknown") == []
    assert await tenant.ids("targets", channel_ids="c2,unknown") == ["td"]
    assert await tenant.ids("posts", channel_ids="c2,c1", limit=4) == ["newer", *expected, "draft"]
    # The oldest first: ties keep their order, and what was not published stays last.
    rising = ["p8", "p6", "p7", "p4", "p5", "p2", "p3", "newer", "p0", "p1"]
    assert await tenant.ids("posts", order="asc", limit=3) == [*rising, "draft"]
    assert await tenant.ids("posts", order="asc", limit=1, channel_ids="c1", to=iso_millis(NOW)) == rising[:-3]
    assert await tenant.ids("targets", order="asc", limit=2, platform="x") == [
        f"t{one[1:]}" if one != "newer" else "tn" for one in [*rising[:7], "p0", "p1", "newer"]
    ]
    second = await tenant.get("posts", order="asc", limit=3)
    assert (await tenant.reply("posts", cursor=second["next_cursor"])).status_code == 422
    assert (await tenant.reply("targets", cursor=first["next_cursor"])).status_code == 422


async def test_things_are_found_by_the_platforms_own_ids(tenant: Tenant) -> None:
    tenant.channel("c1", "bluesky")
    tenant.channel("c2")
    uri = 'at://did:plc:abc/app.bsky.feed.post/3k"ü'
    tenant.post("p1", target("t1", "c1", "bluesky", external_id=uri))
    tenant.post("p2", target("t2", "c2", external_id=uri), target("t3", "c2", external_id=f"{uri}4"))
    assert await tenant.ids("targets", platform="bluesky", external_id=uri) == ["t1"]
    assert await tenant.ids("targets", platform="x", external_id=uri) == ["t2"]
    assert await tenant.ids("targets", platform="x", external_id="none") == []
    odd = ["a\\b", "a\tb", "a'b", "a\nb", "a\0b", "%", "ü/ß", "[]"]
    tenant.post("p3", *(target(f"o{number}", "c2", external_id=text) for number, text in enumerate(odd)))
    for number, text in enumerate(odd):
        assert await tenant.ids("targets", platform="x", external_id=text) == [f"o{number}"], text
        assert await tenant.ids("channels", platform="x", external_id=text) == []
    assert await tenant.ids("channels", platform="x", external_id="ext-c2") == ["c2"]
    assert await tenant.ids("channels", platform="x", external_id="ext-c1") == []
    assert await tenant.ids("channels", limit=1) == ["c1", "c2"]


async def test_a_channel_has_its_latest_figures_and_periods(tenant: Tenant) -> None:
    tenant.channel("c1", "facebook")
    followers = said(NOW - HOUR, "e1", 1 << CHANNEL_NAMES.index("followers"))
    tenant.store.channel_period("w1", "c1", "lifetime", None, None, followers=5, registers=followers)
    for days in (3, 2):
        start = NOW - days * DAY
        tenant.store.channel_period("w1", "c1", "day", start, start + DAY, reach=days, views=days)
    tenant.store.raw_event(
        "w1", "e2", "facebook", [], {"error": {"code": 10, "message": "no permission"}},
        kind="CHANNEL_METRICS", http_status=403, captured_at=iso_millis(NOW - HOUR),
    )  # fmt: skip
    channel = await tenant.get("channels/c1")
    assert (channel["metrics"]["followers"], channel["metrics"]["reach"]) == (5, 2)
    assert [period["period"] for period in channel["periods"]] == ["lifetime", "day"]
    assert channel["reasons"]["watch_time_seconds"] == "not_supported"
    assert channel["reasons"]["profile_views"] == "permission"
    assert channel["tier"] == "6h"


async def test_top_posts_are_ranked_as_their_totals_are(tenant: Tenant) -> None:
    """By every metric, against the totals that the posts themselves show, page by page."""
    tenant.channel("c1")
    tenant.channel("c2", "instagram")
    random = Random("top")

    def figures() -> Values:
        held = [random.choice([None, random.randrange(-2, 5), random.choice([7, INT64_MAX])]) for _ in POST_NAMES]
        return tuple(
            value if value is None or not metric.is_duration else min(value, MILLIS_MAX)
            for metric, value in zip(POST_METRICS, held, strict=True)
        )

    for number in range(14):
        channels = ("c1", "c2")[: number % 3]
        tenant.post(
            f"p{number:02}",
            *(target(f"t{number}{one}", one, captured_at=NOW, values=figures()) for one in channels),
        )
    posts = (await tenant.get("posts", limit=100))["data"]
    for metric in METRICS:
        known = [post for post in posts if post["metrics"][metric] is not None]
        known.sort(key=lambda post: (-post["metrics"][metric], post["id"]))
        found = await tenant.ids("top/posts", metric=metric, limit=5)
        assert found == [post["id"] for post in known], metric
        assert len(found) >= 2, metric
        known.sort(key=lambda post: (post["metrics"][metric], post["id"]))
        assert await tenant.ids("top/posts", metric=metric, limit=5, order="asc") == [post["id"] for post in known], (
            metric
        )


async def test_the_rate_of_several_targets_is_the_same_everywhere(tenant: Tenant, store: Store) -> None:
    """View, export, totals and single posts; and it lies between the targets' own."""
    tenant.channel("c1")
    random = Random("rates")

    def figures() -> Values:
        told = ("likes", "comments", "shares", "saves", "impressions", "reach", "views")
        known = {name: random.choice([None, 0, random.randrange(1, 10_000)]) for name in told}
        return values(**{name: value for name, value in known.items() if value is not None})

    for number in range(40):
        targets = [
            target(f"t{number}-{one}", captured_at=NOW, values=figures(), published_at=NOW - HOUR)
            for one in range(random.randrange(4))
        ]
        tenant.post(f"p{number:02}", *targets)
    reader = ClickHouse(ClickHouseSettings(clickhouse_url=SecretStr(store.url)))
    viewed = dict(await reader.rows("view", "SELECT post_id, engagement_rate FROM post_totals", {}))
    await reader.close()
    lines = (await tenant.reply("exports/posts", format="ndjson")).text.splitlines()
    exported = {row["post_id"]: row["engagement_rate"] for row in map(orjson.loads, lines)}
    posts = (await tenant.get("posts", limit=100))["data"]
    shown = {post["id"]: post["metrics"]["engagement_rate"] for post in posts}
    assert viewed == exported == shown
    assert len({rate for rate in shown.values() if rate is not None}) > 20
    pairs = []
    for post in posts:
        own = [one["metrics"]["engagement_rate"] for one in post["targets"]]
        known = [rate for rate in own if rate is not None]
        rate = shown[post["id"]]
        assert (rate is None) == (not known)
        assert rate is None or min(known) * 0.999999 <= rate <= max(known) * 1.000001
        for one in post["targets"]:
            held = one["metrics"]
            base = next((held[name] for name in ("impressions", "reach", "views") if (held[name] or 0) > 0), 0)
            pairs.append((held["engagements"], base) if held["engagement_rate"] is not None else (0, 0))
    whole = await tenant.get("totals", **{"from": iso_millis(NOW - DAY), "to": iso_millis(NOW)})
    expected = sum(done for done, _ in pairs) / sum(base for _, base in pairs)
    assert whole["metrics"]["engagement_rate"]["value"] == expected


async def test_top_posts_of_a_channel_count_what_they_did_there(tenant: Tenant) -> None:
    tenant.channel("c1")
    tenant.channel("c2", "instagram")
    tenant.post(
        "p1",
        target("t1", captured_at=NOW, values=values(likes=1)),
        target("t2", "c2", captured_at=NOW, values=values(likes=9)),
    )
    tenant.post("p2", target("t3", captured_at=NOW, values=values(likes=5)))
    tenant.post("p3", target("t4", captured_at=NOW, values=values(likes=7), published_at=NOW - 2 * DAY))
    tenant.store.post("w2", "p4", [target("t5", captured_at=NOW, values=values(likes=99))], published_at=NOW)
    assert await tenant.ids("top/posts", metric="likes") == ["p1", "p3", "p2"]
    assert await tenant.ids("top/posts", metric="likes", order="asc") == ["p2", "p3", "p1"]
    assert await tenant.ids("top/posts", metric="likes", channel_id="c1") == ["p3", "p2", "p1"]
    assert await tenant.ids("top/posts", metric="likes", platform="instagram") == ["p1"]
    assert await tenant.ids("top/posts", metric="likes", channel_ids="c1,c2") == ["p1", "p3", "p2"]
    assert await tenant.ids("top/posts", metric="likes", channel_ids="c2,c3") == ["p1"]
    assert await tenant.ids("top/posts", metric="likes", **{"from": iso_millis(NOW - DAY)}) == ["p1", "p2"]
    assert await tenant.ids("top/posts", metric="saves") == []


async def test_top_posts_are_searched_as_posts_are(tenant: Tenant) -> None:
    tenant.channel("c1")
    texts = {"tide-1": "Ebb", "tide-2": "A spring TIDE", "moon": "Low tide at nine", "sun": None}
    for number, (post_id, text) in enumerate(texts.items()):
        figures = values(likes=number)
        tenant.post(post_id, target(f"t{number}", captured_at=NOW, values=figures, content=text))
    for search in ("tide", "TIDE", "ide", "spring", "no such"):
        found = await tenant.ids("posts", search=search)
        ranked = await tenant.ids("top/posts", metric="likes", search=search)
        assert sorted(found) == sorted(ranked)
        assert ranked == [post_id for post_id in reversed(texts) if post_id in found]
    assert await tenant.ids("top/posts", metric="likes", search="tide") == ["moon", "tide-2", "tide-1"]
    in_pages = await tenant.ids("top/posts", metric="likes", search="tide", order="asc", limit=2)
    assert in_pages == ["tide-1", "tide-2", "moon"]


async def test_a_figure_is_explained_by_its_raw_events(tenant: Tenant) -> None:
    tenant.channel("c1")
    tenant.post(
        "p1",
        target("t1", captured_at=NOW, values=values(likes=3)),
        target("t2", captured_at=NOW, values=values(impressions=1)),
        spoken={"t2": bit("likes")},
    )
    body = {"data": [{"id": "ext-t1", "public_metrics": {"like_count": 3}}]}
    tenant.store.raw_event(
        "w1", "e-t1", "x", [("t1", "ext-t1")], body, topic="platform.raw", partition=2, offset=77, origin="LIVE",
        captured_at=iso_millis(NOW),
    )  # fmt: skip
    explained = await tenant.get("posts/p1/explain", metric="likes")
    assert explained["value"] == 3
    first, second = explained["parts"]
    assert (first["event"]["topic"], first["event"]["partition"], first["event"]["offset"]) == ("platform.raw", 2, 77)
    assert (first["event"]["event_id"], first["event"]["endpoint"], first["event"]["origin"]) == (
        "e-t1",
        "/2/tweets",
        "LIVE",
    )
    assert first["answer"] == body["data"][0]
    assert first["mapping"]["module"] == "services.platforms.x"
    assert (second["hidden"], second["value"], second["reason"]) == (True, None, "not_supported")
    assert second["event"] == {"event_id": "e-t2", "captured_at": iso_millis(NOW), "is_held": False}
    alone = await tenant.get("targets/t1/explain", metric="likes")
    assert alone["parts"] == [first]
    unknown = await tenant.get("targets/t1/explain", metric="clicks")
    assert (unknown["parts"][0]["event"], unknown["parts"][0]["hidden"]) == (None, False)
    derived = await tenant.get("posts/p1/explain", metric="engagement_rate")
    # The likes are of one target and the impressions of another: neither has a rate.
    assert (derived["value"], len(derived["parts"])) == (None, 14)


async def test_another_workspaces_things_are_not_there(tenant: Tenant, api: FakeApi, store: Store) -> None:
    tenant.channel("c1")
    tenant.post("p1", target("t1", captured_at=NOW, values=values(likes=1)))
    stranger = Tenant(api, store, "w2")
    for path in ("posts/p1", "targets/t1", "channels/c1"):
        foreign, missing = await stranger.reply(path), await tenant.reply(path.replace("1", "9"))
        assert (foreign.status_code, foreign.content) == (404, missing.content), path
    for path in ("posts/p1/explain", "targets/t1/explain"):
        foreign, missing = [
            await one.reply(asked, metric="likes")
            for one, asked in ((stranger, path), (tenant, path.replace("1", "9")))
        ]
        assert (foreign.status_code, foreign.content) == (404, missing.content), path
    assert (await stranger.get("posts", ids="p1"))["missing"] == ["p1"]
    for path in ("posts", "targets", "channels"):
        assert await stranger.ids(path) == []
    assert await stranger.ids("top/posts", metric="likes") == []
