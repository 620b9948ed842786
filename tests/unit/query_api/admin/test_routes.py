"""The admin API over a publisher that keeps events in a list."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise, product
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from services.query_api.admin.catalog import Catalog
from services.query_api.admin.parameters import ChannelLine, ChannelPut, KeyRequest, PostLine, PostPut, RedriveRequest
from services.query_api.errors import BodyTooLarge
from services.query_api.serving.bodies import BODY_LIMIT_BYTES
from services.runtime.secrets import TokenCipher
from tests.support.query_api import ADMIN_KEY, NOW, SECRET_KEY, FakeApi, fake_api

ADMIN = {"authorization": f"Bearer {ADMIN_KEY}"}
CHANNEL = "/admin/v1/workspaces/w1/channels/c1"
POST = "/admin/v1/workspaces/w1/posts/p1"
KEYS = "/admin/v1/workspaces/w1/keys"
CATALOG = "/admin/v1/catalog"
LETTERS = "/admin/v1/dead-letters/redrive"
CHANNEL_BODY: dict[str, Any] = {
    "platform": "x",
    "external_id": "42",
    "username": "tide",
    "access_token": "access-1",
    "refresh_token": "refresh-1",
    "token_expires_at": "2026-08-08T08:00:00.5+02:00",
    "status": "active",
}
TARGET_BODY: dict[str, Any] = {"target_id": "t1", "channel_id": "c1", "status": "published"}
POST_BODY: dict[str, Any] = {
    "status": "published",
    "created_at": "2026-06-01T00:00:00Z",
    "published_at": "2026-06-02T00:00:00Z",
    "targets": [TARGET_BODY],
}


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    made = fake_api()
    yield made
    await made.client.aclose()


async def put(api: FakeApi, path: str, body: dict[str, Any]) -> Any:
    reply = await api.client.put(path, json=body, headers=ADMIN)
    assert reply.status_code == 200, reply.text
    return reply.json()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", CHANNEL), ("DELETE", CHANNEL), ("PUT", POST), ("DELETE", POST), ("POST", CATALOG), ("POST", KEYS),
        ("DELETE", KEYS + "/k1"), ("PATCH", CHANNEL), ("GET", "/admin/v1/workspaces/w1"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong"}, {"x-api-key": ADMIN_KEY}])
async def test_only_the_admin_gets_in(api: FakeApi, method: str, path: str, headers: dict[str, str]) -> None:
    reply = await api.client.request(method, path, headers=headers, content=b"not even JSON")
    assert (reply.status_code, reply.json()["code"]) == (401, "unauthorized")
    assert not api.publisher.writes


async def test_without_a_configured_admin_key_all_is_401() -> None:
    api = fake_api(admin_key=None)
    for headers in ({}, ADMIN, {"authorization": "Bearer "}):
        assert (await api.client.delete(CHANNEL, headers=headers)).status_code == 401


async def test_a_channel_becomes_an_event_and_its_tokens_another(api: FakeApi) -> None:
    assert await put(api, CHANNEL, CHANNEL_BODY) == {"workspace_id": "w1", "channel_id": "c1", "status": "active"}
    (channel,), (tokens,) = api.publisher.of("catalog.channels"), api.publisher.of("catalog.tokens")
    assert (channel.event.platform, channel.event.username, channel.event.updated_at) == ("x", "tide", NOW)
    assert channel.event.token_expires_at == tokens.event.token_expires_at == 1_786_168_800_500
    pair = TokenCipher([SECRET_KEY]).decrypt(tokens.event.ciphertext, ("w1", "c1"))
    assert (pair.access_token, pair.refresh_token) == ("access-1", "refresh-1")
    for write in api.publisher.writes:
        assert write.message_key == b"w1/c1"
        assert "access-1" not in repr(write)
    assert api.directory.get("w1", "c1") is not None


async def test_a_token_left_out_keeps_the_one_held(api: FakeApi) -> None:
    await put(api, CHANNEL, CHANNEL_BODY)
    await put(api, CHANNEL, {**CHANNEL_BODY, "access_token": None, "refresh_token": None, "username": "new"})
    await put(api, CHANNEL, {"platform": "x", "external_id": "42", "status": "active"})
    assert len(api.publisher.of("catalog.tokens")) == 1
    await put(api, CHANNEL, {**CHANNEL_BODY, "access_token": "access-2", "refresh_token": None})
    newest = api.publisher.of("catalog.tokens")[-1].event
    pair = TokenCipher([SECRET_KEY]).decrypt(newest.ciphertext, ("w1", "c1"))
    assert (pair.access_token, pair.refresh_token) == ("access-2", "refresh-1")


async def test_an_active_channel_without_a_token_is_token_expired(api: FakeApi) -> None:
    """It can't be polled, so nothing may say that it is active."""
    bare = {"platform": "x", "external_id": "42"}
    assert (await put(api, CHANNEL, {**bare, "status": "active"}))["status"] == "token_expired"
    assert (await put(api, CHANNEL, {**bare, "status": "disabled"}))["status"] == "disabled"
    line = {"type": "channel", "workspace_id": "w1", "id": "c1", **bare, "access_token": ""}
    await api.client.post("/admin/v1/catalog", content=json.dumps(line), headers=ADMIN)
    assert (await put(api, CHANNEL, {**bare, "access_token": "access-1"}))["status"] == "active"
    assert (await put(api, CHANNEL, bare))["status"] == "active", "the token held is kept"
    await api.client.delete(CHANNEL, headers=ADMIN)
    assert (await put(api, CHANNEL, bare))["status"] == "token_expired"
    written = [write.event.status for write in api.publisher.of("catalog.channels") if write.event is not None]
    assert written == ["token_expired", "disabled", "token_expired", "active", "active", "token_expired"]


