"""Where status and the other commands find things."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from services.runtime.settings import SettingsError
from services.status.addresses import adopted, find, parse_targets

SERVICES = {"poller": "http://127.0.0.1:5", "query_api": "http://127.0.0.1:3"}
SETTINGS = {
    "TIDEMARK_KAFKA_BOOTSTRAP": "127.0.0.1:1",
    "TIDEMARK_CLICKHOUSE_URL": "http://default:secret@127.0.0.1:2/tidemark",
    "TIDEMARK_TOPIC_PREFIX": "ours.",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The data folder of a running `tidemark up`."""
    (tmp_path / "running.json").write_text(json.dumps({"services": SERVICES, "environment": SETTINGS}))
    (tmp_path / "up.pid").write_text(str(os.getpid()))
    return tmp_path


def test_a_running_folder_says_where_its_parts_are(folder: Path) -> None:
    found = find(folder, {})
    assert found.services == SERVICES
    assert found.environment == SETTINGS
    assert found.supervisor_pid == os.getpid()


def test_a_folder_that_does_not_run_says_nothing(folder: Path, tmp_path: Path) -> None:
    (folder / "up.pid").unlink()
    assert find(folder, {}).services == {}
    assert find(tmp_path / "nowhere", {}).environment == {}
    assert adopted(folder, {}).environment == {}


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


def test_a_command_takes_over_what_the_environment_leaves_open(folder: Path) -> None:
    assert adopted(folder, {"HOME": "x"}).environment == SETTINGS
    taken = adopted(folder, {"TIDEMARK_TOPIC_PREFIX": "mine."}).environment
    assert taken == {name: value for name, value in SETTINGS.items() if name != "TIDEMARK_TOPIC_PREFIX"}


def test_two_installations_are_never_mixed(folder: Path) -> None:
    assert adopted(folder, {"TIDEMARK_KAFKA_BOOTSTRAP": "kafka:9092"}).environment == {}
    assert adopted(folder, {"TIDEMARK_QUERY_API_URL": "http://elsewhere:8080"}).environment == {}


def test_bad_targets_are_named() -> None:
    with pytest.raises(SettingsError, match="TIDEMARK_STATUS_TARGETS: 'aggregator' is not name=http"):
        parse_targets("aggregator")
