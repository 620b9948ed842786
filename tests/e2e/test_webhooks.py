"""Webhooks of a running Tidemark, from a call of the API to a verified delivery, with a notifier that is killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook as Verifier

from tests.support.receiver import Receiver, receiving_in_a_thread
from tests.support.tidemark import Tidemark
from tests.support.waiting import wait_until

WORKSPACE = "told"
POST = "at://did:plc:wh-1/app.bsky.feed.post/3k"


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving_in_a_thread() as made:
        yield made


@pytest.fixture(scope="module")
def call(tidemark: Tidemark) -> Iterator[Callable[..., httpx.Response]]:
    """Calls of the API with a key of a workspace that may write webhooks."""
    keys: dict[str, str] = {}
    with httpx.Client(base_url=tidemark.ready["query_api"], timeout=30, trust_env=False) as client:

        def send(method: str, path: str, body: Any = None, workspace: str = WORKSPACE) -> httpx.Response:
            if workspace not in keys:
                scopes = {"scopes": ["analytics:read", "webhooks:write"]}
                made = tidemark.admin("POST", f"/admin/v1/workspaces/{workspace}/keys", scopes)
                keys[workspace] = made.raise_for_status().json()["key"]
            headers = {"Authorization": f"Bearer {keys[workspace]}"}
            return client.request(method, f"/tidemark/v1/webhooks{path}", headers=headers, json=body)

        yield send


def test_webhooks_are_told_of_what_happens(
    tidemark: Tidemark, receiver: Receiver, call: Callable[..., httpx.Response]
) -> None:
    rules = [{"metric": "engagements", "at_least": 1}]
    types = ["metrics.changed", "post.threshold", "webhook.disabled"]
    made = call("POST", "", {"url": receiver.url("ok"), "types": types, "rules": rules}).raise_for_status().json()
    hook = f"/{made['id']}"
    verifier = Verifier(made["secret"])

    # Figures of a post reach the webhook, and the cursor shows them.
    tidemark.put_channel(WORKSPACE, "wh-1", access_token="sandbox-wh-1")
    target = {
        "target_id": "wt",
        "channel_id": "wh-1",
        "status": "published",
        "external_id": POST,
    }
    tidemark.put_post(WORKSPACE, "wp", [target], published_at="2026-11-01T00:00:00Z")

    def told(type_: str) -> list[dict[str, Any]]:
        found = [verifier.verify(request.body, request.headers) for request in receiver.of("ok")]
        return [event["data"] for event in found if event["type"] == type_]

    wait_until(lambda: told("metrics.changed"), 60, lambda: tidemark.log("notifier"))
    assert told("metrics.changed")[0]["cursor"]
    wait_until(lambda: told("post.threshold"), 60, lambda: tidemark.log("notifier"))
    (reached,) = told("post.threshold")
    assert (reached["post_id"], reached["metric"], reached["value"] >= 1) == ("wp", "engagements", True)

    # A test event, also while the notifier is killed; the log shows it.
    tidemark.kill("notifier")
    asked = call("POST", f"{hook}/test").raise_for_status().json()["delivery_id"]
    wait_until(lambda: told("webhook.test"), 60, lambda: tidemark.log("notifier"))

    def logged(id_: str, webhook: str = hook) -> dict[str, Any] | None:
        page = call("GET", f"{webhook}/deliveries").raise_for_status().json()["deliveries"]
        return next((entry for entry in page if entry["id"] == id_ and entry["status"] != "pending"), None)

    entry = wait_until(lambda: logged(asked), 30, lambda: tidemark.log("notifier"))
    assert entry is not None
    assert (entry["status"], entry["type"], entry["answer_status"], entry["answer"]) == (
        "delivered", "webhook.test", 200, "taken",
    )  # fmt: skip

    # Once more, under the same id.
    assert call("POST", f"{hook}/redeliver", {"delivery_id": asked}).json() == {"accepted": 1, "next_since": None}
    wait_until(lambda: len(told("webhook.test")) == 2, 30, lambda: tidemark.log("notifier"))
    ids = {request.headers["webhook-id"] for request in receiver.of("ok") if b"webhook.test" in request.body}
    assert ids == {asked}

    # And all of them since an instant; the log has them in pages.
    since = call("POST", f"{hook}/redeliver", {"since": "2026-01-01T00:00:00Z"}).raise_for_status().json()
    assert since["accepted"] >= 2
    first = call("GET", f"{hook}/deliveries?limit=1").raise_for_status().json()
    second = call("GET", f"{hook}/deliveries?limit=1&cursor={first['next_cursor']}").raise_for_status().json()
    assert first["deliveries"][0]["created_at"] >= second["deliveries"][0]["created_at"]
    assert first["deliveries"][0]["id"] != second["deliveries"][0]["id"]
    assert call("GET", f"{hook}/deliveries?status=failed").json()["deliveries"] == []

    # A rotation: both secrets verify.
    rotated = call("POST", f"{hook}/rotate").raise_for_status().json()["secret"]
    before = len(receiver.of("ok"))
    call("POST", f"{hook}/test").raise_for_status()

    def verified_by_both() -> bool:
        for request in receiver.of("ok")[before:]:
            if len(request.headers["webhook-signature"].split(" ")) == 2:
                Verifier(rotated).verify(request.body, request.headers)
                verifier.verify(request.body, request.headers)
                return True
        return False

    wait_until(verified_by_both, 30, lambda: tidemark.log("notifier"))

    # A receiver that is gone: its webhook is shut down, and the other one is told.
    gone = call("POST", "", {"url": receiver.url("410"), "types": ["account.recovered"]}).raise_for_status().json()
    failed = call("POST", f"/{gone['id']}/test").raise_for_status().json()["delivery_id"]
    wait_until(
        lambda: call("GET", f"/{gone['id']}").json()["disabled_reason"] == "gone", 30, lambda: tidemark.log("notifier")
    )
    entry = wait_until(lambda: logged(failed, f"/{gone['id']}"), 30, lambda: tidemark.log("notifier"))
    assert entry is not None
    assert (entry["status"], entry["answer_status"], entry["tries"]) == ("failed", 410, 1)
    wait_until(lambda: told("webhook.disabled"), 30, lambda: tidemark.log("notifier"))
    assert told("webhook.disabled")[0]["webhook_id"] == gone["id"]
    assert call("PATCH", f"/{gone['id']}", {"status": "active"}).json()["status"] == "active"

    # Another workspace sees nothing of it.
    for path in (hook, f"{hook}/deliveries"):
        assert call("GET", path, workspace="stranger").status_code == 404
    assert call("POST", f"{hook}/redeliver", {"delivery_id": asked}, workspace="stranger").status_code == 404
    assert made["secret"] not in tidemark.log("notifier") + tidemark.log("query_api")
    for id_ in (made["id"], gone["id"]):
        assert call("DELETE", f"/{id_}").status_code == 204
