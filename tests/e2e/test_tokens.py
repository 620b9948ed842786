"""What becomes of tokens that end, from a PUT to the topics, on a running Tidemark and its sandbox."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime
from typing import Any

import httpx
import orjson
import pytest

from infra.sandbox.ids import make_id
from tests.e2e.test_surfaces import read_all
from tests.support.tidemark import RawPublisher, Tidemark
from tests.support.waiting import wait_until

ACCOUNT = "2244994945"
TOPICS = ("platform.raw", "catalog.channels", "accounts.events", "rollups.channels", "metrics.channel-snapshots")


def newest(tidemark: Tidemark, topic: str, key: str) -> Any:
    """The last value of a key."""
    return next((value for found, value in reversed(read_all(tidemark.ready, topic)) if found == key), None)


def said(tidemark: Tidemark, key: str) -> list[str]:
    return [value["type"] for found, value in read_all(tidemark.ready, "accounts.events") if found == key]


@pytest.mark.parametrize("platform", ["x", pytest.param("bluesky", marks=pytest.mark.long)])
def test_an_ended_token_is_refreshed_and_figures_come(tidemark: Tidemark, platform: str) -> None:
    workspace = f"tokens-{secrets.token_hex(3)}"
    external_id = ACCOUNT if platform == "x" else "did:plc:z72i7hdynmk6r22z27h6tvur"
    secret = secrets.token_hex(8)
    held = {"access_token": f"sandbox-expired-{secret}", "refresh_token": f"sandbox-{secret}"}
    tidemark.put_channel(workspace, "c", platform=platform, external_id=external_id, **held)
    channel = wait_until(
        lambda: newest(tidemark, "metrics.channel-snapshots", f"{workspace}/c"),
        30,
        lambda: tidemark.log("poller"),
    )
    assert channel["followers"] > 0
    tokens = newest(tidemark, "catalog.tokens", f"{workspace}/c")
    assert tokens["origin"] == "refresh"
    assert said(tidemark, f"{workspace}/c") == []
    everything = orjson.dumps([read_all(tidemark.ready, topic) for topic in TOPICS], default=repr)
    assert secret.encode() not in everything + bytes(tokens["ciphertext"])
    assert b"sandbox-fresh" not in everything
    assert secret not in tidemark.log("poller")
    # The same PUT again does not undo the refresh.
    tidemark.put_channel(workspace, "c", platform=platform, external_id=external_id, **held)
    assert newest(tidemark, "catalog.tokens", f"{workspace}/c") == tokens


def test_a_revoked_token_is_said_once_and_a_new_put_recovers(tidemark: Tidemark) -> None:
    workspace = f"tokens-{secrets.token_hex(3)}"
    key = f"{workspace}/c"
    tidemark.put_channel(
        workspace,
        "c",
        platform="x",
        external_id=ACCOUNT,
        access_token="sandbox-revoked-1",
        refresh_token="sandbox-revoked-1",
    )
    wait_until(
        lambda: newest(tidemark, "catalog.channels", key)["status"] == "token_expired",
        30,
        lambda: tidemark.log("poller"),
    )
    assert said(tidemark, key) == ["account.token_expired"]
    tidemark.put_channel(
        workspace, "c", platform="x", external_id=ACCOUNT, access_token="sandbox-2", refresh_token="sandbox-refresh-2"
    )
    wait_until(
        lambda: said(tidemark, key) == ["account.token_expired", "account.recovered"],
        30,
        lambda: tidemark.log("poller"),
    )
    assert newest(tidemark, "catalog.channels", key)["status"] == "active"


def test_a_real_accounts_own_figures_stay_beside_the_sandbox(tidemark: Tidemark) -> None:
    """What somebody published of their own post is not overwritten with made-up figures."""
    workspace, at = f"tokens-{secrets.token_hex(3)}", time.time_ns() // 1_000_000
    external_id = make_id("x", at - 60_000, 1)
    tidemark.put_channel(workspace, "c", platform="x", external_id=ACCOUNT, access_token="my-own-token")
    target = {"target_id": "t", "channel_id": "c", "status": "published", "external_id": external_id}
    published = datetime.fromtimestamp(at / 1000 - 60, UTC).isoformat()
    tidemark.put_post(workspace, "p", [target], published_at=published)
    health = tidemark.get(workspace, "/api/v1/social-accounts/c/health").json()
    assert (health["healthy"], health["checked_live"], health["error_code"]) == (False, False, "platform_unavailable")
    raw = {
        "event_id": "own", "workspace_id": workspace, "channel_id": "c", "platform": "x", "kind": "POST_METRICS",
        "endpoint": "/2/tweets", "request": {"ids": external_id},
        "targets": [{"target_id": "t", "post_id": "p", "external_id": external_id}], "http_status": 200,
        "body": orjson.dumps({"data": [{"id": external_id, "public_metrics": {"like_count": 7}}]}),
        "captured_at": datetime.fromtimestamp(at / 1000, UTC), "origin": "BACKFILL",
    }  # fmt: skip
    publisher = RawPublisher(tidemark.ready)
    publisher.publish(raw)
    publisher.flush()

    def likes() -> Any:
        rows = tidemark.get(workspace, "/api/v1/posts/p/analytics").json().get("metrics_by_account")
        return rows[0]["likes"] if rows else None

    wait_until(lambda: likes() == 7, 30, lambda: tidemark.log("aggregator"))
    # A live answer was asked for each time, and still is.
    assert likes() == 7
    asked = httpx.get(f"{tidemark.ready['sandbox']}/_sandbox/served", params={"external_id": external_id}).json()
    assert asked["served"] == []
    assert "--no-sandbox" in tidemark.log("poller")
    assert "my-own-token" not in tidemark.log("poller")
