"""The plain contestant: a Faust agent that takes events one by one and keeps the latest figures in a Table.

The same events, partitions and mapping. It runs as its users write it: the Table has its changelog, offsets are
committed by Faust. With `insert` it also puts each event's rows into ClickHouse, which is what makes them readable.
Run as a program it prints one JSON line.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import clickhouse_connect
import faust

from benchmarks.floor import snapshot_rows
from schemas.codec import codec, schema_text
from schemas.metrics import POST_NAMES
from services.aggregator.reading import map_event
from services.aggregator.rows import POST_SNAPSHOTS
from services.runtime.settings import ClickHouseSettings, KafkaSettings
from tests.support.backend import PARTITIONS

START_SECONDS = 45.0
"""Until the first event: the group, the changelog topic and its recovery; not measured."""


class _Settings(KafkaSettings, ClickHouseSettings):
    pass


class _Counted:
    """What was done since the first event."""

    def __init__(self) -> None:
        self.started = 0.0
        self.ended = 0.0
        self.snapshots = 0
        self.used = 0.0


def main(arguments: Sequence[str]) -> None:
    """`plain_faust SECONDS SNAPSHOTS table|insert`: stops at whichever of the first two comes first."""
    seconds, snapshots, with_insert = float(arguments[0]), int(arguments[1]), arguments[2] == "insert"
    # Shown when it fails: what Faust says of its own trouble.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="tidemark-plain-", ignore_cleanup_errors=True) as folder:
        counted = asyncio.run(_run(seconds, snapshots, with_insert, folder))
    if not counted.snapshots:
        sys.stderr.write("the plain agent saw no event\n")
        sys.stderr.flush()
        os._exit(1)
    took = counted.ended - counted.started
    found = {
        "snapshots": counted.snapshots,
        "seconds": took,
        "snapshots_per_second": counted.snapshots / took,
        "cpu_microseconds_per_snapshot": counted.used / counted.snapshots * 1e6,
    }
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()
    # Faust leaves threads behind that would hold the process for their time-outs.
    os._exit(0)


async def _run(seconds: float, snapshots: int, with_insert: bool, folder: str) -> _Counted:
    settings = _Settings.load()
    counted, done = _Counted(), asyncio.Event()
    kind = "insert" if with_insert else "table"
    app = faust.App(
        # A group and a changelog of this run's own: one that failed to start leaves nothing to recover from.
        f"{settings.topic_prefix}plain-{kind}-{os.getpid()}",
        broker=[f"kafka://{address}" for address in settings.kafka_bootstrap.split(",")],
        store="memory://",
        datadir=folder,
        web_enabled=False,
        topic_disable_leader=True,
        topic_partitions=PARTITIONS,
        topic_replication_factor=1,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=8 * 1024 * 1024,
    )
    table = app.Table(f"latest-{kind}", default=dict, partitions=PARTITIONS)
    topic = app.topic(settings.topic("platform.raw"), key_serializer="raw", value_serializer="raw")
    raw = codec("platform.raw", schema_id=1, fetch_schema=lambda _: schema_text("platform.raw"))
    client = (
        clickhouse_connect.get_client(
            **settings.clickhouse_connection(),
            database=settings.clickhouse_database,
            autogenerate_session_id=False,
            compress=False,
        )
        if with_insert
        else None
    )
    name, columns = POST_SNAPSHOTS
    types = list(client.create_insert_context(name, list(columns)).column_types) if client else []

    @app.agent(topic)
    async def latest(stream: Any) -> None:
        async for value in stream:
            if not counted.started:
                counted.started, counted.used = time.monotonic(), -time.process_time()
            event = raw.decode(value)
            for said in map_event(event).posts:
                place = f"{event.workspace_id}/{event.targets[said.position].target_id}"
                held = table[place]
                if (event.captured_at, event.event_id) > (held.get("captured_at", 0), held.get("event_id", "")):
                    table[place] = {
                        "captured_at": event.captured_at,
                        "event_id": event.event_id,
                        **dict(zip(POST_NAMES, said.values, strict=True)),
                    }
                counted.snapshots += 1
            if client is not None:
                await asyncio.to_thread(_insert, client, name, snapshot_rows(event), columns, types)
            if counted.snapshots >= snapshots or time.monotonic() - counted.started >= seconds:
                done.set()
                return

    try:
        async with asyncio.timeout(START_SECONDS):
            # Returns once everything is started, the agent included.
            await app.start()
        async with asyncio.timeout(START_SECONDS + seconds):
            await done.wait()
    except TimeoutError:
        pass  # what was done by then is told
    counted.ended = time.monotonic()
    counted.used += time.process_time()
    return counted


def _insert(
    client: Any, name: str, rows: Sequence[tuple[Any, ...]], columns: Sequence[str], types: Sequence[Any]
) -> None:
    client.insert(
        name,
        list(zip(*rows, strict=True)),
        column_names=list(columns),
        column_types=list(types),
        column_oriented=True,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
