"""The supervisor's pure parts: when to restart, what to stop first, logs, ports and the data folder."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from infra.embedded.datadir import DataDir, write_atomically
from infra.embedded.disk import Disk
from infra.embedded.errors import DataDirError, PortTakenError, ServiceFailedError
from infra.embedded.logs import Logs
from infra.embedded.ports import free_ports, is_free, require_free
from infra.embedded.service import STEADY_SECONDS, Deaths, Service, State, stop_order
from infra.embedded.strain import is_stopped, patience_at
from infra.embedded.supervisor import Supervisor


def service(name: str, *depends_on: str) -> Service:
    return Service(name, ["true"], {}, depends_on=frozenset(depends_on))


def test_restarts_wait_longer_each_time_and_give_up() -> None:
    deaths = Deaths(allowed_before_ready=5)
    pauses = [deaths.record(ready_seconds=None, was_ever_ready=False) for _ in range(5)]
    assert pauses == [0.2, 0.4, 0.8, 1.6, None]


def test_a_service_that_once_worked_gets_more_tries_with_a_bounded_pause() -> None:
    deaths = Deaths()
    pauses = [deaths.record(ready_seconds=1.0, was_ever_ready=True) for _ in range(10)]
    assert pauses[-1] is None
    assert max(pause for pause in pauses if pause is not None) == 5.0


def test_a_steady_time_forgives_earlier_deaths() -> None:
    deaths = Deaths(allowed_after_ready=3)
    for _ in range(20):
        assert deaths.record(ready_seconds=STEADY_SECONDS, was_ever_ready=True) == 0.2


def test_what_a_full_disk_killed_does_not_count() -> None:
    deaths = Deaths(allowed_before_ready=2)
    for _ in range(200):
        assert deaths.record(ready_seconds=None, was_ever_ready=False, is_excused=True) == 5.0
    assert deaths.record(ready_seconds=None, was_ever_ready=False) == 0.2
    assert deaths.record(ready_seconds=None, was_ever_ready=False) is None


def test_a_full_disk_is_told_every_ten_seconds_and_its_end_once(tmp_path: Path) -> None:
    free, now, lines = [1 << 30], [0.0], list[str]()
    disk = Disk(tmp_path, free_bytes=lambda _: free[0], tell=lines.append, clock=lambda: now[0])
    disk.look()
    assert (lines, disk.excuses) == ([], False)
    free[0] = 5 << 20
    for second in range(25):
        now[0] = float(second)
        disk.look()
    assert [line for line in lines if f"only 5 MB are free on the disk of {tmp_path}" in line] == lines
    assert len(lines) == 3
    free[0] = 1 << 30
    disk.look()
    disk.look()
    assert len(lines) == 4
    assert "has space again" in lines[3]
    assert disk.excuses
    now[0] += 61
    assert not disk.excuses


@pytest.mark.parametrize("folder", ["gone/logs", "file/logs"])
def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").touch()
    logs = Logs(tmp_path / folder)
    logs.announce("a", "a started, pid 7")
    assert not logs.rotate("a")


def test_dependents_stop_before_what_they_depend_on() -> None:
    services = [service("engine"), service("job", "engine"), service("api", "job", "engine"), service("alone")]
    names = [sorted(s.name for s in group) for group in stop_order(services)]
    assert names == [["alone", "api"], ["job"], ["engine"]]


def test_a_circle_and_an_unknown_dependency_are_named() -> None:
    with pytest.raises(ValueError, match="circle of dependencies among a, b"):
        stop_order([service("a", "b"), service("b", "a")])
    with pytest.raises(ValueError, match="a depends on ghost"):
        stop_order([service("a", "ghost")])


def test_a_long_log_is_cut_and_kept_once(tmp_path: Path) -> None:
    logs = Logs(tmp_path, max_bytes=100)
    with logs.path("a").open("ab") as held_by_service:
        held_by_service.write(b"x" * 200)
        held_by_service.flush()
        assert logs.rotate("a")
        held_by_service.write(b"after\n")
        held_by_service.flush()
    assert logs.path("a").read_bytes() == b"after\n"
    assert (tmp_path / "a.log.1").read_bytes() == b"x" * 200
    assert not logs.rotate("a")
    assert not logs.rotate("never-started")


def test_the_last_line_is_the_services_own_and_of_its_last_start(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    logs.path("a").write_text("an old reason\n")
    logs.announce("a", "a started, pid 7")
    assert logs.last_line("a") == ""
    with logs.path("a").open("a") as log:
        log.write("the reason\n\n")
    logs.announce("a", "a exited with code 1")
    assert logs.last_line("a") == "the reason"
    assert logs.last_line("never-started") == ""


def test_free_ports_are_distinct_and_below_the_ephemeral_range() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert all(20000 <= port < 32000 for port in ports)


def test_a_taken_port_is_named_with_its_service_and_holder() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_ports(1)[0]))
        listener.listen()
        port = listener.getsockname()[1]
        assert not is_free(port)
        with pytest.raises(PortTakenError, match=f"port {port} of kafka is taken by pid {os.getpid()} .*--ports auto"):
            require_free([("kafka", port)])


def test_a_resumed_folder_keeps_its_ports_and_secrets(tmp_path: Path) -> None:
    names = ["kafka", "kafka_controller", "registry"]
    with DataDir(tmp_path / "data") as folder:
        ports, secrets = folder.ports(names, usual=False), folder.secrets()
        assert stat.S_IMODE(folder.secrets_path.stat().st_mode) == 0o600
    with DataDir(tmp_path / "data") as folder:
        assert folder.ports([*names, "clickhouse"], usual=False).items() > ports.items()
        assert folder.secrets() == secrets


def test_a_kept_port_that_was_taken_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.embedded.datadir.PORT_RELEASE_SECONDS", 0.0)
    with DataDir(tmp_path) as folder, socket.socket() as listener:
        first = folder.ports(["kafka", "registry"], usual=False)
        listener.bind(("127.0.0.1", first["kafka"]))
        listener.listen()
        second = folder.ports(["kafka", "registry"], usual=False)
    assert second["kafka"] != first["kafka"]
    assert second["registry"] == first["registry"]


def test_a_held_folder_is_refused_with_the_holders_pid(tmp_path: Path) -> None:
    with (
        DataDir(tmp_path),
        pytest.raises(DataDirError, match=f"another `tidemark up` \\(pid {os.getpid()}\\) runs on"),
        DataDir(tmp_path),
    ):
        pass
    with DataDir(tmp_path):
        pass


def test_a_full_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.embedded.datadir.MINIMUM_FREE_BYTES", 1 << 60)
    with pytest.raises(DataDirError, match=r"only \d+ MB are free on the disk of"), DataDir(tmp_path):
        pass


def test_a_damaged_secrets_file_is_refused_not_replaced(tmp_path: Path) -> None:
    with DataDir(tmp_path) as folder:
        folder.secrets_path.write_text("{")
        with pytest.raises(DataDirError, match="is damaged"):
            folder.secrets()
        assert folder.secrets_path.read_text() == "{"


def test_an_atomic_write_leaves_no_other_file(tmp_path: Path) -> None:
    write_atomically(tmp_path / "ready.json", "1")
    write_atomically(tmp_path / "ready.json", "2", mode=0o600)
    assert [path.name for path in tmp_path.iterdir()] == ["ready.json"]
    assert (tmp_path / "ready.json").read_text() == "2"


class Recorder:
    """A display that remembers."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, State]] = []

    def show(self, service: str, state: State, detail: str = "") -> None:
        self.seen.append((service, state))

    def tick(self) -> None: ...

    def settle(self) -> None: ...


