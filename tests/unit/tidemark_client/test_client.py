"""The client against the server's own samples, and what it does when calls fail."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from services.query_api.admin.parameters import ChannelPut, PostPut
from services.query_api.admin.routes import API as ADMIN_API
from services.query_api.tidemark import tidemark_api
from tidemark_client import Tidemark, TidemarkAdmin, TidemarkError, transport
from tidemark_client.models import ChannelLine, ChannelWrite, PostLine, PostWrite, TargetWrite
from tidemark_client.webhooks import ThresholdRule

KEY = "tm_live_secret-of-the-tests"
SAMPLES = {(endpoint.method, endpoint.path): endpoint.sample for endpoint in tidemark_api().endpoints}
READS: dict[tuple[str, str], Callable[[Tidemark], Any]] = {
    ("GET", "/tidemark/v1/posts/{id}"): lambda client: client.post("i"),
    ("GET", "/tidemark/v1/targets/{id}"): lambda client: client.target("i"),
    ("GET", "/tidemark/v1/channels/{id}"): lambda client: client.channel("i"),
    ("GET", "/tidemark/v1/posts"): lambda client: list(client.posts(start=date(2026, 6, 1), order="asc")),
    ("GET", "/tidemark/v1/targets"): lambda client: list(client.targets(platform="x", external_id="a/b")),
    ("GET", "/tidemark/v1/channels"): lambda client: list(client.channels()),
    ("GET", "/tidemark/v1/top/posts"): lambda client: list(client.top_posts("likes")),
    ("POST", "/tidemark/v1/posts/query"): lambda client: client.posts_by_ids(["i"]),
    ("POST", "/tidemark/v1/targets/query"): lambda client: client.targets_by_ids(["i"]),
    ("POST", "/tidemark/v1/channels/query"): lambda client: client.channels_by_ids(["i"]),
    ("GET", "/tidemark/v1/posts/{id}/explain"): lambda client: client.explain_post("i", "likes"),
    ("GET", "/tidemark/v1/targets/{id}/explain"): lambda client: client.explain_target("i", "likes"),
    ("GET", "/tidemark/v1/capabilities"): lambda client: client.capabilities(),
    ("GET", "/tidemark/v1/usage"): lambda client: client.usage(),
    ("GET", "/tidemark/v1/changes"): lambda client: list(client.changes()),
    ("GET", "/tidemark/v1/posts/{id}/series"): lambda client: client.post_series("i", ["likes"]),
    ("GET", "/tidemark/v1/targets/{id}/series"): lambda client: client.target_series("i", ["likes"]),
    ("GET", "/tidemark/v1/channels/{id}/series"): lambda client: client.channel_series("i", ["likes"]),
    ("GET", "/tidemark/v1/channels/{id}/totals"): lambda client: client.totals(channel_id="i"),
    ("GET", "/tidemark/v1/channels/{id}/events"): lambda client: client.channel_events("i"),
    ("GET", "/tidemark/v1/channels/{id}/windows"): lambda client: client.channel_window("i", "7d"),
    ("GET", "/tidemark/v1/series"): lambda client: client.workspace_series(["likes"], channel_ids=["a", "b"]),
    ("GET", "/tidemark/v1/insights/best-times"): lambda client: client.best_times(channel_id="ch-x", age_hours=6),
    ("GET", "/tidemark/v1/insights/decay"): lambda client: client.decay("views", base_days=7, channel_ids=["a", "b"]),
    ("GET", "/tidemark/v1/insights/unusual"): lambda client: client.unusual(start=date(2026, 6, 1)),
    ("GET", "/tidemark/v1/totals"): lambda client: client.totals(is_compared=True),
}


class Wire:
    """Keeps requests and answers them by a function. Waits between calls take no time here, and are kept."""

    def __init__(self, answer: Callable[[httpx.Request], httpx.Response]) -> None:
        self.requests: list[httpx.Request] = []
        self.waits: list[float] = []
        self.now = 0.0
        self._answer = answer

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self._answer(request)

    def client(self) -> Tidemark:
        return Tidemark("http://api/", KEY, transport=httpx.MockTransport(self), sleep=self._sleep, clock=self._clock)

    def admin(self) -> TidemarkAdmin:
        return TidemarkAdmin("http://api", KEY, transport=httpx.MockTransport(self), sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    def _clock(self) -> float:
        return self.now


def problem(status: int, code: str, **headers: str) -> httpx.Response:
    body = {"type": "about:blank", "title": "x", "status": status, "detail": "d", "code": code, "message": "m"}
    return httpx.Response(status, json=body, headers=headers)


HOOKS = "/tidemark/v1/webhooks"
RULE = ThresholdRule(metric="likes", at_least=1000)
ON_WEBHOOKS: dict[tuple[str, str], Callable[[Tidemark], Any]] = {
    ("POST", HOOKS): lambda client: client.make_webhook("https://hooks.example.com/", ["post.threshold"], rules=[RULE]),
    ("GET", HOOKS): lambda client: client.webhooks(),
    ("GET", HOOKS + "/{id}"): lambda client: client.webhook("i"),
    ("PATCH", HOOKS + "/{id}"): lambda client: client.change_webhook("i", rules=[RULE], status="active"),
    ("DELETE", HOOKS + "/{id}"): lambda client: client.delete_webhook("i"),
    ("POST", HOOKS + "/{id}/rotate"): lambda client: client.rotate_webhook("i"),
    ("POST", HOOKS + "/{id}/test"): lambda client: client.test_webhook("i"),
    ("GET", HOOKS + "/{id}/deliveries"): lambda client: list(client.deliveries("i", status="failed")),
    ("POST", HOOKS + "/{id}/redeliver"): lambda client: client.redeliver("i", since=datetime(2026, 6, 1, tzinfo=UTC)),
}


def test_every_endpoint_has_its_method() -> None:
    streamed = {("GET", "/tidemark/v1/exports/{dataset}"), ("GET", "/tidemark/v1/stream")}
    assert set(READS) | set(ON_WEBHOOKS) | streamed == set(SAMPLES)


@pytest.mark.parametrize("name", sorted(ON_WEBHOOKS), ids=" ".join)
def test_a_call_about_webhooks_is_what_the_server_takes(name: tuple[str, str]) -> None:
    endpoint = next(each for each in tidemark_api().endpoints if (each.method, each.path) == name)
    wire = Wire(lambda _: httpx.Response(200, json=endpoint.sample))
    answer = ON_WEBHOOKS[name](wire.client())
    (request,) = wire.requests
    assert (request.method, request.url.path) == (name[0], name[1].replace("{id}", "i"))
    if endpoint.body is not None:
        endpoint.action.parameters.model_validate_json(request.content)
    if name[1].endswith("/webhooks/{id}") and name[0] != "DELETE":
        assert json.loads(answer.model_dump_json()).items() <= {**endpoint.sample}.items()
    assert "whsec_" not in repr(answer)


@pytest.mark.parametrize("name", sorted(READS), ids=" ".join)
def test_a_reply_is_read_whole(name: tuple[str, str]) -> None:
    sample = SAMPLES[name]
    wire = Wire(lambda _: httpx.Response(200, json=sample))
    answer = READS[name](wire.client())
    (request,) = wire.requests
    assert (request.method, request.url.path) == (name[0], name[1].replace("{id}", "i"))
    assert request.headers["authorization"] == f"Bearer {KEY}"
    if name[1].endswith(("/posts/{id}", "/targets/{id}", "/channels/{id}")):
        assert json.loads(answer.model_dump_json()) == sample
    if name[1].endswith("/windows"):
        assert request.url.params["range"] == "7d"
        assert (answer.metrics["likes"], answer.sources["likes"]) == (271, "posts")
    if name[1].endswith("/series"):
        assert answer.points[1].figures == {"likes": 47, "watch_time_seconds": 81.5}
    if "/insights/" in name[1]:
        assert json.loads(answer.model_dump_json(by_alias=True)) == sample
    if name[1].endswith("/totals"):
        assert answer.metrics["impressions"].change == 0.5
        assert answer.start == datetime(2026, 6, 22, tzinfo=UTC)


def test_pages_follow_each_other() -> None:
    page = SAMPLES["GET", "/tidemark/v1/posts"]

    def answer(request: httpx.Request) -> httpx.Response:
        is_last = request.url.params.get("cursor") == "next"
        return httpx.Response(200, json={**page, "next_cursor": None if is_last else "next"})

    wire = Wire(answer)
    posts = wire.client().posts(channel_id="ch-x", start=datetime(2026, 6, 1, tzinfo=UTC), page_size=1)
    assert next(posts).id == "post-1"
    assert len(wire.requests) == 1  # a page is asked for when it is needed
    assert len(list(posts)) == 1
    assert dict(wire.requests[1].url.params) == {
        "channel_id": "ch-x", "from": "2026-06-01T00:00:00+00:00", "limit": "1", "cursor": "next",
    }  # fmt: skip


def test_any_number_of_ids() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        ids = json.loads(request.content)["ids"]
        return httpx.Response(200, json={"data": [], "missing": ids, "next_cursor": None})

    wire = Wire(answer)
    ids = [f"p{number}" for number in range(1001)]
    assert wire.client().posts_by_ids(ids).missing == ids
    assert [len(json.loads(request.content)["ids"]) for request in wire.requests] == [500, 500, 1]


def test_an_id_is_one_segment() -> None:
    wire = Wire(lambda _: problem(404, "not_found"))
    with pytest.raises(TidemarkError, match="not_found"):
        wire.client().post("../admin?x=1#")
    assert wire.requests[0].url.raw_path == b"/tidemark/v1/posts/..%2Fadmin%3Fx%3D1%23"


@pytest.mark.parametrize(("post_id", "sent"), [(".", b"%2E"), ("..", b"%2E%2E"), ("...", b"..."), (".a", b".a")])
def test_an_id_of_dots_arrives(post_id: str, sent: bytes) -> None:
    """The contract allows these ids; in a path as they are, they would name another resource."""
    wire = Wire(lambda _: problem(404, "not_found"))
    calls: list[Callable[[], Any]] = [
        lambda: wire.client().post(post_id),
        lambda: wire.client().post_series(post_id, ["likes"]),
        lambda: wire.client().delete_webhook(post_id),
        lambda: wire.admin().delete_post("acme", post_id),
        lambda: wire.admin().revoke_key(post_id, "k"),
    ]
    for call in calls:
        with pytest.raises(TidemarkError, match="not_found"):
            call()
    assert [request.url.raw_path.partition(b"?")[0] for request in wire.requests] == [
        b"/tidemark/v1/posts/" + sent,
        b"/tidemark/v1/posts/" + sent + b"/series",
        b"/tidemark/v1/webhooks/" + sent,
        b"/admin/v1/workspaces/acme/posts/" + sent,
        b"/admin/v1/workspaces/" + sent + b"/keys/k",
    ]


def test_what_may_help_is_tried_again() -> None:
    replies = iter([
        problem(503, "analytics_unavailable", **{"retry-after": "2"}),
        problem(429, "rate_limited", **{"retry-after": "7"}),
        httpx.Response(502, text="<html>"),
        httpx.Response(200, json=SAMPLES["GET", "/tidemark/v1/posts/{id}"]),
    ])  # fmt: skip
    wire = Wire(lambda _: next(replies))
    assert wire.client().post("p").id == "post-1"
    assert wire.waits[:2] == [2.0, 7.0]
    assert len(wire.waits) == 3


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry-after": "17"}, 17.0),
        ({"retry-after": "Sun, 28 Jun 2026 09:14:52 GMT", "date": "Sun, 28 Jun 2026 09:14:22 GMT"}, 30.0),
        ({"retry-after": "Sun, 28 Jun 2026 09:14:22 GMT", "date": "Sun, 28 Jun 2026 09:14:52 GMT"}, 0.0),
        ({"retry-after": "Sun, 28 Jun 2020 09:14:22 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": b"\xb2"}, None),
        ({}, None),
    ],
)
def test_how_long_to_wait_is_read_as_seconds_or_as_an_instant(headers: dict[str, Any], expected: float | None) -> None:
    assert TidemarkError.of_reply(httpx.Response(503, headers=headers)).retry_after == expected


def test_what_stays_wrong_is_told() -> None:
    wire = Wire(lambda _: problem(503, "analytics_unavailable", **{"retry-after": "1"}))
    with pytest.raises(TidemarkError) as told:
        wire.client().post("p")
    error = told.value
    assert (error.status, error.code, error.message, error.retry_after) == (503, "analytics_unavailable", "m", 1.0)
    assert len(wire.requests) == transport.ATTEMPTS


@pytest.mark.parametrize(
    "reply", [problem(404, "not_found"), problem(429, "rate_limited", **{"retry-after": "3600"}), problem(500, "bug")]
)
def test_what_can_not_help_is_not_tried_again(reply: httpx.Response) -> None:
    wire = Wire(lambda _: reply)
    with pytest.raises(TidemarkError):
        wire.client().post("p")
    assert len(wire.requests) == 1


def test_a_key_is_made_once_even_if_nobody_answers() -> None:
    def cut(_: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("cut off")

    wire = Wire(cut)
    with pytest.raises(TidemarkError) as told:
        wire.admin().make_key("acme")
    assert (told.value.status, told.value.code) == (None, "unreachable")
    assert len(wire.requests) == 1
    with pytest.raises(TidemarkError):
        wire.admin().delete_post("acme", "p")
    assert len(wire.requests) == 1 + transport.ATTEMPTS


def test_an_export_comes_in_chunks_and_half_a_file_is_none(tmp_path: Path) -> None:
    class Broken(httpx.SyncByteStream):
        def __iter__(self) -> Any:
            yield b"half"
            raise httpx.RemoteProtocolError("cut off")

    whole = Wire(lambda _: httpx.Response(200, content=iter([b"a,b\n", b"1,2\n"])))
    whole.client().export_to(tmp_path / "posts.csv", "posts", start="2026-06-01")
    assert (tmp_path / "posts.csv").read_bytes() == b"a,b\n1,2\n"
    assert dict(whole.requests[0].url.params) == {"from": "2026-06-01", "tz": "UTC", "format": "csv"}
    with pytest.raises(TidemarkError, match="unreachable"):
        Wire(lambda _: httpx.Response(200, stream=Broken())).client().export_to(tmp_path / "broken.csv", "posts")
    with (
        pytest.raises(TidemarkError, match="too_many_exports"),
        Wire(lambda _: problem(429, "too_many_exports")).client().export("posts"),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["posts.csv"]


def test_the_key_is_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    wire = Wire(lambda _: problem(401, "unauthorized"))
    client = wire.client()
    with pytest.raises(TidemarkError) as told:
        client.post("p")
    assert KEY not in f"{client!r}{client.__dict__}{told.value!r}{told.value}{caplog.text}"


@pytest.mark.parametrize("key", ["", " ", "\n", f"{KEY}\nx", f"{KEY} x", f"{KEY}é", f"{KEY}\x00"])
def test_a_key_that_no_header_holds_is_refused_without_being_shown(key: str) -> None:
    for made in (lambda: Tidemark("http://api", key), lambda: TidemarkAdmin("http://api", SecretStr(key))):
        with pytest.raises(ValueError, match="a header can't hold") as told:
            made()
        assert KEY not in f"{told.value!r}{told.value.__cause__!r}"


def test_white_space_around_a_key_is_no_part_of_it() -> None:
    wire = Wire(lambda _: httpx.Response(204))
    TidemarkAdmin("http://api", f" {KEY}\r\n", transport=httpx.MockTransport(wire)).revoke_key("acme", "k")
    assert wire.requests[0].headers["authorization"] == f"Bearer {KEY}"


def test_an_address_that_is_none_is_refused_without_being_shown() -> None:
    for url in ("http://[::1", "http://user:pass/word@h", "http://h\x01"):
        with pytest.raises(ValueError, match="no http") as told:
            Tidemark(url, KEY)
        assert "pass" not in str(told.value)
        assert told.value.__suppress_context__
    assert "pass" not in repr(Tidemark("http://user:pass@h", KEY))


def test_a_request_that_can_not_be_sent_is_not_repeated_in_its_error() -> None:
    def refusing(request: httpx.Request) -> httpx.Response:
        raise httpx.LocalProtocolError(f"Illegal header value {request.headers['authorization']!r}")

    with pytest.raises(TidemarkError) as told:
        Wire(refusing).client().capabilities()
    assert str(told.value) == "unreachable: LocalProtocolError"


@pytest.mark.parametrize("status", [200, 201, 202])
def test_a_page_of_another_server_is_no_deletion(status: int) -> None:
    admin = Wire(lambda _: httpx.Response(status, text="<html>hello</html>")).admin()
    for order in (
        lambda: admin.revoke_key("acme", "k"),
        lambda: admin.delete_channel("acme", "c"),
        lambda: admin.delete_post("acme", "p"),
        lambda: admin.make_key("acme"),
        lambda: admin.write_catalog([]),
    ):
        with pytest.raises(TidemarkError) as told:
            order()
        assert (told.value.status, told.value.code) == (status, "strange_reply")


def test_a_reply_that_holds_a_new_key_is_not_repeated_in_an_error() -> None:
    admin = Wire(lambda _: httpx.Response(200, json={"key": KEY})).admin()
    with pytest.raises(TidemarkError) as told:
        admin.make_key("acme")
    assert KEY not in f"{told.value!r}{told.value.__cause__!r}"


def test_of_two_exports_to_one_file_each_writes_a_part_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "posts.csv"

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=b"inner" if "inner" in str(request.url) else outer())

    def outer() -> Iterator[bytes]:
        yield b"out"
        Wire(answer).client().export_to(path, "posts", channel_id="inner")
        assert path.read_bytes() == b"inner"
        yield b"er"

    Wire(answer).client().export_to(path, "posts")
    assert path.read_bytes() == b"outer"
    assert list(tmp_path.iterdir()) == [path]


def test_writes_are_what_the_admin_api_takes() -> None:
    replies = {operation.path: operation.sample for operation in ADMIN_API.endpoints if operation.sample is not None}
    made_key = httpx.Response(200, json=replies["/admin/v1/workspaces/{workspace_id}/keys"])
    wire = Wire(lambda request: httpx.Response(204) if request.method == "DELETE" else made_key)
    admin = wire.admin()
    channel = ChannelWrite.model_validate({"platform": "x", "external_id": "1", "access_token": "secret-token"})
    assert "secret-token" not in repr(channel)
    admin.put_channel("acme", "ch-x", channel)
    put = ChannelPut.model_validate_json(wire.requests[-1].content)
    assert put.access_token is not None
    assert put.access_token.get_secret_value() == "secret-token"
    at = datetime(2026, 6, 28, 9, 14, 22, tzinfo=UTC)
    targets = [TargetWrite(target_id="t", channel_id="ch-x", status="published", external_id="9", published_at=at)]
    admin.put_post("acme", "p", PostWrite(status="published", published_at=at, targets=targets))
    assert PostPut.model_validate_json(wire.requests[-1].content).targets[0].published_at == 1_782_638_062_000
    made = admin.make_key("acme")
    assert (made.id, made.scopes) == ("key_5f3a", ["analytics:read"])
    assert made.key.get_secret_value() not in repr(made)
    admin.revoke_key("acme", made.id)
    assert (wire.requests[-1].method, wire.requests[-1].url.path) == (
        "DELETE",
        "/admin/v1/workspaces/acme/keys/key_5f3a",
    )


def test_many_lines_at_once() -> None:
    wire = Wire(lambda _: httpx.Response(200, json={"accepted": 2, "rejected": [{"line": 3, "error": "no"}]}))
    lines: list[ChannelLine | PostLine | dict[str, Any]] = [
        ChannelLine(workspace_id="acme", id="ch-x", platform="x", external_id="1"),
        PostLine(workspace_id="acme", id="p", status="draft"),
        {"type": "post"},
    ]
    written = wire.admin().write_catalog(lines)
    assert (written.accepted, written.rejected[0].line) == (2, 3)
    sent = [json.loads(line) for line in wire.requests[0].content.splitlines()]
    assert [line["type"] for line in sent] == ["channel", "post", "post"]
    assert sent[0] == {
        "type": "channel", "workspace_id": "acme", "id": "ch-x", "platform": "x", "external_id": "1",
    }  # fmt: skip
