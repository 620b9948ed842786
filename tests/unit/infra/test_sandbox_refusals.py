"""Refusals that are switched on: which calls meet them, and what those are answered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson
import pytest

from infra.sandbox.app import Sandbox
from infra.sandbox.asked import asked_of, without_ids
from infra.sandbox.exchange import Ask
from infra.sandbox.ids import BEHAVIOURS, behaviour, make_id
from infra.sandbox.refusals import catalogue, names_of
from infra.sandbox.refusals.row import About, Effect
from infra.sandbox.state import Clock, State, Switch
from infra.sandbox.switches import refused
from services.platforms import all_platforms
from services.platforms.base import Outcome

NOW = 1_795_222_800_000
HOUR = 3_600_000
ROWS = list(catalogue().values())
SHOWN = [f"{row.platform}-{row.name}" for row in ROWS]
INSTAGRAM_FIELDS = "like_count,insights.metric(views,reach,shares,saved)"


class Wire:
    """A sandbox, and calls of it."""

    def __init__(self) -> None:
        self.wall = NOW
        self.state = State(7, Clock(wall=lambda: self.wall))
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(Sandbox(self.state)), base_url="http://sandbox")

    async def on(self, platform: str, refusal: str, **more: Any) -> None:
        wanted = {"platform": platform, "refusal": refusal, **more}
        reply = await self.client.post("/_sandbox/refusals", json=wanted)
        assert reply.status_code == 200, reply.text

    async def get(self, path: str, token: str = "token~1001", **query: str) -> httpx.Response:
        return await self.client.get(path, params=query, headers={"authorization": f"Bearer {token}"})


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    made = Wire()
    yield made
    await made.client.aclose()


def x_ids(count: int) -> list[str]:
    return [make_id("x", NOW - HOUR, number) for number in range(count)]


def test_the_catalogue_has_what_it_promises() -> None:
    assert len(ROWS) >= 60
    assert {row.platform for row in ROWS} == set(all_platforms())
    outcomes = {outcome.value for outcome in Outcome}
    for row in ROWS:
        assert row.source, row.name
        assert row.does, row.name
        assert set(row.outcomes) <= outcomes, row.name
    for platform in all_platforms():
        abouts = {catalogue()[platform, name].about for name in names_of(platform)}
        assert {About.TOKEN, About.LIMIT, About.HOST} <= abouts


async def test_a_refusal_about_one_id_is_met_by_calls_that_ask_for_it(wire: Wire) -> None:
    first, second = x_ids(2)
    await wire.on("x", "malformed_id", target=first)
    refused = await wire.get("/2/tweets", ids=f"{second},{first}")
    assert refused.status_code == 400
    assert refused.json()["errors"][0] == {
        "parameters": {"ids": [f"{second},{first}"]},
        "message": f"The `ids` query parameter value [{first}] is not valid",
    }
    answered = await wire.get("/2/tweets", ids=second)
    assert [item["id"] for item in answered.json()["data"]] == [second]


async def test_ids_that_are_left_out_are_told_of_beside_the_others(wire: Wire) -> None:
    first, second = x_ids(2)
    await wire.on("x", "deleted_post", target=first)
    body = (await wire.get("/2/tweets", ids=f"{first},{second}")).json()
    assert [item["id"] for item in body["data"]] == [second]
    assert [error["resource_id"] for error in body["errors"]] == [first]
    body = (await wire.get("/2/tweets", ids=first)).json()
    assert "data" not in body
    assert [error["title"] for error in body["errors"]] == ["Not Found Error"]


async def test_what_is_left_out_is_not_on_the_record(wire: Wire) -> None:
    video = make_id("youtube", NOW - HOUR, 1)
    other = make_id("youtube", NOW - HOUR, 2)
    await wire.on("youtube", "video_left_out", target=video)
    body = (await wire.get("/youtube/v3/videos", part="statistics", id=f"{video},{other}")).json()
    assert [item["id"] for item in body["items"]] == [other]
    assert wire.state.served.of("youtube", video) == []
    assert (await wire.get("/youtube/v3/videos", part="statistics", id=video)).json()["items"] == []


async def test_a_refused_metric_is_named_by_its_place(wire: Wire) -> None:
    media = make_id("instagram", NOW - HOUR, 1)
    await wire.on("instagram", "metric_by_place", metric="shares")
    refused = await wire.get(f"/v25.0/{media}", fields=INSTAGRAM_FIELDS)
    assert refused.status_code == 400
    assert "metric[2] must be one of the following values" in refused.json()["error"]["message"]
    answered = await wire.get(f"/v25.0/{media}", fields=INSTAGRAM_FIELDS.replace("shares,", ""))
    assert answered.status_code == 200


async def test_a_call_is_too_large_until_it_is_smaller(wire: Wire) -> None:
    urns = [make_id("linkedin", NOW - HOUR, number) for number in range(4)]
    await wire.on("linkedin", "uri_too_long")
    headers = {"authorization": "Bearer token", "linkedin-version": "202606", "x-restli-protocol-version": "2.0.0"}
    organization = "organizationalEntity=urn%3Ali%3Aorganization%3A1"
    path = f"/rest/organizationalEntityShareStatistics?q=organizationalEntity&{organization}&shares="
    listed = [urn.replace(":", "%3A") for urn in urns]
    large = await wire.client.get(f"{path}List({','.join(listed)})", headers=headers)
    assert large.status_code == 414
    assert large.headers["content-type"].startswith("text/html")
    assert large.text.startswith("<html>")
    small = await wire.client.get(f"{path}List({','.join(listed[:2])})", headers=headers)
    assert small.status_code == 200


async def test_a_refusal_ends_after_its_span_and_when_it_is_switched_off(wire: Wire) -> None:
    (post,) = x_ids(1)
    await wire.on("x", "html_404", for_seconds=60)
    assert (await wire.get("/2/tweets", ids=post)).status_code == 404
    wire.wall += 60_000
    assert (await wire.get("/2/tweets", ids=post)).status_code == 200
    await wire.on("x", "over_capacity")
    assert (await wire.get("/2/tweets", ids=post)).status_code == 503
    listed = (await wire.client.get("/_sandbox/refusals", params={"platform": "x"})).json()
    assert [(one["refusal"], one["refused"]) for one in listed["on"]] == [("html_404", 1), ("over_capacity", 1)]
    assert {one["refusal"] for one in listed["catalogue"]} == set(names_of("x"))
    await wire.client.delete("/_sandbox/refusals", params={"refusal": "over_capacity"})
    assert (await wire.get("/2/tweets", ids=post)).status_code == 200
    await wire.client.post("/_sandbox/reset")
    assert wire.state.switches == []


async def test_a_token_and_an_account_are_told_apart(wire: Wire) -> None:
    (post,) = x_ids(1)
    await wire.on("x", "unauthorized", token="token~1001")
    await wire.on("x", "suspended", account="2002")
    assert (await wire.get("/2/tweets", ids=post)).status_code == 401
    assert (await wire.get("/2/tweets", token="other~2002", ids=post)).status_code == 403
    assert (await wire.get("/2/tweets", token="other~1001", ids=post)).status_code == 200


async def test_instants_are_those_of_the_clock(wire: Wire) -> None:
    await wire.on("x", "app_day")
    headers = (await wire.get("/2/tweets", ids=x_ids(1)[0])).headers
    assert headers["x-rate-limit-remaining"] == "39997"
    reset = int(headers["x-app-limit-24hour-reset"])
    assert reset % 86_400 == 0
    assert 0 < reset * 1000 - NOW <= 86_400_000


async def test_token_endpoints_are_refused_by_their_own_rows_alone(wire: Wire) -> None:
    form = {"grant_type": "refresh_token", "refresh_token": "again-1"}
    await wire.on("youtube", "invalid_credentials")
    assert (await wire.client.post("/token", data=form)).status_code == 200
    await wire.on("youtube", "refresh_refused")
    refused = await wire.client.post("/token", data=form)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")


async def test_parts_of_a_batch_are_refused_apart(wire: Wire) -> None:
    page = "104583221947103"
    posts = [make_id("facebook", NOW - HOUR, number, account=page) for number in range(3)]
    await wire.on("facebook", "post_gone", target=posts[1])
    await wire.on("facebook", "unfinished_part", target=posts[2])
    fields = "insights.metric(post_media_view).period(lifetime)"
    batch = [{"method": "GET", "relative_url": f"v25.0/{post}?fields={fields}"} for post in posts]
    headers = {"authorization": f"Bearer token~{page}"}
    reply = await wire.client.post("/v25.0/", json={"batch": batch}, headers=headers)
    assert reply.status_code == 200
    well, gone, unfinished = reply.json()
    assert well["code"] == 200
    assert orjson.loads(well["body"])["id"] == posts[0]
    assert gone["code"] == 400
    assert orjson.loads(gone["body"])["error"]["error_subcode"] == 33
    assert unfinished is None
    assert [wire.state.served.of("facebook", post) != [] for post in posts] == [True, False, False]
    await wire.on("facebook", "reduce_data")
    assert (await wire.client.post("/v25.0/", json={"batch": batch}, headers=headers)).status_code == 500
    assert (await wire.client.post("/v25.0/", json={"batch": batch[:2]}, headers=headers)).status_code == 200


async def test_insights_may_be_empty_without_their_scope(wire: Wire) -> None:
    page = "104583221947103"
    post = make_id("facebook", NOW - HOUR, 1, account=page)
    await wire.on("facebook", "insights_scope", account=page)
    fields = "shares,insights.metric(post_media_view).period(lifetime)"
    body = (await wire.get(f"/v25.0/{post}", token=f"token~{page}", fields=fields)).json()
    assert body["insights"] == {"data": []}
    assert body["shares"]["count"] > 0


@pytest.mark.parametrize(
    "wanted",
    [
        {"platform": "x"},
        {"platform": "x", "refusal": "nothing"},
        {"platform": "mars", "refusal": "unauthorized"},
        {"platform": "x", "refusal": "unauthorized", "targets": "1"},
        "unauthorized",
    ],
)
async def test_what_can_not_be_switched_on_is_said(wire: Wire, wanted: Any) -> None:
    reply = await wire.client.post("/_sandbox/refusals", json=wanted)
    assert reply.status_code == 422
    assert "refusal" in reply.json()["error"] or "platform" in reply.json()["error"]


def ask(path: str, query: list[tuple[str, str]], body: bytes = b"") -> Ask:
    return Ask(State(), "x", path, query, "t", NOW, NOW, method="POST" if body else "GET", body=body)


@pytest.mark.parametrize(
    ("made", "ids", "without"),
    [
        (ask("/2/tweets", [("ids", "1,2")]), ("1", "2"), [("ids", "2")]),
        (ask("/xrpc/getPosts", [("uris", "at://a/1"), ("uris", "at://a/2")]), ("at://a/1", "at://a/2"),
         [("uris", "at://a/2")]),
        (ask("/rest/x", [("shares", "List(urn:li:share:1,urn:li:share:2)")]), ("urn:li:share:1", "urn:li:share:2"),
         [("shares", "List(urn:li:share:2)")]),
        (ask("/v2/reports", [("filters", "video==a1,b2")]), ("a1", "b2"), [("filters", "video==b2")]),
    ],
)  # fmt: skip
def test_ids_are_found_in_every_form(made: Ask, ids: tuple[str, ...], without: list[tuple[str, str]]) -> None:
    assert asked_of(made).ids == ids
    smaller = without_ids(made, ids[:1])
    assert smaller is not None
    assert smaller.query == without
    assert without_ids(made, ids) is None


def test_ids_of_a_body_and_of_a_path_are_found() -> None:
    made = ask("/v2/video/query/", [("fields", "id,view_count")], b'{"filters":{"video_ids":["71","72"]}}')
    assert asked_of(made).ids == ("71", "72")
    smaller = without_ids(made, ["71"])
    assert smaller is not None
    assert smaller.json() == {"filters": {"video_ids": ["72"]}}
    found = asked_of(ask("/v25.0/178961/insights", [("metric", "views,reach")]))
    assert (found.ids, found.metrics) == (("178961",), ("views", "reach"))
    member = asked_of(ask("/rest/memberCreatorPostAnalytics", [("entity", "(share:urn:li:share:17)")]))
    assert member.mentions("urn:li:share:17")
    assert not member.mentions("urn:li:share:7")


async def test_an_id_may_meet_a_refusal_for_ever(wire: Wire) -> None:
    well, culprit = make_id("x", NOW - HOUR, 1), make_id("x", NOW - HOUR, 2, "malformed_id")
    refused = await wire.get("/2/tweets", ids=f"{well},{culprit}")
    assert refused.status_code == 400
    assert culprit in refused.json()["errors"][0]["message"]
    assert (await wire.get("/2/tweets", ids=well)).status_code == 200


def test_the_default_worlds_hold_refusals_of_the_catalogue() -> None:
    named = {
        (platform, name)
        for platform, endings in BEHAVIOURS.items()
        for name in endings.values()
        if (platform, name) in catalogue()
    }
    assert len(named) >= 6
    for platform, name in named:
        assert behaviour(platform, make_id(platform, NOW - HOUR, 1, name)) == name


# Changes of an answer, and answers of token endpoints, are the integration test's.
CLASSIFIED = [row for row in ROWS if row.effect is Effect.REFUSE and not row.is_of_tokens]


@pytest.mark.parametrize("row", CLASSIFIED, ids=lambda row: f"{row.platform}-{row.name}")
async def test_a_recorded_refusal_is_taken_for_what_it_is(wire: Wire, row: Any) -> None:
    """Sent by the sandbox and read by the platform's own file."""
    platform = all_platforms()[row.platform]
    target = make_id(row.platform, NOW - HOUR, 1)
    metrics = row.names or ("views",)
    made = Ask(wire.state, row.platform, "/", [("ids", target), ("metric", ",".join(metrics))], "t~1001", NOW, NOW)
    reply = refused(made, asked_of(made), Switch(row.platform, row.name, target))
    verdict = platform.classify(reply.status, httpx.Headers(reply.headers), reply.encoded(), NOW)
    assert verdict.outcome.value in row.outcomes, verdict
