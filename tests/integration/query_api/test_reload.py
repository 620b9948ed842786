"""A running query API takes a new admin key, and new keys of encryption, from their files at SIGHUP."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from services.runtime.settings import KafkaSettings
from tests.integration.query_api.rows import Store
from tests.integration.query_api.running import Service, environment_of
from tests.support.engines import Engines
from tests.support.loopback import LOOPBACK
from tests.support.waiting import wait_until


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.long), 2])
def test_a_new_admin_key_counts_without_a_restart(
    engines: Engines, kafka_settings: KafkaSettings, tables: Store, tmp_path: Path, workers: int
) -> None:
    key = tmp_path / "admin-key"
    key.write_text("first-admin-key")
    key.chmod(0o600)
    environment = environment_of(engines, kafka_settings, tables)
    del environment["TIDEMARK_ADMIN_KEY"]
    told = {"TIDEMARK_ADMIN_KEY_FILE": str(key), "TIDEMARK_QUERY_API_WORKERS": str(workers)}
    service = Service({**environment, **told}, tmp_path / "api.log")
    service.start()
    try:
        service.wait_until_ready()

        def statuses(presented: str) -> set[int]:
            """On connections of their own, so that every worker is asked."""
            headers = {"authorization": f"Bearer {presented}"}
            url = service.client.base_url.join("/admin/v1/workspaces/w-reload")
            return {LOOPBACK.get(url, headers=headers, timeout=20).status_code for _ in range(12)}

        assert statuses("first-admin-key") == {200}
        assert statuses("second-admin-key") == {401}
        key.write_text("second-admin-key")
        assert service.process is not None
        service.process.send_signal(signal.SIGHUP)
        wait_until(lambda: statuses("second-admin-key") == {200}, 20, lambda: service.log.read_text()[-3000:])
        assert statuses("first-admin-key") == {401}
        assert "second-admin-key" not in service.log.read_text()
    finally:
        service.stop()
