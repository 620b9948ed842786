"""How every endpoint is served: refusals, kept replies, bodies and streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.types import Message

from schemas.events import ApiKey
from services.query_api.cache import AnswerCache
from services.query_api.directory import Directory
from services.query_api.errors import NotFound, ReadsUnavailable
from services.query_api.reads.sources import Sources
from services.query_api.serving.actions import reads, shows, writes
from services.query_api.serving.auth import READ_SCOPE, AdminKey, KeyRing, key_hash
from services.query_api.serving.endpoint import Answer, Api, Body, Endpoint, Key, Request
from services.query_api.serving.limits import RateLimiter
from services.query_api.serving.openapi import openapi
from services.query_api.serving.parameters import AnyParameters, Ids, Parameters
from services.query_api.serving.replies import Plain, Reply
from services.query_api.serving.server import EndpointServer, Shared
from services.query_api.serving.streams import Stream
from tests.support.query_api import FakeReadModel, FakeStore, ManualClock

KEY = {"authorization": "Bearer good"}
TAG = b"p/w1/p1"


class Asked(Parameters):
    """What the endpoint of these tests may be asked."""

    ids: Ids = ("p1",)
    format: str = "json"


class Counted:
    """An endpoint's answers, counted."""

    def __init__(self) -> None:
        self.count = 0
        self.error: Exception | None = None

    async def answer(self, sources: Sources, request: Request[Asked]) -> Answer[object]:
        if self.error is not None:
            raise self.error
        self.count += 1
        ids = list(request.parameters.ids)
        return Answer({"workspace": request.workspace_id, "ids": ids, "count": self.count}, (TAG,), 60.0)


class Served:
    """One endpoint behind a client; x-path stands for the id of the path."""

    def __init__(self, endpoint: Endpoint[Sources, Any, Any], *, rate_limit: int = 0, is_cached: bool = False) -> None:
        self.clock = ManualClock()
        self.cache: AnswerCache[Reply] = AnswerCache(100_000, lambda: self.clock.now() / 1000)
        keys = KeyRing()
        for workspace_id, text, scopes in [
            ("w1", "good", (READ_SCOPE,)),
            ("w1", "bad", ()),
            ("w2", "two", (READ_SCOPE,)),
            ("w1", "writer", (READ_SCOPE, "hooks:write")),
        ]:
            event = ApiKey(workspace_id, text, key_hash(text), scopes, "tidemark", self.clock.now())
            keys.apply((workspace_id, text), event)
        self.shared = Shared(
            keys=keys,
            admin_key=AdminKey(None),
            clock=self.clock,
            limiter=RateLimiter(rate_limit) if rate_limit else None,
            cache=self.cache if is_cached else None,
        )
        sources = Sources(FakeStore(), Directory(), FakeReadModel())
        served = EndpointServer("tidemark", endpoint, sources, self.shared)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            scope["path_params"] = {"id": scope["path"].removeprefix("/")}
            await served(scope, receive, send)

        self.app = app
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api")


def endpoint(answer: Any, *, body: Body | None = None, **more: Any) -> Endpoint[Sources, Any, Any]:
    """An endpoint that may be asked `Asked`, by its query or its body."""
    return Endpoint(
        id="test",
        method="GET" if body is None else "POST",
        path="/tidemark/v1/tests/{id}",
        summary="Test",
        description="",
        action=reads(Asked, answer, **more),
        body=body,
    )


async def test_refusals_come_in_the_order_of_the_contract() -> None:
    async def nothing(_: Sources, __: Request[Asked]) -> Answer[object]:
        raise NotFound

    served = Served(endpoint(nothing), rate_limit=2)
    bad = "/p1?ids="
    assert (await served.client.get(bad)).status_code == 401
    assert (await served.client.get(bad, headers={"x-api-key": "bad"})).status_code == 403
    assert (await served.client.get(bad, headers=KEY)).status_code == 422
    assert (await served.client.get("/p1", headers=KEY)).status_code == 404
    assert (await served.client.get(bad, headers=KEY)).status_code == 429


@pytest.mark.parametrize("query", ["ids=", "ids=a,,b", "ids=a%20b", f"ids={','.join(map(str, range(501)))}", "idz=a"])
async def test_a_bad_parameter_is_named_and_not_echoed(query: str) -> None:
    reply = await Served(endpoint(Counted().answer)).client.get(f"/p1?{query}", headers=KEY)
    assert (reply.status_code, reply.json()["code"]) == (422, "invalid_parameter")
    assert "id" in reply.json()["message"]
    assert "a b" not in reply.text


