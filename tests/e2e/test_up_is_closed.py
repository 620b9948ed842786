"""A running `tidemark up` keeps what it knows to itself: its folder, its files, and each service's own secrets."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path

import psutil
import pytest

from tests.e2e.conftest import OF_THE_CALLER
from tests.support.tidemark import Tidemark


@pytest.fixture
def closed(second_tidemark: Tidemark) -> Tidemark:
    return second_tidemark


def test_nobody_else_reads_the_data_folder(closed: Tidemark) -> None:
    data = closed.data
    open_to_others, seen = [], 0
    for path in (data, *data.rglob("*")):
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            continue  # the engines remove some of theirs
        seen += 1
        if not stat.S_ISLNK(mode) and stat.S_IMODE(mode) != (0o700 if stat.S_ISDIR(mode) else 0o600):
            open_to_others.append((oct(mode), str(path.relative_to(data))))
    assert seen > 100
    assert open_to_others == []


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


def test_nothing_listens_that_was_not_asked_for(closed: Tidemark) -> None:
    chosen = set(json.loads((closed.folder / "data" / "ports.json").read_text()).values())
    found: dict[int, str] = {}
    for name, pid in closed.ready["pids"].items():
        for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
            for connection in process.net_connections(kind="tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    assert connection.laddr.ip in ("127.0.0.1", "::ffff:127.0.0.1"), (name, connection)
                    found[connection.laddr.port] = name
    assert chosen <= found.keys()
    # The registry has a port of its own for health and metrics, which can't be left out.
    assert {found[port] for port in found.keys() - chosen} <= {"registry"}