def test_states_are_shown_in_order(tmp_path: Path) -> None:
    display = Recorder()
    pids: dict[str, int] = {}

    async def probe() -> bool:
        return True

    async def run() -> None:
        def on_ready() -> None:
            supervisor.request_stop()

        supervisor = Supervisor(
            [
                Service("job", [sys.executable, "-S", "-c", ""], dict(os.environ), once=True),
                Service("s", ["sleep", "60"], dict(os.environ), probe, frozenset({"job"})),
            ],
            logs=Logs(tmp_path),
            display=display,
            on_pids=pids.update,
            on_ready=on_ready,
        )
        await supervisor.run()

    asyncio.run(run())
    assert display.seen == [
        ("job", State.STARTING),
        ("job", State.DONE),
        ("s", State.STARTING),
        ("s", State.READY),
        ("s", State.STOPPED),
    ]
    assert list(pids) == ["s"]


def test_a_program_that_does_not_exist_is_named(tmp_path: Path) -> None:
    async def never() -> bool:
        return False

    async def run() -> None:
        supervisor = Supervisor(
            [Service("ghost", ["/no/such/program"], dict(os.environ), never)],
            logs=Logs(tmp_path),
            display=Recorder(),
            on_pids=lambda _: None,
            on_ready=lambda: None,
        )
        await supervisor.run()

    with pytest.raises(ServiceFailedError, match=r"ghost exited with code 1.*cannot run /no/such/program"):
        asyncio.run(run())


def test_time_limits_are_stretched_on_an_overloaded_machine() -> None:
    assert [patience_at(load, 2) for load in (0.0, 2.0, 8.0, 16.0, 24.0, 40.0, 400.0)] == [1, 1, 1, 2, 3, 5, 5]


def test_a_process_that_a_signal_stopped_is_told_from_a_slow_one() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        try:
            assert not is_stopped(process.pid)
            process.send_signal(signal.SIGSTOP)
            os.waitpid(process.pid, os.WUNTRACED)
            assert is_stopped(process.pid)
        finally:
            process.kill()
            process.send_signal(signal.SIGCONT)
    assert not is_stopped(process.pid)
