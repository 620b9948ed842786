"""`tidemark up` that cannot start ends in one line that says what to do; and one that can, resumes."""

from __future__ import annotations

import getpass
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from infra.embedded.ports import free_ports
from infra.embedded.up import main
from tests.support.waiting import wait_until

SERVICES = ("kafka", "registry", "clickhouse", "aggregator", "query_api", "poller", "notifier", "topics", "migrate")
READY_SECONDS = 90.0
CODE = """
import sys
from pathlib import Path
from infra.embedded.up import main
options = eval(sys.argv[1])
sys.exit(main(Path(options.pop("data_dir")), **options))
"""


@contextmanager
def up(data_dir: Path, environment: dict[str, str] | None = None, **options: Any) -> Iterator[subprocess.Popen[str]]:
    ready_file = options.get("ready_file")
    described = {"data_dir": str(data_dir), "ports": "auto", **options}
    text = repr({name: value for name, value in described.items() if name != "ready_file"})
    if ready_file is not None:
        text = text[:-1] + f", 'ready_file': Path({str(ready_file)!r})}}"
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, text],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def refusal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., str]]:
    """Runs an `up` that must refuse, in this process, and returns its one line."""
    ended_by = signal.getsignal(signal.SIGTERM)

    def run(data_dir: Path, environment: dict[str, str] | None = None, **options: Any) -> str:
        for name, value in (environment or {}).items():
            monkeypatch.setenv(name, value)
        assert main(data_dir, **{"ports": "auto", **options}) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("tidemark: ")
        return line

    yield run
    signal.signal(signal.SIGTERM, ended_by)


def only(*names: str) -> list[str]:
    return [name for name in SERVICES if name not in names]


def test_a_taken_port(tmp_path: Path, refusal: Callable[..., str]) -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", 9092))
            listener.listen()
        except OSError:
            pass  # somebody else's broker takes the port just as well
        line = refusal(tmp_path / "data", ports="default", without=only("kafka"))
    assert "port 9092 of kafka is taken" in line
    assert "--ports auto" in line


def test_a_folder_that_cannot_be_written(tmp_path: Path, refusal: Callable[..., str]) -> None:
    (tmp_path / "file").write_text("")
    assert "choose another --data-dir" in refusal(tmp_path / "file" / "data", without=only("kafka"))


def test_a_ready_file_that_cannot_be_written(tmp_path: Path, refusal: Callable[..., str]) -> None:
    missing = tmp_path / "missing" / "ready.json"
    assert "choose another --ready-file" in refusal(tmp_path / "data", without=only("kafka"), ready_file=missing)


def test_an_unknown_service_lists_the_known_ones(tmp_path: Path, refusal: Callable[..., str]) -> None:
    line = refusal(tmp_path / "data", without=["kafak"])
    assert "kafak" in line
    assert "aggregator" in line


def test_no_network_at_the_first_start(tmp_path: Path) -> None:
    nowhere = f"http://127.0.0.1:{free_ports(1)[0]}"
    proxies = {"HTTPS_PROXY": nowhere, "https_proxy": nowhere, "HTTP_PROXY": nowhere, "http_proxy": nowhere}
    caches = {"TIDEMARK_CACHE_DIR": str(tmp_path / "cache"), "M2_REPO": str(tmp_path / "m2")}
    with up(tmp_path / "data", {**proxies, **caches}, without=only("kafka")) as process:
        _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    *progress, line = error.splitlines()
    assert "the first start needs the network" in line
    assert all("Fetching kafka" in earlier for earlier in progress)


def test_a_cluster_setting_contradicts_the_embedded_engine(tmp_path: Path, refusal: Callable[..., str]) -> None:
    line = refusal(tmp_path / "data", {"TIDEMARK_CLICKHOUSE_CLUSTER": "c"}, without=only("clickhouse"))
    assert "TIDEMARK_CLICKHOUSE_CLUSTER is set" in line


@pytest.mark.parametrize("name", ["TIDEMARK_QUERY_API_PORT", "TIDEMARK_METRICS_PORT"])
def test_a_wrong_value_that_up_itself_would_not_use(tmp_path: Path, refusal: Callable[..., str], name: str) -> None:
    assert refusal(tmp_path / "data", {name: "99999"}).startswith(f"tidemark: {name}: ")


def test_up_restarts_resumes_and_is_alone(tmp_path: Path, refusal: Callable[..., str]) -> None:
    ready_file, data_dir, outside = tmp_path / "ready.json", tmp_path / "data", tmp_path / "outside"
    outside.mkdir()
    its = {"TMPDIR": str(outside)}
    monitored = Path("/tmp", f"hsperfdata_{getpass.getuser()}")

    def ready() -> dict[str, Any]:
        return dict(json.loads(ready_file.read_text())) if ready_file.exists() else {}

    with up(data_dir, its, without=only("kafka"), ready_file=ready_file) as first:
        document = wait_until(ready, READY_SECONDS, "the first ready-file")
        assert "another `tidemark up`" in refusal(data_dir, without=only("kafka"))
        admin = AdminClient({"bootstrap.servers": document["kafka"]})
        admin.create_topics([NewTopic("kept", 1, 1)])["kept"].result(20)
        producer = Producer({"bootstrap.servers": document["kafka"], "log_level": 0})
        producer.produce("kept", b"value")
        assert producer.flush(20) == 0
        left = data_dir / "tmp" / "left-by-a-killed-process"
        left.touch()
        assert not (monitored / str(document["pids"]["kafka"])).exists()

        os.kill(document["pids"]["kafka"], signal.SIGKILL)
        wait_until(lambda: ready()["pids"] != document["pids"], READY_SECONDS, "another pid of kafka")
        first.kill()  # no chance to stop anything
        first.wait()

    ready_file.unlink()
    with up(data_dir, its, without=only("kafka"), ready_file=ready_file) as second:
        resumed = wait_until(ready, READY_SECONDS, "the second ready-file")
        assert not left.exists()
        assert {**resumed, "pids": None} == {**document, "pids": None}
        assert "kept" in AdminClient({"bootstrap.servers": resumed["kafka"]}).list_topics(timeout=10).topics
        second.terminate()
        _, error = second.communicate(timeout=15)
        assert second.returncode == 0
        assert "press Ctrl-C to stop" in error
        assert not ready_file.exists()
    assert not (data_dir / "tmp").exists()
    assert list(outside.iterdir()) == []
