"""Webhooks as callers meet them: made, changed, rotated, deleted; other workspaces' do not exist."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import orjson
import pytest

from schemas.notices import DeliveryStatus, NoticeType, WebhookState
from schemas.topic_names import WEBHOOK_REQUESTS, WEBHOOKS
from services.query_api.publisher import Write
from services.query_api.tidemark.webhooks import models
from services.query_api.tidemark.webhooks.log import MOST_REDELIVERED
from services.query_api.tidemark.webhooks.routes import ENDPOINTS, SCOPE
from services.query_api.views import Place
from services.query_api.webhook_changes import MOST_WEBHOOKS
from services.runtime.sealing import SigningSecrets, WebhookCipher
from tests.support.query_api import NOW, SECRET_KEY, FakeApi, fake_api
from tests.unit.query_api.tidemark.resources.test_endpoints import conforms

URL = "https://hooks.example.com/tidemark"
PATH = "/tidemark/v1/webhooks"
DAY = 86_400


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    made = fake_api(cache_bytes=1_000_000)
    yield made
    await made.client.aclose()


@pytest.fixture
def key(api: FakeApi) -> Mapping[str, str]:
    return api.add_key("w1", "good", (SCOPE,))


async def make(api: FakeApi, key: Mapping[str, str], **changes: Any) -> dict[str, Any]:
    reply = await api.client.post(PATH, headers=key, json={"url": URL, "types": ["metrics.changed"], **changes})
    assert reply.status_code == 201, reply.text
    made: dict[str, Any] = reply.json()
    return made


async def test_a_webhook_is_made_shown_and_deleted(api: FakeApi, key: Mapping[str, str]) -> None:
    made = await make(api, key, description="mine")
    assert conforms(made, models.SECRET_SCHEMA)
    secret = made.pop("secret")
    assert secret.startswith("whsec_")
    one = await api.client.get(f"{PATH}/{made['id']}", headers=key)
    assert one.json() == made
    assert (await api.client.get(PATH, headers=key)).json() == {"webhooks": [made]}
    assert (made["status"], made["disabled_reason"], made["description"]) == ("active", None, "mine")
    (write,) = api.publisher.of(WEBHOOKS)
    assert secret not in repr(write.event)
    opened = WebhookCipher([SECRET_KEY]).open(write.event.sealed_secrets, "w1", made["id"])
    assert opened == SigningSecrets(secret)
    assert (await api.client.delete(f"{PATH}/{made['id']}", headers=key)).status_code == 204
    assert (await api.client.get(f"{PATH}/{made['id']}", headers=key)).status_code == 404
    assert (await api.client.delete(f"{PATH}/{made['id']}", headers=key)).status_code == 404
    assert api.publisher.of(WEBHOOKS)[-1].event is None


async def test_a_key_without_the_scope_opens_nothing_of_it(api: FakeApi, key: Mapping[str, str]) -> None:
    made = await make(api, key)
    reader = api.add_key("w1", "reader")
    for endpoint in ENDPOINTS:
        path = endpoint.path.replace("{id}", made["id"])
        reply = await api.client.request(endpoint.method, path, headers=reader, json={})
        assert (reply.status_code, reply.json()["code"]) == (403, "insufficient_scope"), endpoint.id


async def test_another_workspaces_webhook_reads_like_none(api: FakeApi, key: Mapping[str, str]) -> None:
    made = await make(api, key)
    other = api.add_key("w2", "other", (SCOPE,))
    bodies = {"changeWebhook": {"status": "disabled"}, "redeliver": {"delivery_id": "msg_1"}}
    for endpoint in ENDPOINTS:
        if "{id}" not in endpoint.path:
            continue
        body = bodies.get(endpoint.id, {})
        foreign, unknown = [
            await api.client.request(endpoint.method, endpoint.path.replace("{id}", id_), headers=other, json=body)
            for id_ in (made["id"], "wh_unknown")
        ]
        assert (foreign.status_code, foreign.content) == (404, unknown.content), endpoint.id
    assert (await api.client.get(PATH, headers=other)).json() == {"webhooks": []}
    assert (len(api.publisher.writes), api.store.asked) == (1, [])


@pytest.mark.parametrize(
    "url",
    ["http://hooks.example.com/", "https://", "ftp://hooks.example.com", "https://127.0.0.1/", "https://[::1]/",
     "https://10.1.2.3/", "https://169.254.169.254/latest", "https://localhost/",
     "https://localhost./", "https://127.0.0.1./", "https://db.internal/", "https://DB.INTERNAL./",
     "https://u:p@hooks.example.com/", "https://hooks.example.com/#x", "https://hooks.example.com/a b",
     "https://[::ffff:127.0.0.1]/", "https://hooks.example.com:0/", "https://hooks.example.com:99999/",
     "https://private.example.com/", "//hooks.example.com", "https://münchen.example/", "https://a\u0000.example/"],
)  # fmt: skip
async def test_only_public_https_addresses_are_accepted(api: FakeApi, key: Mapping[str, str], url: str) -> None:
    made = await make(api, key)
    body = {"url": url, "types": ["metrics.changed"]}
    for reply in (
        await api.client.post(PATH, headers=key, json=body),
        await api.client.patch(f"{PATH}/{made['id']}", headers=key, json={"url": url}),
    ):
        assert (reply.status_code, reply.json()["message"][:4]) == (422, "url:"), reply.text
    assert len(api.publisher.writes) == 1


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"types": ["metrics.changed"]}, "url"),
        ({"url": URL}, "types"),
        ({"url": URL, "types": []}, "types"),
        ({"url": URL, "types": ["metrics.gone"]}, "must be one of metrics.changed"),
        ({"url": URL, "types": ["metrics.changed", "metrics.changed"]}, "each type once"),
        ({"url": URL, "types": ["metrics.changed"], "rules": [{"metric": "likes", "at_least": 1}]}, "rules"),
        ({"url": URL, "types": ["post.threshold"], "rules": [{"metric": "charm", "at_least": 1}]}, "metric"),
        ({"url": URL, "types": ["post.threshold"], "rules": [{"metric": "likes", "at_least": 0}]}, "at_least"),
        ({"url": URL, "types": ["post.threshold"], "rules": [{"metric": "likes", "at_least": "9"}]}, "at_least"),
        ({"url": URL, "types": ["metrics.changed"], "secret": "whsec_mine"}, "not a known field"),
    ],
)
async def test_a_body_that_is_wrong_is_refused_with_what_to_do(
    api: FakeApi, key: Mapping[str, str], body: dict[str, Any], word: str
) -> None:
    reply = await api.client.post(PATH, headers=key, json=body)
    assert (reply.status_code, word in reply.json()["message"]) == (422, True), reply.text
    assert not api.publisher.writes


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"url": "https://hooks.example.com/" + "x" * 2_048}, "url: String should have at most 2048 characters"),
        ({"types": ["post.threshold"], "rules": [{"metric": "likes", "at_least": -1}]}, "rules.0.at_least: Input"),
        ({"status": "gone"}, "status: Input should be 'active' or 'disabled'"),
        ({"types": []}, "types: The list should have at least 1 item"),
        ({"types": "metrics.changed"}, "types: must be a list"),
    ],
)
async def test_a_refused_change_names_its_field_as_the_caller_wrote_it(
    api: FakeApi, key: Mapping[str, str], body: dict[str, Any], message: str
) -> None:
    made = await make(api, key)
    reply = await api.client.patch(f"{PATH}/{made['id']}", headers=key, json=body)
    assert (reply.status_code, reply.json()["message"][: len(message)]) == (422, message)


async def test_a_change_to_null_is_none(api: FakeApi, key: Mapping[str, str]) -> None:
    made = await make(api, key, description="mine")
    nothing = dict.fromkeys(("url", "types", "rules", "description", "status"))
    changed = (await api.client.patch(f"{PATH}/{made['id']}", headers=key, json=nothing)).json()
    assert changed == {name: value for name, value in made.items() if name != "secret"}


async def test_a_change_leaves_what_it_does_not_name(api: FakeApi, key: Mapping[str, str]) -> None:
    rules = [{"metric": "likes", "at_least": 100}]
    made = await make(api, key, types=["post.threshold"], rules=rules)
    path = f"{PATH}/{made['id']}"
    api.clock.advance(5)
    changed = (await api.client.patch(path, headers=key, json={"description": "new"})).json()
    assert (changed["rules"], changed["description"], changed["status"]) == (rules, "new", "active")
    assert changed["updated_at"] > changed["created_at"]
    refused = await api.client.patch(path, headers=key, json={"types": ["metrics.changed"]})
    assert (refused.status_code, "rules" in refused.json()["message"]) == (422, True)
    both = await api.client.patch(path, headers=key, json={"types": ["metrics.changed"], "rules": []})
    assert (both.status_code, both.json()["types"], both.json()["rules"]) == (200, ["metrics.changed"], [])


async def test_a_webhook_that_was_shut_down_begins_again_when_it_is_enabled(
    api: FakeApi, key: Mapping[str, str]
) -> None:
    made = await make(api, key)
    path = f"{PATH}/{made['id']}"
    api.clock.advance(60)
    api.webhooks.states.apply(("w1", made["id"]), WebhookState("w1", made["id"], NOW, api.clock.now(), "gone"))
    shut = (await api.client.get(path, headers=key)).json()
    assert (shut["status"], shut["disabled_reason"]) == ("disabled", "gone")
    api.clock.advance(60)
    again = (await api.client.patch(path, headers=key, json={"status": "active"})).json()
    assert (again["status"], again["disabled_reason"]) == ("active", None)
    by_owner = (await api.client.patch(path, headers=key, json={"status": "disabled"})).json()
    assert (by_owner["status"], by_owner["disabled_reason"]) == ("disabled", "by_owner")
    assert conforms(by_owner, models.WEBHOOK_SCHEMA)


async def test_enabling_what_is_active_loses_nothing_that_happened_before(api: FakeApi, key: Mapping[str, str]) -> None:
    path = f"{PATH}/{(await make(api, key))['id']}"
    begun = api.publisher.of(WEBHOOKS)[-1].event.enabled_at
    api.clock.advance(60)
    await api.client.patch(path, headers=key, json={"status": "active", "description": "new"})
    assert api.publisher.of(WEBHOOKS)[-1].event.enabled_at == begun
    await api.client.patch(path, headers=key, json={"status": "disabled"})
    await api.client.patch(path, headers=key, json={"status": "active"})
    assert api.publisher.of(WEBHOOKS)[-1].event.enabled_at == api.clock.now() > begun


async def test_a_rotation_keeps_the_secret_before_for_a_day(api: FakeApi, key: Mapping[str, str]) -> None:
    made = await make(api, key)
    rotated = (await api.client.post(f"{PATH}/{made['id']}/rotate", headers=key)).json()
    assert rotated["secret"] != made["secret"]
    assert rotated["previous_secret_until"] == "2026-06-29T09:14:22Z"
    event = api.publisher.of(WEBHOOKS)[-1].event
    opened = WebhookCipher([SECRET_KEY]).open(event.sealed_secrets, "w1", made["id"])
    assert opened == SigningSecrets(rotated["secret"], made["secret"])
    again = (await api.client.post(f"{PATH}/{made['id']}/rotate", headers=key)).json()
    event = api.publisher.of(WEBHOOKS)[-1].event
    opened = WebhookCipher([SECRET_KEY]).open(event.sealed_secrets, "w1", made["id"])
    assert opened == SigningSecrets(again["secret"], rotated["secret"])
    api.clock.advance(DAY)
    later = (await api.client.get(f"{PATH}/{made['id']}", headers=key)).json()
    assert later["previous_secret_until"] is None


async def test_a_workspace_has_so_many_webhooks(api: FakeApi, key: Mapping[str, str]) -> None:
    for _ in range(MOST_WEBHOOKS):
        await make(api, key)
    reply = await api.client.post(PATH, headers=key, json={"url": URL, "types": ["metrics.changed"]})
    assert (reply.status_code, "at most 100" in reply.json()["message"]) == (422, True)
    await make(api, api.add_key("w2", "other", (SCOPE,)))


async def test_a_workspace_has_no_more_webhooks_where_they_are_made_at_once(
    api: FakeApi, key: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = api.publisher.publish

    async def publish_later(writes: Sequence[Write]) -> list[Place]:
        await asyncio.sleep(0)  # as Kafka, in whose time others ask as well
        return await publish(writes)

    monkeypatch.setattr(api.publisher, "publish", publish_later)
    body = {"url": URL, "types": ["metrics.changed"]}
    asked = [api.client.post(PATH, headers=key, json=body) for _ in range(MOST_WEBHOOKS + 20)]
    statuses = Counter([reply.status_code for reply in await asyncio.gather(*asked)])
    assert statuses == {201: MOST_WEBHOOKS, 422: 20}


async def test_without_secret_keys_or_kafka_nothing_is_made() -> None:
    api = fake_api(secret_key=None)
    key = api.add_key("w1", "good", (SCOPE,))
    body = {"url": URL, "types": ["metrics.changed"]}
    assert (await api.client.post(PATH, headers=key, json=body)).json()["code"] == "secret_keys_missing"
    await api.client.aclose()
    api = fake_api()
    key, api.publisher.is_away = api.add_key("w1", "good", (SCOPE,)), True
    assert (await api.client.post(PATH, headers=key, json=body)).status_code == 503
    assert (await api.client.get(PATH, headers=key)).json() == {"webhooks": []}
    await api.client.aclose()


async def test_a_test_is_asked_of_the_notifier(api: FakeApi, key: Mapping[str, str]) -> None:
    made = await make(api, key)
    asked = await api.client.post(f"{PATH}/{made['id']}/test", headers=key)
    (write,) = api.publisher.of(WEBHOOK_REQUESTS)
    assert (asked.status_code, asked.json()) == (202, {"delivery_id": write.event.delivery_id})
    assert (write.message_key, write.event.type) == (f"w1/{made['id']}".encode(), "webhook.test")


def row(id_: str, created: int, status: str = "delivered") -> list[Any]:
    return [id_, "metrics.changed", NOW, "{}", created, status]


async def test_the_log_is_shown_page_by_page(api: FakeApi, key: Mapping[str, str]) -> None:
    made = await make(api, key)
    rows = [[f"msg_{n}", "metrics.changed", "failed", 8, NOW - n, None, NOW, None, "", "refused"] for n in range(3)]
    api.store.answers["webhook_deliveries"] = lambda asked: rows if asked["is_first"] else []
    path = f"{PATH}/{made['id']}/deliveries"
    first = (await api.client.get(path, params={"limit": 2, "status": "failed"}, headers=key)).json()
    assert [shown["id"] for shown in first["deliveries"]] == ["msg_0", "msg_1"]
    assert conforms(first, models.DELIVERIES_SCHEMA)
    await api.client.get(path, params={"limit": 2, "status": "failed", "cursor": first["next_cursor"]}, headers=key)
    asked = api.store.asked[-1][1]
    assert (asked["at"], asked["after"], asked["workspace"], asked["webhook"]) == (NOW - 1, "msg_1", "w1", made["id"])
    wrong = await api.client.get(path, params={"cursor": first["next_cursor"]}, headers=key)
    assert wrong.status_code == 422  # of another status
    assert (await api.client.get(path, params={"status": "lost"}, headers=key)).status_code == 422


async def test_one_delivery_is_asked_for_once_more(api: FakeApi, key: Mapping[str, str]) -> None:
    made = await make(api, key)
    path = f"{PATH}/{made['id']}/redeliver"
    assert (await api.client.post(path, json={"delivery_id": "msg_0"}, headers=key)).status_code == 404
    api.store.answers["webhook_delivery"] = [row("msg_0", NOW - 5)]
    reply = await api.client.post(path, json={"delivery_id": "msg_0"}, headers=key)
    assert (reply.status_code, reply.json()) == (202, {"accepted": 1, "next_since": None})
    event = api.publisher.of(WEBHOOK_REQUESTS)[-1].event
    assert (event.delivery_id, event.created_at, event.content) == ("msg_0", NOW - 5, "{}")
    api.store.answers["webhook_delivery"] = [row("msg_0", NOW - 5, DeliveryStatus.PENDING)]
    assert (await api.client.post(path, json={"delivery_id": "msg_0"}, headers=key)).status_code == 422
    for body in ({}, {"delivery_id": "msg_0", "since": "2026-06-28"}, {"since": "never"}):
        assert (await api.client.post(path, json=body, headers=key)).status_code == 422


async def test_many_deliveries_are_asked_for_in_parts_that_miss_none(api: FakeApi, key: Mapping[str, str]) -> None:
    made = await make(api, key)
    path = f"{PATH}/{made['id']}/redeliver"
    # Three a millisecond, so that the limit falls within one.
    held = [row(f"msg_{n:05}", NOW + n // 3) for n in range(MOST_REDELIVERED * 2 + 1)]
    api.store.answers["webhook_deliveries_since"] = lambda asked: [
        entry for entry in held if entry[4] >= asked["since"]
    ][: asked["limit"]]
    since: str | None = "2026-06-28"
    while since is not None:
        since = (await api.client.post(path, json={"since": since}, headers=key)).json()["next_since"]
    asked = [write.event.delivery_id for write in api.publisher.of(WEBHOOK_REQUESTS)]
    assert asked == [entry[0] for entry in held]


def test_samples_are_what_the_schemas_say() -> None:
    for endpoint in ENDPOINTS:
        if endpoint.sample is not None:
            assert conforms(orjson.loads(orjson.dumps(endpoint.sample)), endpoint.schema), endpoint.id
    assert set(models.WEBHOOK["types"]) <= set(NoticeType)
