"""A running `tidemark up` keeps what it knows to itself: its folder, its files, and each service's own secrets."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import OF_THE_CALLER
from tests.support.closed import LOOPBACK, listening, open_to_others
from tests.support.tidemark import Tidemark


@pytest.fixture
def closed(second_tidemark: Tidemark) -> Tidemark:
    return second_tidemark


def test_nobody_else_reads_the_data_folder(closed: Tidemark) -> None:
    seen, found = open_to_others(closed.data)
    assert seen > 100
    assert found == []


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_each_service_knows_its_own_secrets_only(closed: Tidemark) -> None:
    made = json.loads((closed.data / "secrets.json").read_text())
    assert closed.ready["admin_key"] == "admin-key-of-a-file"
    secrets = {
        "writer": made["clickhouse_password"],
        "analyst": made["clickhouse_analyst_password"],
        "admin": "admin-key-of-a-file",
        "folder's admin": made["admin_key"],
        "keys": made["secret_keys"],
        "platform": OF_THE_CALLER["TIDEMARK_X_CLIENT_SECRET"],
        "caller": OF_THE_CALLER["AWS_SECRET_ACCESS_KEY"],
        "sandbox's app": "tidemark-sandbox-reddit-client-secret",
    }
    knows = {}
    for name, pid in closed.ready["pids"].items():
        process = Path("/proc") / str(pid)
        text = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
        knows[name] = {what for what, secret in secrets.items() if secret.encode() in text}
    assert knows == {
        "kafka": set(),
        "registry": set(),
        "sandbox": set(),
        "clickhouse": {"writer", "analyst"},
        "aggregator": {"writer"},
        "query_api": {"writer", "admin", "keys"},
        "notifier": {"writer", "keys"},
        "poller": {"keys", "platform", "sandbox's app"},
    }


def test_nothing_listens_that_was_not_asked_for(closed: Tidemark) -> None:
    chosen = set(json.loads((closed.data / "ports.json").read_text()).values())
    found = listening(closed.ready["pids"])
    assert {address for _, address in found.values()} <= {*LOOPBACK}
    assert chosen <= found.keys()
    # The registry has a port of its own for health and metrics, which can't be left out.
    assert {found[port][0] for port in found.keys() - chosen} <= {"registry"}


def test_nothing_is_written_outside_the_data_folder(closed: Tidemark) -> None:
    """Until it has stopped; this is the last test of the installation."""
    data, outside = closed.data, closed.folder / "outside"
    if sys.platform == "linux":
        for name, pid in closed.ready["pids"].items():
            process = Path("/proc") / str(pid)
            if name in ("kafka", "registry"):  # Java heeds no TMPDIR
                told, wanted = process / "cmdline", f"-Djava.io.tmpdir={data / name / 'tmp'}"
            else:
                told, wanted = process / "environ", f"TMPDIR={data / 'tmp'}"
            assert wanted.encode() in told.read_bytes().split(b"\0"), name
    assert list(outside.iterdir()) == []
    assert closed.stop() == 0
    assert list(outside.iterdir()) == []
    assert not (data / "tmp").exists()