async def test_what_is_no_id_is_not_found_before_anything_is_asked() -> None:
    counted = Counted()
    reply = await Served(endpoint(counted.answer)).client.get("/no%20id", headers=KEY)
    assert (reply.status_code, counted.count) == (404, 0)


async def test_a_body_is_checked_like_a_query() -> None:
    served = Served(endpoint(Counted().answer, body=Body({})))
    whole = await served.client.post("/p1", json={"ids": ["b", "a", "b"]}, headers=KEY)
    assert whole.json()["ids"] == ["b", "a"]
    bodies: list[Any] = [{"ids": []}, {"ids": [1]}, {"ids": {"a": 1}}, {"more": 1}, ["a"]]
    for body in bodies:
        refused = await served.client.post("/p1", json=body, headers=KEY)
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_body"), body
    assert (await served.client.post("/p1", content=b"{", headers=KEY)).status_code == 422


async def test_a_kept_reply_is_found_by_workspace_path_and_parameters_and_dropped_by_its_tag() -> None:
    counted = Counted()
    served = Served(endpoint(counted.answer, is_kept=True), is_cached=True)
    first = await served.client.get("/p1?ids=a", headers=KEY)
    again = await served.client.get("/p1?ids=a", headers=KEY)
    assert first.content == again.content
    for path, headers in [("/p2?ids=a", KEY), ("/p1?ids=b", KEY), ("/p1?ids=a", {"x-api-key": "two"})]:
        assert (await served.client.get(path, headers=headers)).json()["count"] > 1
    known = {**KEY, "if-none-match": first.headers["etag"]}
    assert (await served.client.get("/p1?ids=a", headers=known)).status_code == 304
    served.clock.advance(2)
    assert (await served.client.get("/p1?ids=a", headers=KEY)).headers["age"] == "2"
    served.cache.drop(TAG)
    assert (await served.client.get("/p1?ids=a", headers=KEY)).json()["count"] == 5


async def test_while_nothing_answers_the_last_known_is_shown_with_its_age() -> None:
    counted = Counted()
    served = Served(endpoint(counted.answer, is_kept=True), is_cached=True)
    first = await served.client.get("/p1", headers=KEY)
    served.cache.drop(TAG)
    counted.error = ReadsUnavailable()
    last = await served.client.get("/p1", headers=KEY)
    assert (last.status_code, last.content) == (200, first.content)
    assert int(last.headers["age"]) >= 1
    assert (await served.client.get("/p2", headers=KEY)).status_code == 503


async def test_an_etag_leaves_out_what_the_endpoint_says() -> None:
    counted = Counted()
    served = Served(endpoint(counted.answer, tag_of=lambda value: value["ids"]))
    first, second = [await served.client.get("/p1", headers=KEY) for _ in range(2)]
    assert first.content != second.content
    assert first.headers["etag"] == second.headers["etag"]


class Chunks:
    """A stream that may fail or never end, and says whether it was closed."""

    def __init__(self, *, fails_after: int | None = None, waits_after: int | None = None) -> None:
        self.fails_after = fails_after
        self.waits_after = waits_after
        self.sent = 0
        self.is_closed = False

    async def read(self) -> AsyncIterator[bytes]:
        try:
            for number in range(3):
                if number == self.fails_after:
                    raise ReadsUnavailable
                if number == self.waits_after:
                    await asyncio.Event().wait()
                self.sent += 1
                yield b"row %d\n" % number
        finally:
            self.is_closed = True

    async def answer(self, sources: Sources, request: Request[Asked]) -> Stream:
        return Stream("text/csv", self.read(), ((b"x-more", b"1"),))


async def _received(served: Served, messages: list[Message]) -> list[Message]:
    """What a caller who sends `messages` is sent."""
    sent: list[Message] = []
    waiting = list(messages)

    async def receive() -> Message:
        if not waiting:
            await asyncio.Event().wait()
        return waiting.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "GET", "path": "/p1", "query_string": b"",
        "headers": [(b"authorization", b"Bearer good")],
    }  # fmt: skip
    await asyncio.wait_for(served.app(scope, receive, send), 5)
    return sent