async def test_texts_that_there_are_none_of_may_be_null(api: FakeApi) -> None:
    await put(api, CHANNEL, {**CHANNEL_BODY, "username": None})
    target = {"target_id": "t1", "channel_id": "c1", "status": "draft", "external_id": None, "post_type": None}
    await put(api, POST, {"status": "draft", "targets": [{**target, "permalink": None, "content": None}]})
    (channel,), (post,) = api.publisher.of("catalog.channels"), api.publisher.of("catalog.posts")
    assert channel.event.username == ""
    assert (post.event.targets[0].external_id, post.event.targets[0].post_type) == ("", "")


async def test_deleting_a_channel_deletes_its_tokens(api: FakeApi) -> None:
    await put(api, CHANNEL, CHANNEL_BODY)
    for _ in range(2):
        assert (await api.client.delete(CHANNEL, headers=ADMIN)).status_code == 204
    assert api.directory.get("w1", "c1") is None
    assert api.publisher.of("catalog.tokens")[-1].event is None
    assert api.publisher.of("catalog.channels")[-1].event is None
    await put(api, CHANNEL, CHANNEL_BODY)
    assert api.publisher.of("catalog.tokens")[-1].event is not None


async def test_tokens_need_a_secret_key() -> None:
    api = fake_api(secret_key=None)
    reply = await api.client.put(CHANNEL, json=CHANNEL_BODY, headers=ADMIN)
    assert (reply.status_code, reply.json()["code"]) == (503, "secret_keys_missing")
    assert not api.publisher.writes
    await put(api, CHANNEL, {**CHANNEL_BODY, "access_token": None, "refresh_token": ""})


async def test_a_post_becomes_an_event_with_its_targets_in_order(api: FakeApi) -> None:
    detail = {"enabled": False, "link_preview": {"url": "https://x.com/1"}, "poll_results": ["a", "b"]}
    targets = [
        {**TARGET_BODY, "target_id": "t2", "parent_target_id": "t1", "is_story": True},
        {**TARGET_BODY, "detail": detail, "published_at": "2026-06-03T00:00:00Z", "content": "é"},
    ]
    assert await put(api, POST, {**POST_BODY, "targets": targets}) == {
        "workspace_id": "w1",
        "post_id": "p1",
        "status": "published",
    }
    (write,) = api.publisher.of("catalog.posts")
    first, second = write.event.targets
    assert (first.target_id, first.parent_target_id, first.is_story, first.detail) == ("t2", "t1", True, "{}")
    assert json.loads(second.detail) == detail
    assert (first.published_at, second.published_at) == (None, 1_780_444_800_000)
    assert (await api.client.delete(POST, headers=ADMIN)).status_code == 204
    assert api.publisher.of("catalog.posts")[-1].event is None


