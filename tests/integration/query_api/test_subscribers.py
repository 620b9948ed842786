"""The programs of docs/subscribers.md, as they stand there: each tells what exists, and then what changes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.query_api.rollups import Topics
from tests.integration.query_api.rows import Store
from tests.integration.query_api.running import Workers
from tests.integration.query_api.test_changes import Reader
from tests.support.documents import Block, blocks
from tests.support.foreign import need, with_caches
from tests.support.waiting import wait_until

DOCUMENT = Path(__file__).parents[3] / "docs" / "subscribers.md"
PROGRAMS = [
    # Go compiles its library first, which takes minutes on a busy machine.
    pytest.param(block, id=f"{block.language}-{block.line}", marks=[pytest.mark.long] if block.language == "go" else [])
    for block in blocks(DOCUMENT.read_text(encoding="utf-8"))
    if block.language != "json"
]
SECONDS = 90


@pytest.fixture(scope="module")
def reader(store_workers: Workers, topics: Topics, tables: Store) -> Reader:
    """A workspace with a channel and a post, of a service with a store."""
    made = Reader(store_workers, topics, tables, "subscribers")
    made.put_channel()
    made.put_post(likes=1)
    # One of the programs reads a single page.
    wait_until(lambda: "p1" in {change["id"] for change in made.page()["changes"]}, SECONDS, lambda: "p1 is told")
    return made


def command(block: Block, folder: Path) -> list[str]:
    """How a program is run; Go is compiled first."""
    if block.language == "sh":
        need("curl")
        return ["sh", "-c", block.text]
    if block.language == "python":
        (folder / "program.py").write_text(block.text)
        return [sys.executable, "program.py"]
    if block.language == "js":
        need("node")
        (folder / "program.js").write_text(block.text)
        return ["node", "program.js"]
    need("go")
    assert block.language == "go", block
    (folder / "program.go").write_text(block.text)
    subprocess.run(
        ["go", "build", "-o", "program", "program.go"], cwd=folder, env=with_caches(folder / "caches"), check=True
    )
    return ["./program"]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("block", PROGRAMS)
def test_a_program_runs_as_it_stands(reader: Reader, block: Block, tmp_path: Path) -> None:
    output = tmp_path / "output"
    environment = {
        **os.environ, "API": reader.origin.rstrip("/"), "KEY": reader.headers["x-api-key"], "PYTHONPATH": os.getcwd()
    }  # fmt: skip
    argv = command(block, tmp_path)
    with output.open("wb") as file:
        process = subprocess.Popen(
            argv, cwd=tmp_path, env=environment, stdout=file, stderr=file, start_new_session=True
        )
    try:
        wait_until(lambda: "p1" in output.read_text(), SECONDS, output.read_text)
        if block.language == "sh" and "/stream" not in block.text:
            # One page, and that is all.
            assert process.wait(SECONDS) == 0
        else:
            # It goes on: what changes now is told as well, once.
            post_id = f"p-{block.language}-{block.line}"
            reader.put_post(post_id, likes=2)
            wait_until(lambda: post_id in output.read_text(), SECONDS, output.read_text)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)
    assert "rror" not in output.read_text()