async def test_a_stream_is_sent_part_by_part_to_its_end() -> None:
    chunks = Chunks()
    reply = await Served(endpoint(chunks.answer)).client.get("/p1", headers=KEY)
    assert (reply.status_code, reply.content) == (200, b"row 0\nrow 1\nrow 2\n")
    assert (reply.headers["content-type"], reply.headers["x-more"]) == ("text/csv", "1")
    assert chunks.is_closed


async def test_an_error_before_the_first_part_is_an_error_reply() -> None:
    reply = await Served(endpoint(Chunks(fails_after=0).answer)).client.get("/p1", headers=KEY)
    assert (reply.status_code, reply.json()["code"]) == (503, "analytics_unavailable")


async def test_an_error_after_it_never_ends_the_reply() -> None:
    chunks = Chunks(fails_after=2)
    sent = await _received(Served(endpoint(chunks.answer)), [])
    assert [message.get("body") for message in sent[1:]] == [b"row 0\n", b"row 1\n"]
    assert all(message["more_body"] for message in sent[1:])
    assert chunks.is_closed


async def test_a_caller_who_goes_away_ends_the_reading() -> None:
    chunks = Chunks(waits_after=1)
    gone = {"type": "http.disconnect"}
    task = asyncio.ensure_future(_received(Served(endpoint(chunks.answer)), [{"type": "http.request"}, gone]))
    await task
    assert chunks.is_closed
    assert chunks.sent <= 1


async def test_a_stream_that_waits_holds_no_turn() -> None:
    """A stream of events may last for hours; nobody else's large answer waits for that, nor does it wait for theirs."""
    chunks = Chunks()
    made = endpoint(chunks.answer, by_turns=False)
    served = Served(made)
    async with asyncio.timeout(5):
        for _ in range(2):
            await served.shared.answers.take("w1")
        reply = await served.client.get("/p1", headers=KEY)
    assert (reply.status_code, reply.content) == (200, b"row 0\nrow 1\nrow 2\n")
    assert chunks.is_closed


async def test_a_write_has_a_scope_and_a_status_of_its_own_and_is_stored_nowhere() -> None:
    async def write(_: Sources, request: Request[Asked]) -> dict[str, Any]:
        return {"secret": request.key_id, "ids": list(request.parameters.ids)}

    made = Endpoint(
        id="makeHook",
        method="POST",
        path="/tidemark/v1/hooks/{id}",
        summary="Make a hook",
        description="",
        action=writes(Asked, write, status=201),
        scope="hooks:write",
        body=Body({}, limit_bytes=40),
    )
    served = Served(made, rate_limit=9, is_cached=True)
    refused = await served.client.post("/h1", json={"ids": ["a"]}, headers=KEY)
    assert (refused.status_code, refused.json()["message"]) == (403, "This key does not have the scope hooks:write.")
    writer = {"x-api-key": "writer"}
    assert (await served.client.post("/h1", json={"ids": ["a" * 50]}, headers=writer)).status_code == 413
    reply = await served.client.post("/h1", json={"ids": ["a"]}, headers=writer)
    assert (reply.status_code, reply.json()) == (201, {"secret": "writer", "ids": ["a"]})
    assert (reply.headers["cache-control"], reply.headers["ratelimit"]) == ("no-store", '"default";r=7;t=60')
    assert "etag" not in reply.headers
    described = openapi((Api("hooks", "Hooks", "", (made,)),))["paths"]["/tidemark/v1/hooks/{id}"]["post"]
    assert set(described["responses"]) == {"201", "401", "403", "404", "413", "422", "429", "503"}
    problem = described["responses"]["403"]["content"]["application/problem+json"]["example"]
    assert problem == refused.json()


async def test_a_page_needs_no_key_and_has_headers_of_its_own() -> None:
    async def show(_: Sources, request: Request[AnyParameters]) -> Plain:
        return Plain.of(f"<p>{request.scheme}".encode(), "text/html", ((b"cache-control", b"max-age=60"),))

    made: Endpoint[Sources, Any, Any] = Endpoint(
        id="page",
        path="/{id}",
        summary="Page",
        description="",
        action=shows(AnyParameters, show),
        key=Key.NONE,
    )
    reply = await Served(made).client.get("/app?whatever=1")
    assert (reply.status_code, reply.text) == (200, "<p>http")
    assert dict(reply.headers) == {"content-type": "text/html", "cache-control": "max-age=60", "content-length": "7"}
