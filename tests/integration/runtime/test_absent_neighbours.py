"""Engines that are frozen or absent: no command is silent for long, and no service repeats itself.

A socket that is listened on and never read is what a stopped engine looks like from outside: the kernel takes
connections for it, and nothing answers.
"""

from __future__ import annotations

import itertools
import os
import re
import selectors
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from infra.embedded.ports import free_ports
from infra.embedded.processes import tied
from tests.support.waiting import busy

# On a machine at rest.
SILENT_SECONDS = 10.0
MOST_SECONDS = 60.0
COMMANDS = {
    "status": ["status"],
    "audit": ["audit"],
    "topics": ["topics"],
    "dead-letters list": ["dead-letters", "list"],
    "dead-letters redrive": ["dead-letters", "redrive", "--every-reason"],
    "rebuild": ["rebuild"],
    "keys list": ["keys", "list", "w"],
    "catalog export": ["catalog", "export", "--workspace", "w"],
    "migrate": ["migrate"],
}
# Those of each way to wait for an engine: Kafka with and without a group, ClickHouse, the registry, the API.
IN_SHORT = ("status", "audit", "topics", "dead-letters list", "keys list", "rebuild")


@contextmanager
def frozen_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        yield int(listener.getsockname()[1])


def settings(kafka: int, registry: int, clickhouse: int, api: int) -> dict[str, str]:
    return {
        "TIDEMARK_KAFKA_BOOTSTRAP": f"127.0.0.1:{kafka}",
        "TIDEMARK_SCHEMA_REGISTRY_URL": f"http://127.0.0.1:{registry}",
        "TIDEMARK_CLICKHOUSE_URL": f"http://default:p@127.0.0.1:{clickhouse}/tidemark",
        "TIDEMARK_QUERY_API_URL": f"http://127.0.0.1:{api}",
        "TIDEMARK_ADMIN_KEY": "tm_admin_of_this_test",
        "TIDEMARK_SECRET_KEYS": Fernet.generate_key().decode(),
    }


def silence(command: list[str], environment: dict[str, str], folder: Path) -> tuple[float, str]:
    """How long a command says nothing at first, and what it then says; it is ended after that."""
    process = subprocess.Popen(
        [sys.executable, "-m", "services.cli", *command],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3]), **environment},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    began = time.monotonic()
    try:
        assert process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            is_said = selector.select(MOST_SECONDS * busy())
        took = time.monotonic() - began
        return took, os.read(process.stdout.fileno(), 4096).decode() if is_said else ""
    finally:
        process.kill()
        process.communicate()


Said = dict[str, tuple[float, str]]
# So few that each has about the core that it has where it runs alone.
AT_ONCE = 3


def silences(environment: dict[str, str], folder: Path, names: Sequence[str] = tuple(COMMANDS)) -> Said:
    """`silence` of some commands, a few side by side, since they wait more than they work."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = pool.map(lambda name: silence(COMMANDS[name], environment, folder), names)
        return dict(zip(names, found, strict=True))


@pytest.fixture(scope="module")
def before_frozen(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Said:
    """What commands say while nothing answers; the services are watched meanwhile."""
    with frozen_port() as port:
        return silences(settings(port, port, port, port), tmp_path_factory.mktemp("frozen"), IN_SHORT)


@pytest.fixture(scope="module")
def others_before_frozen(tmp_path_factory: pytest.TempPathFactory) -> Said:
    """What the other commands say then."""
    others = [name for name in COMMANDS if name not in IN_SHORT]
    with frozen_port() as port:
        return silences(settings(port, port, port, port), tmp_path_factory.mktemp("others-frozen"), others)


@pytest.fixture(scope="module")
def before_absent(tmp_path_factory: pytest.TempPathFactory) -> Said:
    """What commands say while nothing is there."""
    return silences(settings(*free_ports(4)), tmp_path_factory.mktemp("absent"))


def check(took: float, said: str) -> None:
    assert took < SILENT_SECONDS * busy()
    assert said.strip()
    assert "Traceback" not in said
    assert "No such option" not in said, said
    assert "Missing" not in said, said


@pytest.mark.parametrize("name", IN_SHORT)
def test_no_command_is_silent_before_frozen_engines(name: str, before_frozen: Said) -> None:
    check(*before_frozen[name])


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in IN_SHORT])
def test_no_other_command_is_silent_before_frozen_engines(name: str, others_before_frozen: Said) -> None:
    check(*others_before_frozen[name])


@pytest.mark.long
@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_is_silent_before_absent_engines(name: str, before_absent: Said) -> None:
    check(*before_absent[name])


LINE = re.compile(r"timestamp=(\S+) level=(\w+) logger=(\S+) event=(\"(?:[^\"\\]|\\.)*\"|\S+)")
WATCHED_SECONDS = 20.0
# The aggregator ends without a registry, and is started anew by whoever runs it.
MODULES = ("poller", "query_api")


class Services:
    """Services without neighbours, each in a process of its own.

    Args:
        folder: takes their logs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._began = time.monotonic()
        self._processes = [self._start(module) for module in MODULES]

    def _start(self, module: str) -> subprocess.Popen[bytes]:
        kafka, registry, clickhouse, api, metrics = free_ports(5)
        environment = {
            **os.environ,
            **settings(kafka, registry, clickhouse, api),
            "PYTHONPATH": str(Path(__file__).resolve().parents[3]),
            "TIDEMARK_QUERY_API_PORT": str(api),
            "TIDEMARK_METRICS_PORT": str(metrics),
        }
        environment.pop("TIDEMARK_QUERY_API_URL")
        with (self._folder / module).open("wb") as stream:
            return subprocess.Popen(
                tied([sys.executable, "-m", f"services.{module}"]), env=environment, cwd=self._folder, stdout=stream,
                stderr=stream,
            )  # fmt: skip

    def watch(self) -> None:
        """Return once they have run for the span that is watched."""
        for process in self._processes:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(max(0.0, self._began + WATCHED_SECONDS - time.monotonic()))

    def log(self, module: str) -> str:
        """All that a service has said."""
        return (self._folder / module).read_text(errors="replace")

    def stop(self) -> None:
        """End them."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """Services that begin to run when the file's first test does."""
    started = Services(tmp_path_factory.mktemp("services"))
    yield started
    started.stop()


@pytest.mark.parametrize("module", MODULES)
def test_a_service_says_of_an_absent_neighbour_one_line_in_ten_seconds(module: str, services: Services) -> None:
    services.watch()
    text = services.log(module)
    times = defaultdict(list)
    for at, level, logger, event in LINE.findall(text):
        if level in ("warning", "error", "critical"):
            template = re.sub(r"0x[0-9a-f]+|\d+", "#", event)
            times[logger, template].append(datetime.fromisoformat(at).timestamp())
    assert times, text[-3000:]
    for kind, said in times.items():
        waits = [later - earlier for earlier, later in itertools.pairwise(said)]
        assert all(wait > 9.5 for wait in waits), (kind, waits)
    assert "Traceback" not in text, text[-3000:]
