"""README and docs/api.md run as they stand: block by block, in the order given, in one shell."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import UP
from tests.support.documents import Block, Ran, Shell, blocks
from tests.support.tidemark import Tidemark
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
README = blocks((ROOT / "README.md").read_text(encoding="utf-8"))
API = blocks((ROOT / "docs" / "api.md").read_text(encoding="utf-8"))
# Each block that is not run as it stands in the reader's shell, by its first line, and what runs it.
ELSEWHERE = {
    "make demo ": "tests/e2e/test_demo.py at length; `make up` is the next block without its ready-file",
    UP: "the fixture `second_tidemark`, with --ports auto, since this machine's usual ports may be taken",
    "export TIDEMARK_KAFKA_BOOTSTRAP=kafka-1": "test_the_deploy_steps_and_the_services_run",
    ".venv/bin/tidemark aggregator": "test_the_deploy_steps_and_the_services_run",
}
# The program that reads for twenty seconds: once it has shown what it has to, it goes on beside the blocks after it.
LASTING = 'consumer.subscribe(["rollups.posts"])'
# What the text promises of a block, by a line of it: everything that its output has to show.
PROMISED = {
    "catalog apply sandbox.ndjson": [
        r"accepted 3, rejected 0", r"accepted 2, rejected 0", r"(?m)^\S+\t\S+\tpostme\tanalytics:read$",
    ],
    LASTING: [r"(?m)^acme/post-1 likes: 12$", r"acme/sandbox-instagram-post-1 likes: "],
    "FORMAT PrettyCompact": [r"post-1 +│ +12 "],
    "clickhouse_connect.get_client": [r"\('post-1', 12\)"],
    "ask /api/v1/posts/post-1/insights": [r'"likes": ?12'],
    "tidemark status": [r"aggregator", r"poller", r"deleted sandbox-instagram-post-2", r"there are no dead letters"],
    "get posts/post-1 ": [r'"missing": ?\["post-2"\]', r'"likes": ?12'],
    "top/posts?metric=engagement_rate": [r'"id": ?"post-1"'],
    "explain?metric=likes": [r'"offset": ?\d+', r'"like_count": ?12'],
    "mode=increments": [r'"followers"'],
    "with Tidemark(": [r"(?m)^post-1 12 None$", r"(?m)^404 not_found None$"],
}  # fmt: skip


def _is_elsewhere(block: Block) -> bool:
    return block.text.startswith(tuple(ELSEWHERE))


class Installation:
    """What the README's second block started, and the folder in which its reader goes on."""

    def __init__(self, up: Tidemark) -> None:
        self.folder = up.folder
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("TIDEMARK_")}
        running = json.loads((up.data / "running.json").read_text(encoding="utf-8"))
        self.settings: dict[str, str] = running["environment"]


@pytest.fixture
def installation(second_tidemark: Tidemark) -> Installation:
    return Installation(second_tidemark)


def test_every_block_is_run_or_named() -> None:
    every = [*README, *API]
    assert {block.language for block in every} <= {"sh", "python"}, "run blocks of another language, too"
    for beginning in ELSEWHERE:
        assert sum(block.text.startswith(beginning) for block in every) == 1, beginning
    for line in PROMISED:
        assert sum(line in block.text for block in every) == 1, line


def _shows(output: str, line: str) -> bool:
    return all(re.search(pattern, output) for pattern in PROMISED[line])


def _check(where: str, block: Block, ran: Ran) -> None:
    assert ran.code == 0, f"{where}: exit code {ran.code}\n{ran.output[-3000:]}"
    for line, shown in PROMISED.items():
        if line in block.text:
            for pattern in shown:
                assert re.search(pattern, ran.output), f"{where}: no {pattern}\n{ran.output[:6000]}"


