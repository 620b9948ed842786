"""The workspace of `tidemark up --demo`: made once, and opened by the same key after each start."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from infra.embedded.demo_workspace import KEY_FILE, WORKSPACE, demo_key, show
from infra.embedded.up import main
from infra.sandbox.channels import PLATFORMS
from tests.support.query_api import ADMIN_KEY, NOW, FakeApi, fake_api
from tests.support.waiting import wait_until
from tidemark_client import TidemarkError


@pytest.fixture
def served() -> Iterator[tuple[str, FakeApi]]:
    """The query API over fakes at an address."""
    api = fake_api()
    assert api.app is not None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        free.listen()
        server = uvicorn.Server(uvicorn.Config(api.app, lifespan="off", log_level="error"))
        thread = threading.Thread(target=server.run, args=([free],), daemon=True)
        thread.start()
        wait_until(lambda: server.started, 20, lambda: "the server started")
        yield f"http://127.0.0.1:{free.getsockname()[1]}", api
        server.should_exit = True
        thread.join(20)


def test_it_is_made_once_and_keeps_its_key(tmp_path: Path, served: tuple[str, FakeApi]) -> None:
    origin, api = served
    key = demo_key(tmp_path, origin, ADMIN_KEY, NOW)
    held = tmp_path / KEY_FILE
    assert held.read_text() == f"{key}\n"
    assert held.stat().st_mode & 0o777 == 0o600
    assert {channel.platform for channel in api.directory.of(WORKSPACE)} == set(PLATFORMS)
    written = len(api.publisher.writes)
    assert demo_key(tmp_path, origin, ADMIN_KEY, NOW) == key
    assert len(api.publisher.writes) == written
    # A key that somebody took away is replaced.
    held.write_text("tm_live_gone\n")
    assert demo_key(tmp_path, origin, ADMIN_KEY, NOW) not in (key, "tm_live_gone")


def test_a_failure_is_one_line(tmp_path: Path, served: tuple[str, FakeApi], capsys: pytest.CaptureFixture[str]) -> None:
    origin, _ = served
    with pytest.raises(TidemarkError):
        demo_key(tmp_path, origin, "another", NOW)
    show(tmp_path, origin, "another")
    said = ""

    def told() -> str:
        nonlocal said
        said += capsys.readouterr().err
        return said

    wait_until(lambda: "could not be made" in told(), 20, told)
    assert not (tmp_path / KEY_FILE).exists()


def test_without_the_sandbox_there_is_nothing_to_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(tmp_path, sandbox=False, demo=True) == 1
    assert "--demo needs the sandbox" in capsys.readouterr().err
