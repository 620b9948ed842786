"""The contestant on Quix Streams: the same events and mapping, rows in batches into ClickHouse.

Quix Streams 3.28 comes without a sink for ClickHouse, so this one is its own `BatchingSink` with the insert that its
users would write. It keeps no states and publishes nothing. It is installed for the benchmark alone, beside the
project's own packages. Run as a program it prints one JSON line.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

import clickhouse_connect

from benchmarks.floor import snapshot_rows
from schemas.codec import codec, schema_text
from services.aggregator.rows import POST_SNAPSHOTS
from services.runtime.settings import ClickHouseSettings, KafkaSettings

VERSION = "3.28.1"
_FOLDER = "TIDEMARK_BENCH_QUIX"
"""Variable that names the folder where the package is; the project's own packages come first."""


class _Settings(KafkaSettings, ClickHouseSettings):
    pass


def main(arguments: Sequence[str]) -> None:
    """`quix_streams SECONDS EVENTS`: stops at whichever comes first."""
    seconds, events = float(arguments[0]), int(arguments[1])
    sys.path.append(os.environ[_FOLDER])
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    from quixstreams import Application
    from quixstreams.sinks.base import BatchingSink, SinkBatch

    settings = _Settings.load()
    raw = codec("platform.raw", schema_id=1, fetch_schema=lambda _: schema_text("platform.raw"))
    client = clickhouse_connect.get_client(
        **settings.clickhouse_connection(),
        database=settings.clickhouse_database,
        autogenerate_session_id=False,
        compress=False,
    )
    name, columns = POST_SNAPSHOTS
    types = list(client.create_insert_context(name, list(columns)).column_types)
    counted = {"snapshots": 0, "started": 0.0, "used": 0.0, "ended": 0.0}

    class Rows(BatchingSink):  # type: ignore[misc]
        def write(self, batch: SinkBatch) -> None:
            rows = [row for item in batch for row in item.value]
            client.insert(
                name,
                list(zip(*rows, strict=True)),
                column_names=list(columns),
                column_types=types,
                column_oriented=True,
            )
            counted["snapshots"] += len(rows)
            counted["ended"] = time.monotonic()

    def rows_of(value: bytes) -> list[tuple[Any, ...]]:
        if not counted["started"]:
            counted["started"], counted["used"] = time.monotonic(), time.process_time()
        return snapshot_rows(raw.decode(value))

    app = Application(
        broker_address=settings.kafka_bootstrap,
        consumer_group=f"{settings.topic_prefix}quix-{os.getpid()}",
        auto_offset_reset="earliest",
        commit_interval=1.0,
        loglevel="WARNING",
        consumer_extra_config={"fetch.message.max.bytes": 8 * 1024 * 1024},
    )
    topic = app.topic(settings.topic("platform.raw"), value_deserializer="bytes", key_deserializer="bytes")
    app.dataframe(topic).apply(rows_of).sink(Rows())
    app.run(count=events, timeout=seconds)
    if not counted["snapshots"]:
        sys.exit("Quix Streams stored nothing")
    took = counted["ended"] - counted["started"]
    found = {
        "snapshots": counted["snapshots"],
        "seconds": took,
        "snapshots_per_second": counted["snapshots"] / took,
        "cpu_microseconds_per_snapshot": (time.process_time() - counted["used"]) / counted["snapshots"] * 1e6,
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