async def test_what_is_shown_empty_may_be_left_out(api: FakeApi) -> None:
    await put(api, POST, {"status": "draft"})
    await put(api, POST, {"status": "draft", "created_at": None, "published_at": None, "targets": []})
    empty: dict[str, Any] = {
        "post_type": "", "external_id": "", "permalink": None, "published_at": None, "content": None,
        "is_story": False, "parent_target_id": None, "detail": {},
    }  # fmt: skip
    await put(api, POST, {"status": "draft", "targets": [{**TARGET_BODY, **empty}]})
    await put(api, POST, {"status": "draft", "targets": [TARGET_BODY]})
    events = [write.event for write in api.publisher.writes]
    assert events[0].targets == events[1].targets == ()
    assert events[2].targets == events[3].targets


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        (CHANNEL, {**CHANNEL_BODY, "platform": "myspace"}, "platform"),
        (CHANNEL, {key: value for key, value in CHANNEL_BODY.items() if key != "platform"}, "platform"),
        (CHANNEL, {**CHANNEL_BODY, "external_id": 42}, "external_id"),
        (CHANNEL, {**CHANNEL_BODY, "status": "sleeping"}, "status"),
        (CHANNEL, {**CHANNEL_BODY, "token_expires_at": "2026-08-08T06:00:00"}, "token_expires_at"),
        (CHANNEL, {**CHANNEL_BODY, "token_expires_at": 1786168800}, "token_expires_at"),
        (CHANNEL, {**CHANNEL_BODY, "token_expires_at": "2026-08-08"}, "token_expires_at"),
        (CHANNEL, {**CHANNEL_BODY, "token_expires_at": "2026-02-30T06:00:00Z"}, "token_expires_at"),
        (CHANNEL, {**CHANNEL_BODY, "token_expires_at": "3026-02-03T06:00:00Z"}, "token_expires_at"),
        (CHANNEL, {**CHANNEL_BODY, "surprise": 1}, "surprise"),
        (CHANNEL, {**CHANNEL_BODY, "access_token": "x" * 20_000}, "access_token"),
        (CHANNEL, [], ""),
        (POST, {**POST_BODY, "status": "gone"}, "status"),
        (POST, {**POST_BODY, "targets": [TARGET_BODY, TARGET_BODY]}, "target_id occurs twice"),
        (POST, {**POST_BODY, "targets": [{**TARGET_BODY, "target_id": "a/b"}]}, "targets.0.target_id"),
        (POST, {**POST_BODY, "targets": [{**TARGET_BODY, "target_id": "a" * 129}]}, "targets.0.target_id"),
        (POST, {**POST_BODY, "targets": [{**TARGET_BODY, "target_id": "a\n"}]}, "targets.0.target_id"),
        (POST, {**POST_BODY, "targets": [{**TARGET_BODY, "parent_target_id": "t9"}]}, "parent_target_id"),
        (POST, {**POST_BODY, "targets": [{**TARGET_BODY, "parent_target_id": "t1"}]}, "parent_target_id"),
        (POST, {**POST_BODY, "targets": [{**TARGET_BODY, "is_story": "yes"}]}, "targets.0.is_story"),
        (POST, {**POST_BODY, "targets": [{**TARGET_BODY, "detail": {"x": 1}}]}, "targets.0.detail.x"),
        (POST, {**POST_BODY, "targets": [{**TARGET_BODY, "detail": []}]}, "targets.0.detail"),
        (POST, {**POST_BODY, "post_id": "p2"}, "post_id"),
    ],
)
async def test_a_bad_body_is_422_and_names_the_field(api: FakeApi, path: str, body: Any, named: str) -> None:
    reply = await api.client.put(path, json=body, headers=ADMIN)
    assert (reply.status_code, reply.json()["code"]) == (422, "invalid_body")
    assert named in reply.json()["message"]
    for echoed in ("myspace", "sleeping", "gone", "a/b", "access-1", "xxxx"):
        assert echoed not in reply.text
    assert not api.publisher.writes


