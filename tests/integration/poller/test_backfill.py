"""`tidemark poller backfill` against a running poller and the sandbox: killed in the middle, it goes on."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.events import BackfillJob, Origin, PlatformRaw
from schemas.topic_names import BACKFILLS, RAW
from services.poller.reader import TopicReader
from services.poller.requests.backfill import CONCURRENCY
from services.runtime.brokers import Record
from services.runtime.clock import MILLIS_PER_DAY
from services.runtime.secrets import TokenPair
from tests.support.engines import EmbeddedEngines
from tests.support.pollers import Pollers
from tests.support.waiting import wait_until

WORKSPACE = "w1"
POSTS = 1_500
BATCH = 25


@pytest.fixture
def pollers(embedded_engines: EmbeddedEngines, topic_prefix: str, tmp_path: Path) -> Iterator[Pollers]:
    made = Pollers(embedded_engines, topic_prefix, tmp_path, {})
    yield made
    made.close()


def command(pollers: Pollers, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "services.cli", "poller", "backfill", "--workspace", WORKSPACE, *options],
        env={**os.environ, **pollers.environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def run(pollers: Pollers, *options: str) -> tuple[int, str, str]:
    process = command(pollers, *options)
    try:
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    return process.returncode, out, err


def read(pollers: Pollers, topic: str) -> list[object]:
    """Every value of a topic."""
    found: list[object] = []
    codec = pollers.registry.codec(topic)

    def fold(_: str, record: Record) -> None:
        found.append(codec.decode(record.value or b""))

    async def reading() -> None:
        reader = TopicReader(pollers.settings)
        await reader.partition_count([topic])
        await reader.replay(topic, fold)

    asyncio.run(reading())
    return found


def test_a_backfill_that_is_killed_goes_on_where_it_stopped(pollers: Pollers) -> None:
    pollers.put_channel(WORKSPACE, "b", "bluesky", TokenPair("sandbox-token"))
    pollers.put_channel(WORKSPACE, "y", "youtube", TokenPair("sandbox-token"))
    # Too old for any scheduled poll; the last one is older than what is asked for.
    old = {
        pollers.put_post(WORKSPACE, f"p{number}", "b", "bluesky", number, 200 * MILLIS_PER_DAY)
        for number in range(POSTS)
    }
    too_old = pollers.put_post(WORKSPACE, "older", "b", "bluesky", POSTS, 400 * MILLIS_PER_DAY)
    pollers.flush()
    pollers.start("first")
    pollers.wait_until_ready("first", 4)

    first = command(pollers, "--since", "300d")
    wait_until(lambda: len(old & set(pollers.served("bluesky"))) > 2 * BATCH, 30, "the backfill is under way")
    first.kill()
    first.communicate()
    before = old & set(pollers.served("bluesky"))
    assert before < old, "killed in the middle"

    code, out, err = run(pollers, "--since", "250d")
    # On a busy machine it says meanwhile how far it is.
    others = [line for line in err.splitlines() if not line.startswith("backfill: ")]
    assert (code, others) == (0, []), (out, err, pollers.log("first"))
    assert "went on with the backfill begun at" in out
    assert f"{POSTS} targets answered, 0 without figures" in out
    served = pollers.served("bluesky")
    assert old <= set(served)
    assert too_old not in served
    # What was under way at the kill may be asked again, and nothing else.
    assert sum(len(served[name]) - 1 for name in old) <= CONCURRENCY * BATCH

    events = [event for event in read(pollers, RAW) if isinstance(event, PlatformRaw)]
    assert {e.origin for e in events if e.channel_id == "b" and e.targets} == {Origin.BACKFILL}
    days: Counter[str] = Counter(
        e.request["startDate"] for e in events if e.origin == Origin.BACKFILL and e.endpoint == "/v2/reports"
    )
    # 33 days an ask, one of them shared with the next: ten of them reach back 300 days; none was asked for twice.
    assert len(days) == 10
    assert max(days.values()) <= 2

    jobs = [job for job in read(pollers, BACKFILLS) if isinstance(job, BackfillJob)]
    assert len({job.started_at for job in jobs}) == 1
    assert [job.finished_at is None for job in jobs] == [True, True, False]

    # It has ended, so the next one begins anew, here for nothing but the channel as it is now.
    code, out, _ = run(pollers, "--since", "1h", "--channel", "b")
    assert code == 0
    assert "went on" not in out
    assert "0 targets answered" in out


def test_what_can_not_be_meant_is_said(pollers: Pollers) -> None:
    code, _, err = run(pollers, "--since", "1d")
    assert (code, "there is no channel in workspace 'w1'" in err) == (1, True), err
    pollers.put_channel(WORKSPACE, "b", "bluesky", TokenPair("sandbox-token"))
    pollers.flush()
    code, _, err = run(pollers, "--since", "1d", "--channel", "c")
    assert (code, "there is no channel 'c'" in err) == (1, True), err
