"""Where status finds things."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from services.runtime.settings import SettingsError
from services.status.addresses import find, parse_targets


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The data folder of a running `tidemark up`."""
    ports = {"kafka": 1, "clickhouse": 2, "query_api": 3}
    ports |= {"aggregator_metrics": 4, "poller_metrics": 5, "query_api_metrics": 6}
    (tmp_path / "ports.json").write_text(json.dumps(ports))
    (tmp_path / "secrets.json").write_text(json.dumps({"clickhouse_password": "secret"}))
    (tmp_path / "up.pid").write_text(str(os.getpid()))
    return tmp_path


def test_a_running_folder_says_where_its_parts_are(folder: Path) -> None:
    found = find(folder, {})
    assert found.services == {
        "poller": "http://127.0.0.1:5",
        "aggregator": "http://127.0.0.1:4",
        "query_api": "http://127.0.0.1:6",
    }
    assert found.environment == {
        "TIDEMARK_KAFKA_BOOTSTRAP": "127.0.0.1:1",
        "TIDEMARK_CLICKHOUSE_URL": "http://default:secret@127.0.0.1:2/tidemark",
    }
    assert found.supervisor_pid == os.getpid()


def test_a_folder_that_does_not_run_says_nothing(folder: Path, tmp_path: Path) -> None:
    (folder / "up.pid").unlink()
    assert find(folder, {}).services == {}
    assert find(tmp_path / "nowhere", {}).environment == {}


def test_the_environment_wins(folder: Path) -> None:
    told = {
        "TIDEMARK_KAFKA_BOOTSTRAP": "kafka:9092",
        "TIDEMARK_STATUS_TARGETS": "aggregator-0=http://a:9100/, aggregator-1=http://b:9100",
        "HOME": "x",
        "TIDEMARK_TOPIC_PREFIX": "",
    }
    found = find(folder, told)
    assert found.services == {"aggregator-0": "http://a:9100", "aggregator-1": "http://b:9100"}
    assert found.environment["TIDEMARK_KAFKA_BOOTSTRAP"] == "kafka:9092"
    assert "HOME" not in found.environment


def test_bad_targets_are_named() -> None:
    with pytest.raises(SettingsError, match="TIDEMARK_STATUS_TARGETS: 'aggregator' is not name=http"):
        parse_targets("aggregator")
