"""What becomes of tokens that end, from a PUT to the topics, on a running Tidemark and its sandbox."""

from __future__ import annotations

import secrets
from typing import Any

import orjson
import pytest

from tests.e2e.test_surfaces import _read_all
from tests.support.tidemark import Tidemark
from tests.support.waiting import wait_until

ACCOUNT = "2244994945"
TOPICS = ("platform.raw", "catalog.channels", "accounts.events", "rollups.channels", "metrics.channel-snapshots")


def newest(tidemark: Tidemark, topic: str, key: str) -> Any:
    """The last value of a key."""
    return next((value for found, value in reversed(_read_all(tidemark.ready, topic)) if found == key), None)


def said(tidemark: Tidemark, key: str) -> list[str]:
    return [value["type"] for found, value in _read_all(tidemark.ready, "accounts.events") if found == key]


@pytest.mark.parametrize("platform", ["x", "bluesky"])
def test_an_ended_token_is_refreshed_and_figures_come(tidemark: Tidemark, platform: str) -> None:
    workspace = f"tokens-{secrets.token_hex(3)}"
    external_id = ACCOUNT if platform == "x" else "did:plc:z72i7hdynmk6r22z27h6tvur"
    secret = secrets.token_hex(8)
    held = {"access_token": f"expired-{secret}", "refresh_token": f"sandbox-{secret}"}
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
    everything = orjson.dumps([_read_all(tidemark.ready, topic) for topic in TOPICS], default=repr)
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
        workspace, "c", platform="x", external_id=ACCOUNT, access_token="revoked-1", refresh_token="revoked-1"
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