@pytest.mark.timeout(600)
def test_readme_and_api_page_run_in_one_shell(installation: Installation) -> None:
    unbuffered = {**installation.environment, "PYTHONUNBUFFERED": "1"}
    with (
        Shell(installation.folder, installation.environment) as shell,
        Shell(installation.folder, unbuffered, name="block-beside") as beside,
        ThreadPoolExecutor(1) as pool,
    ):
        lasting: list[tuple[str, Block, Future[Ran]]] = []
        for page, found in (("README.md", README), ("docs/api.md", API)):
            for block in found:
                where = f"{page}, line {block.line}"
                if LASTING in block.text:
                    running = pool.submit(beside.run, block)
                    lasting.append((where, block, running))
                    wait_until(lambda: running.done() or _shows(beside.said(), LASTING), 30, beside.said)  # noqa: B023
                elif not _is_elsewhere(block):
                    _check(where, block, shell.run(block))
        for where, block, running in lasting:
            _check(where, block, running.result())
        assert lasting
    made = {path.name for path in installation.folder.iterdir()}
    of_the_test = {name for name in made if name.startswith("block-")} | {"up.log", ".venv", "outside", "admin-key"}
    assert made - of_the_test == {
        ".tidemark", "ready.json", "sandbox.ndjson", "catalog.ndjson", "exported.ndjson", "snapshots.parquet",
        "posts.parquet",
    }  # fmt: skip
    for name in made - of_the_test:
        path = f"{name}/" if (installation.folder / name).is_dir() else name
        assert subprocess.run(["git", "check-ignore", "--quiet", path], cwd=ROOT, check=False).returncode == 0, path
    assert (installation.folder / "snapshots.parquet").read_bytes()[:4] == b"PAR1"
    assert (installation.folder / "posts.parquet").read_bytes()[:4] == b"PAR1"


@pytest.mark.long
@pytest.mark.timeout(400)
def test_the_deploy_steps_and_the_services_run(installation: Installation) -> None:
    """The blocks for a cluster, with the addresses of the installation in place of the examples'."""
    deploy, services = (block for block in README if block.text.startswith(tuple(ELSEWHERE)[2:]))
    text = deploy.text
    for name in ("TIDEMARK_KAFKA_BOOTSTRAP", "TIDEMARK_SCHEMA_REGISTRY_URL", "TIDEMARK_CLICKHOUSE_URL"):
        text, replaced = re.subn(rf"{name}=\S+", f"{name}='{installation.settings[name]}'", text)
        assert replaced == 1
    with Shell(installation.folder, installation.environment) as shell:
        code, output = shell.run(Block("sh", text, deploy.line))
    assert code == 0, output
    commands = [line.partition("#")[0].strip() for line in services.text.splitlines()]
    assert commands == [f".venv/bin/tidemark {name}" for name in ("aggregator", "query-api", "poller", "notifier")]
    for command in commands:
        _starts_and_stops(installation, command)


def _starts_and_stops(installation: Installation, command: str) -> None:
    metrics, own = _free_port(), _free_port()
    environment = {
        **installation.environment, **installation.settings,
        "TIDEMARK_METRICS_PORT": str(metrics), "TIDEMARK_QUERY_API_PORT": str(own),
    }  # fmt: skip
    log = installation.folder / "block-service.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            ["/bin/sh", "-c", f"exec {command}"], cwd=installation.folder, env=environment, stdout=file, stderr=file
        )
    try:
        wait_until(
            lambda: process.poll() is not None or _answers(f"http://127.0.0.1:{metrics}/healthz"),
            90,
            lambda: f"{command}: {log.read_text(errors='replace')[-2000:]}",
        )
        assert process.poll() is None, log.read_text(errors="replace")[-2000:]
        process.send_signal(signal.SIGTERM)
        # uvicorn passes the signal on once it has ended in order.
        assert process.wait(40) in (0, -signal.SIGTERM), log.read_text(errors="replace")[-2000:]
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).is_success
    except httpx.HTTPError:
        time.sleep(0.1)
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
