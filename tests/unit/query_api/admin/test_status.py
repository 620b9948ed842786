"""What operators read of the whole installation, and of accounts that wait for a person."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from schemas.events import CatalogChannel
from services.query_api.admin.status import StatusReader, engines_of, reader_of
from services.query_api.settings import QueryApiSettings
from services.runtime.settings import ClickHouseSettings, KafkaSettings
from tests.support.query_api import ADMIN_KEY, fake_api

ADMIN = {"authorization": f"Bearer {ADMIN_KEY}"}


async def test_callers_of_the_same_moment_share_a_reading() -> None:
    begun: list[None] = []
    is_begun, go = Event(), Event()

    def gather() -> dict[str, Any]:
        begun.append(None)
        is_begun.set()
        assert go.wait(10)
        return {"number": len(begun)}

    reader = StatusReader(gather)
    asking = [asyncio.create_task(reader.read()) for _ in range(5)]
    assert await asyncio.to_thread(is_begun.wait, 10)
    go.set()
    assert await asyncio.gather(*asking) == [{"number": 1}] * 5
    assert await reader.read() == {"number": 1}


async def test_without_services_nothing_is_healthy() -> None:
    found = await reader_of("", {}).read()
    assert found["is_healthy"] is False
    assert found["services"] == {}
    assert "bootstrap" in found["kafka"]["problem"].lower()


def test_engines_are_found_by_settings_of_files_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "url"
    secret.write_text("http://default:a-password@db:8123/tidemark\n")
    secret.chmod(0o600)
    for name, value in {
        "TIDEMARK_CLICKHOUSE_URL_FILE": str(secret),
        "TIDEMARK_KAFKA_BOOTSTRAP": "broker:9092",
        "TIDEMARK_SCHEMA_REGISTRY_URL": "http://registry:8081",
    }.items():
        monkeypatch.setenv(name, value)
    settings = QueryApiSettings.load()
    told = engines_of(settings, {"TIDEMARK_AGGREGATOR_GROUP": "mine", "HOME": "/nowhere"})
    assert told["TIDEMARK_CLICKHOUSE_URL"] == "http://default:a-password@db:8123/tidemark"
    assert told["TIDEMARK_KAFKA_BOOTSTRAP"] == "broker:9092"
    assert told["TIDEMARK_AGGREGATOR_GROUP"] == "mine"
    assert "HOME" not in told
    # The status reads them again, from text.
    for kind in (KafkaSettings, ClickHouseSettings):
        known = {name.removeprefix("TIDEMARK_").lower(): value for name, value in told.items()}
        again = kind.model_validate({name: known[name] for name in kind.model_fields if name in known})
        assert all(getattr(again, name) == getattr(settings, name) for name in kind.model_fields)


async def test_a_failed_reading_is_read_again() -> None:
    tries = iter((1, 2))

    def gather() -> dict[str, Any]:
        if next(tries) == 1:
            raise OSError("away")
        return {"is_healthy": True}

    reader = StatusReader(gather)
    assert isinstance((await asyncio.gather(reader.read(), return_exceptions=True))[0], OSError)
    assert await reader.read() == {"is_healthy": True}


async def test_accounts_that_wait() -> None:
    api = fake_api()
    channel = CatalogChannel("w1", "c1", "x", "1", "tide", "active", None, 2_000)
    held = [
        channel,
        replace(channel, channel_id="c2", status="token_expired"),
        replace(channel, workspace_id="w2", channel_id="c3", status="revoked", updated_at=1_000),
        replace(channel, workspace_id="w2", channel_id="c4", status="disabled"),
    ]
    for one in held:
        api.directory.apply((one.workspace_id, one.channel_id), one)
    told = (await api.client.get("/admin/v1/accounts", headers=ADMIN)).json()
    assert told["by_status"] == {"active": 1, "disabled": 1, "revoked": 1, "token_expired": 1}
    assert (told["workspaces"], told["waiting"]) == (2, 2)
    assert [(one["workspace_id"], one["channel_id"]) for one in told["data"]] == [("w2", "c3"), ("w1", "c2")]
    assert told["data"][0]["updated_at"] == "1970-01-01T00:00:01Z"