async def test_a_child_of_a_child_is_refused(api: FakeApi) -> None:
    targets = [
        TARGET_BODY,
        {**TARGET_BODY, "target_id": "t2", "parent_target_id": "t1"},
        {**TARGET_BODY, "target_id": "t3", "parent_target_id": "t2"},
    ]
    reply = await api.client.put(POST, json={**POST_BODY, "targets": targets}, headers=ADMIN)
    assert reply.status_code == 422


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"platform": "x", "external_id": "\\ud800"}'])
async def test_a_body_that_is_no_json_is_422(api: FakeApi, body: bytes) -> None:
    reply = await api.client.put(CHANNEL, content=body, headers=ADMIN)
    assert (reply.status_code, reply.json()["code"]) == (422, "invalid_body")


@pytest.mark.parametrize("path", ["/admin/v1/workspaces/w%201/posts/p1", f"/admin/v1/workspaces/w1/posts/{'p' * 129}"])
async def test_a_bad_id_in_the_path_is_422(api: FakeApi, path: str) -> None:
    reply = await api.client.put(path, json=POST_BODY, headers=ADMIN)
    assert reply.status_code == 422
    assert "_id" in reply.json()["message"]


async def test_a_large_body_is_413(api: FakeApi) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(BODY_LIMIT_BYTES // 65_536 + 2):
            yield b" " * 65_536

    reply = await api.client.put(CHANNEL, content=endless(), headers=ADMIN)
    assert (reply.status_code, reply.json()["code"]) == (413, "body_too_large")
    reply = await api.client.put(CHANNEL, content=b" " * (BODY_LIMIT_BYTES + 1), headers=ADMIN)
    assert reply.status_code == 413


async def test_a_wrong_method_is_405(api: FakeApi) -> None:
    reply = await api.client.patch(CHANNEL, headers=ADMIN)
    assert (reply.status_code, reply.headers["allow"]) == (405, "DELETE, PUT")


async def test_without_kafka_writes_are_503_and_known_keys_keep_reading(api: FakeApi) -> None:
    made = (await api.client.post(KEYS, json={"scopes": ["analytics:read"]}, headers=ADMIN)).json()
    api.publisher.is_away = True
    requests: list[tuple[str, str, dict[str, Any] | None]] = [
        ("PUT", CHANNEL, CHANNEL_BODY),
        ("DELETE", CHANNEL, None),
        ("PUT", POST, POST_BODY),
        ("POST", KEYS, {"scopes": []}),
        ("DELETE", f"{KEYS}/{made['id']}", None),
    ]
    for method, path, body in requests:
        reply = await api.client.request(method, path, json=body, headers=ADMIN)
        assert (reply.status_code, reply.json()["code"]) == (503, "catalog_unavailable")
        assert "retry-after" in reply.headers
    reply = await api.client.get("/api/v1/posts/p1/insights", headers={"x-api-key": made["key"]})
    assert reply.status_code == 404
    assert api.directory.get("w1", "c1") is None


async def test_a_key_is_shown_once_works_at_once_and_is_revoked_at_once(api: FakeApi) -> None:
    body = {"scopes": ["analytics:read"], "style": "openpost"}
    reply = await api.client.post(KEYS, json=body, headers=ADMIN)
    assert reply.status_code == 201
    assert list(reply.json()) == ["id", "key", "scopes"]
    key, key_id = reply.json()["key"], reply.json()["id"]
    assert key.startswith("op_live_")
    assert key not in repr(api.publisher.writes)
    read = "/api/v1/posts/p1/insights"
    assert (await api.client.get(read, headers={"x-api-key": key})).status_code == 404
    for path in ("/admin/v1/workspaces/w2/keys/" + key_id, KEYS + "/unknown"):
        assert (await api.client.delete(path, headers=ADMIN)).status_code == 404
    assert (await api.client.delete(f"{KEYS}/{key_id}", headers=ADMIN)).status_code == 204
    assert (await api.client.get(read, headers={"x-api-key": key})).status_code == 401
    assert (await api.client.delete(f"{KEYS}/{key_id}", headers=ADMIN)).status_code == 404


@pytest.mark.parametrize(
    "body",
    [{}, {"scopes": "analytics:read"}, {"scopes": ["a", "a"]}, {"scopes": ["A B"]}, {"scopes": [], "style": "x"}],
)
async def test_a_bad_key_request_is_422(api: FakeApi, body: dict[str, Any]) -> None:
    assert (await api.client.post(KEYS, json=body, headers=ADMIN)).status_code == 422


async def test_bulk_takes_good_lines_and_refuses_bad_ones_one_by_one(api: FakeApi) -> None:
    place = {"workspace_id": "w1", "id": "c1"}
    lines = [
        json.dumps({"type": "channel", **place, **CHANNEL_BODY}),
        "not JSON",
        "",
        json.dumps({"type": "post", "workspace_id": "w1", "id": "p1", **POST_BODY}),
        json.dumps({"type": "page", **place}),
        json.dumps({"type": "channel", **place, **CHANNEL_BODY, "platform": "myspace"}),
        json.dumps({"type": "post", "workspace_id": "w 1", "id": "p1", **POST_BODY}),
        " " * (BODY_LIMIT_BYTES + 1),
        json.dumps({"type": "channel", **place, **CHANNEL_BODY, "username": "later"}),
    ]
    reply = await api.client.post(CATALOG, content="\r\n".join(lines), headers=ADMIN)
    assert reply.status_code == 200
    assert reply.json()["accepted"] == 3
    rejected = {entry["line"]: entry["error"] for entry in reply.json()["rejected"]}
    assert list(rejected) == [2, 5, 6, 7, 8]
    assert rejected[5].startswith("type")
    assert rejected[6].startswith("platform")
    assert rejected[7].startswith("workspace_id")
    assert "myspace" not in reply.text
    held = api.directory.get("w1", "c1")
    assert held is not None
    assert held.username == "later"
    assert len(api.publisher.of("catalog.tokens")) == 1


async def test_bulk_without_kafka_is_503(api: FakeApi) -> None:
    api.publisher.is_away = True
    line = json.dumps({"type": "post", "workspace_id": "w1", "id": "p1", **POST_BODY})
    assert (await api.client.post(CATALOG, content=line, headers=ADMIN)).status_code == 503


def _with_comment(**comment: str) -> str:
    """A post's body whose first comment has these fields, each as JSON."""
    fields = ", ".join(f'"{name}": {value}' for name, value in comment.items())
    return json.dumps({**POST_BODY, "targets": [{**TARGET_BODY, "detail": {"first_comment": "?"}}]}).replace(
        '"?"', f"{{{fields}}}"
    )


@pytest.mark.parametrize("name", ["condition_type", "condition_value"])
@pytest.mark.parametrize("number", ["9223372036854775808", "-9223372036854775809", "18446744073709551616", "1e400"])
async def test_a_number_that_no_reader_can_hold_is_422(api: FakeApi, name: str, number: str) -> None:
    reply = await api.client.put(POST, content=_with_comment(**{name: number}), headers=ADMIN)
    assert (reply.status_code, reply.json()["code"]) == (422, "invalid_body")
    assert name in reply.json()["message"]
    assert number not in reply.text


@pytest.mark.parametrize("number", ["9223372036854775807", "-9223372036854775808"])
async def test_a_number_of_64_bits_is_kept_digit_by_digit(api: FakeApi, number: str) -> None:
    body = _with_comment(condition_type=number, condition_value=number)
    assert (await api.client.put(POST, content=body, headers=ADMIN)).status_code == 200
    (write,) = api.publisher.of("catalog.posts")
    expected = {"first_comment": {"condition_type": int(number), "condition_value": int(number)}}
    assert json.loads(write.event.targets[0].detail) == expected


@pytest.mark.parametrize("failure", [BodyTooLarge(), TypeError("Integer exceeds 64-bit range")])
async def test_a_bulk_line_that_fails_takes_no_other_with_it(api: FakeApi, failure: Exception) -> None:
    api.publisher.failing["p7"] = failure
    lines = [json.dumps({"type": "post", "workspace_id": "w1", "id": f"p{n}", **POST_BODY}) for n in range(20)]
    lines.insert(3, json.dumps({"type": "channel", "workspace_id": "w1", "id": "c1", **CHANNEL_BODY}))
    lines.append(lines[3])
    reply = await api.client.post(CATALOG, content="\n".join(lines), headers=ADMIN)
    assert reply.status_code == 200, reply.text
    assert (reply.json()["accepted"], [entry["line"] for entry in reply.json()["rejected"]]) == (21, [9])
    assert {write.id for write in api.publisher.of("catalog.posts")} == {f"p{n}" for n in range(20) if n != 7}
    assert api.directory.get("w1", "c1") is not None


async def test_a_line_whose_event_cannot_be_made_is_rejected(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise TypeError("a bug")

    monkeypatch.setattr(Catalog, "post_writes", broken)
    lines = [
        json.dumps({"type": "post", "workspace_id": "w1", "id": "p1", **POST_BODY}),
        json.dumps({"type": "channel", "workspace_id": "w1", "id": "c1", **CHANNEL_BODY}),
    ]
    reply = await api.client.post(CATALOG, content="\n".join(lines), headers=ADMIN)
    assert (reply.status_code, reply.json()["accepted"]) == (200, 1)
    assert [entry["line"] for entry in reply.json()["rejected"]] == [1]


_ODD: list[Any] = [
    None, True, 0, -1, 2**31, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**30, 0.5, 1e308,
    float("inf"), float("nan"), "", "\0", "\ud800", "a\udfff", "\uffff", "1", [], {}, [None], ["\ud800"],
    "2026-06-28T00:00:00Z", "2026-06-28T00:00:00+23:59", "1970-01-01T00:00:00Z", "9999-12-31T00:00:00Z",
]  # fmt: skip


def _example(annotation: Any) -> Any:
    """A value with all fields of all models, found by what the models are annotated with; None for other values."""
    for part in _parts(annotation):
        if isinstance(part, type) and issubclass(part, BaseModel):
            held = {name: _example(field.annotation) for name, field in part.model_fields.items()}
            return [held] if "list[" in str(annotation) else held
    return None


def _parts(annotation: Any) -> list[Any]:
    return [annotation, *(part for inner in get_args(annotation) for part in _parts(inner))]


def _leaves(body: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    held = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    return [*([path] if path else []), *(leaf for key, inner in held for leaf in _leaves(inner, (*path, key)))]


def _altered(model: type[BaseModel], base: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Good bodies in which one field of the model, each at any depth, holds something odd."""
    for path, value in product(_leaves(_example(model)), _ODD):
        body: Any = json.loads(json.dumps(base))
        part = body
        for key, following in pairwise(path):
            if not isinstance(part, list) and part.get(key) is None:
                part[key] = [dict(TARGET_BODY)] if isinstance(following, int) else {}
            part = part[key]
        part[path[-1]] = value
        yield body


_CHANNEL_LINE = {"type": "channel", "workspace_id": "w1", "id": "c1", **CHANNEL_BODY}
_POST_LINE = {"type": "post", "workspace_id": "w1", "id": "p1", **POST_BODY}


def test_every_field_is_altered() -> None:
    leaves = _leaves(_example(PostPut))
    assert ("targets", 0, "detail", "first_comment", "condition_type") in leaves
    assert ("targets", 0, "detail", "poll_results") in leaves
    assert len(leaves) > 30


@pytest.mark.parametrize(
    ("method", "path", "model", "base"),
    [
        ("PUT", CHANNEL, ChannelPut, CHANNEL_BODY),
        ("PUT", POST, PostPut, POST_BODY),
        ("POST", KEYS, KeyRequest, {"scopes": []}),
        ("POST", LETTERS, RedriveRequest, {"reasons": ["x"]}),
    ],
)
async def test_no_body_breaks_a_write(
    api: FakeApi, method: str, path: str, model: type[BaseModel], base: dict[str, Any]
) -> None:
    """Whatever a model lets through can be written: as JSON where an event holds JSON, and as Avro."""
    # There is no Kafka here to read letters from.
    allowed = {200, 201, 422} | ({503} if path == LETTERS else set())
    for body in _altered(model, base):
        reply = await api.client.request(method, path, content=json.dumps(body), headers=ADMIN)
        assert reply.status_code in allowed, (reply.text, body)


async def test_no_line_breaks_a_bulk_write(api: FakeApi) -> None:
    lines = [_POST_LINE, *_altered(ChannelLine, _CHANNEL_LINE), *_altered(PostLine, _POST_LINE), _POST_LINE]
    reply = await api.client.post(CATALOG, content="\n".join(json.dumps(line) for line in lines), headers=ADMIN)
    assert reply.status_code == 200, reply.text
    rejected = reply.json()["rejected"]
    assert reply.json()["accepted"] + len(rejected) == len(lines)
    assert {1, len(lines)}.isdisjoint(entry["line"] for entry in rejected)
    assert not [entry for entry in rejected if "fault of this server" in entry["error"]]


async def test_bulk_of_nothing_is_nothing(api: FakeApi) -> None:
    reply = await api.client.post(CATALOG, content=b"\n\n", headers=ADMIN)
    assert reply.json() == {"accepted": 0, "rejected": []}


async def test_a_workspace_shows_its_channels_and_keys_but_no_secret(api: FakeApi) -> None:
    empty = await api.client.get("/admin/v1/workspaces/w1", headers=ADMIN)
    before = empty.json()
    await put(api, CHANNEL, CHANNEL_BODY)
    made = (await api.client.post(KEYS, json={"scopes": ["analytics:read"], "style": "postme"}, headers=ADMIN)).json()
    reply = await api.client.get("/admin/v1/workspaces/w1", headers=ADMIN)
    shown = reply.json()
    assert {"channel_id": "c1", "platform": "x", "status": "active"} in shown["channels"]
    (key,) = [key for key in shown["keys"] if key not in before["keys"]]
    assert (key["id"], key["scopes"], key["style"]) == (made["id"], ["analytics:read"], "postme")
    for secret in (made["key"], "access-1", "refresh-1"):
        assert secret not in reply.text


async def test_another_workspace_shows_nothing_of_it(api: FakeApi) -> None:
    await put(api, CHANNEL, CHANNEL_BODY)
    shown = (await api.client.get("/admin/v1/workspaces/elsewhere", headers=ADMIN)).json()
    assert shown == {"workspace_id": "elsewhere", "channels": [], "keys": []}


async def test_posts_are_looked_for_where_a_channel_says_so_and_only_the_product_s_are_put(api: FakeApi) -> None:
    await put(api, CHANNEL, {**CHANNEL_BODY, "discover": True})
    await put(api, CHANNEL, CHANNEL_BODY)
    assert [write.event.discover for write in api.publisher.of("catalog.channels")] == [True, False]
    await put(api, POST, POST_BODY)
    (post,) = api.publisher.of("catalog.posts")
    assert [target.origin for target in post.event.targets] == ["product"]
    for path, body, field in (
        (POST, {**POST_BODY, "targets": [{**TARGET_BODY, "origin": "discovered"}]}, "targets.0.origin"),
        (CHANNEL, {**CHANNEL_BODY, "discover": "yes"}, "discover"),
    ):
        reply = await api.client.put(path, json=body, headers=ADMIN)
        assert reply.status_code == 422
        assert field in reply.text
