"""The disk of everything fills at a random moment under load and is emptied again: nobody touches anything, and every
number is the model's. TIDEMARK_TEST_SEED repeats the moments.
"""

from __future__ import annotations

import os
import random
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.test_model import differences
from tests.support.brute_force import World
from tests.support.full_disk import SmallDisk
from tests.support.tidemark import RawPublisher, Tidemark
from tests.support.waiting import wait_until

SEED = int(os.environ.get("TIDEMARK_TEST_SEED") or secrets.randbelow(10**6))

pytestmark = pytest.mark.timeout(1100)


@pytest.fixture
def disk(second_disk: SmallDisk | None) -> SmallDisk:
    """The file system that holds the whole data folder: Kafka's log, the registry, ClickHouse and the logs."""
    if second_disk is None:
        pytest.skip("a file system of its own can't be mounted here")
    return second_disk


@pytest.fixture
def up(disk: SmallDisk, second_tidemark: Tidemark) -> Iterator[Tidemark]:
    """`tidemark up` on it; the ready-file and its own output are on it too."""
    yield second_tidemark
    disk.empty()


class Load:
    """Random writes and answers for some worlds, taken up where a full disk refuses them.

    Only what was acknowledged is the model's: a write that was refused is sent again until it is taken, as a product
    would, and before anything else of its world.
    """

    def __init__(self, tidemark: Tidemark, name: str, chance: random.Random, worlds: int = 2) -> None:
        now = int(time.time() * 1000) // 1000 * 1000
        self.worlds = [World(f"{name}-{number}", chance.randrange(2**32), now) for number in range(worlds)]
        self._tidemark = tidemark
        self._chance = chance
        self._publisher = RawPublisher(tidemark.ready, message_timeout_seconds=600)
        self._waiting: list[tuple[str, str, dict[str, Any] | None]] = []

    def step(self) -> None:
        """One write or answer of a random world."""
        world = self._chance.choice(self.worlds)
        if self._chance.random() < 0.3:
            kind, thing, body = world.write()
            path = f"/admin/v1/workspaces/{world.workspace_id}/{kind}/{thing}"
            self._waiting.append(("DELETE" if body is None else "PUT", path, body))
        else:
            event = world.answer()
            for _ in range(self._chance.choice((1, 1, 2))):
                self._publisher.publish(event)
        self.write()

    def write(self) -> None:
        """Send what was refused so far, in order, as far as it is taken."""
        while self._waiting:
            method, path, body = self._waiting[0]
            try:
                reply = self._tidemark.admin(method, path, body, seconds=5)
            except (httpx.HTTPError, OSError, ValueError):
                return
            if reply.status_code in (429, 502, 503, 504):
                return
            assert reply.is_success or (body is None and reply.status_code == 404), reply.text
            self._waiting.pop(0)

    def is_taken(self) -> bool:
        """Whether everything is acknowledged."""
        self.write()
        return not self._waiting

    def flush(self) -> None:
        """Wait for the acknowledgement of every answer."""
        self._publisher.flush(600)


def _audit(tidemark: Tidemark) -> subprocess.CompletedProcess[str]:
    ready = tidemark.ready
    return subprocess.run(
        [sys.executable, "-m", "services.cli", "audit", "--grace-seconds", "0.5"],
        env={
            **os.environ,
            "TIDEMARK_KAFKA_BOOTSTRAP": ready["kafka"],
            "TIDEMARK_SCHEMA_REGISTRY_URL": ready["schema_registry"],
            "TIDEMARK_CLICKHOUSE_URL": ready["clickhouse"],
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def _fill_and_empty(up: Tidemark, disk: SmallDisk, chance: random.Random, full_seconds: float) -> None:
    load = Load(up, f"disk-{SEED}-{secrets.token_hex(2)}", chance)
    before = chance.uniform(1, 6)
    began = time.monotonic()
    while time.monotonic() - began < before:
        load.step()
    filled = time.monotonic()
    while time.monotonic() - filled < full_seconds:
        disk.fill(chance.choice((0, 0, 4096, 1 << 20)))
        load.step()
    disk.empty()
    for _ in range(30):
        load.step()
    wait_until(load.is_taken, 60, lambda: f"every write is taken: {up.log()}")
    load.flush()

    def seen() -> list[str]:
        try:
            return [f"{world.workspace_id}: {said}" for world in load.worlds for said in differences(up, world)]
        except Exception as error:  # whatever is not back yet
            return [repr(error)]

    wait_until(
        lambda: not seen(),
        60,
        lambda: f"seed {SEED}: {seen()[:3]}; {up.log()}; {up.log('aggregator')}; {up.log('kafka')}",
    )
    audited = _audit(up)
    assert audited.returncode == 0, f"seed {SEED}: {audited.stdout}{audited.stderr}"


def test_a_disk_that_fills_once_costs_no_number(up: Tidemark, disk: SmallDisk) -> None:
    _fill_and_empty(up, disk, random.Random(SEED), 6)
    said = (up.folder / "up.log").read_text(errors="replace")
    assert "has space again" in said, said


@pytest.mark.long
@pytest.mark.parametrize("number", range(5))
def test_a_disk_that_fills_again_and_again_costs_no_number(up: Tidemark, disk: SmallDisk, number: int) -> None:
    chance = random.Random(SEED + number)
    _fill_and_empty(up, disk, chance, chance.uniform(15, 75))
    assert Path(up.folder / "ready.json").exists()
