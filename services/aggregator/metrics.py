"""The aggregator's metrics for operators: the name, type and explanation of each stand here once."""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Iterable
from typing import Any
from weakref import WeakKeyDictionary

from prometheus_client import Counter, Gauge, Histogram

from services.aggregator.batch import Batch, Effects
from services.aggregator.state import BoundedCache, PartitionState
from services.platforms import all_platforms

EVENTS = Counter("tidemark_raw_events_total", "Raw events folded.", ["platform"])
DEAD_LETTERS = Counter("tidemark_dead_letters_total", "Messages sent to the dead letters.", ["reason"])
PAUSED = Gauge("tidemark_paused", "1 while the dead-letter limit holds this worker back, else 0.")
SET_ASIDE = Counter(
    "tidemark_refused_total", "Rows and messages set aside: ClickHouse or Kafka will never accept them.", ["what"]
)
SKIPPED_WRITES = Counter("tidemark_catalog_writes_skipped_total", "Catalog writes that could not be folded.")
MISPLACED = Counter("tidemark_misplaced_events_total", "Raw events found in another tenant's partition and moved.")
ROWS = Counter("tidemark_rows_inserted_total", "Rows confirmed by ClickHouse.", ["table"])
CATALOG_WRITES = Counter("tidemark_catalog_writes_total", "Catalog writes folded.")
REFUSED = Counter(
    "tidemark_refused_records_total",
    "Catalog messages that do not count: key and value differ, the partition is another workspace's, or unreadable.",
    ["topic", "reason"],
)
ROLLUPS = Counter("tidemark_rollups_published_total", "Rollups published.", ["topic"])
KAFKA_RETRIES = Counter("tidemark_kafka_retries_total", "Kafka calls that failed and were tried again.")
CLICKHOUSE_RETRIES = Counter("tidemark_clickhouse_retries_total", "ClickHouse calls that failed and were tried again.")
BATCH_SECONDS = Histogram(
    "tidemark_batch_seconds",
    "Seconds from the start of a batch until its offsets may be committed.",
    buckets=(0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60),
)
LATENCY_SECONDS = Histogram(
    "tidemark_event_latency_seconds",
    "Seconds from the broker's append of a raw event until its numbers are readable and published.",
    buckets=(0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300),
)
LAG = Gauge("tidemark_lag_events", "Raw events in the topic whose offsets are not committed yet.", ["partition"])
OWNED = Gauge("tidemark_owned_partitions", "Partitions this worker owns.")
CACHED = Gauge("tidemark_cached_states", "States held in memory.", ["kind"])
STATE_HITS = Counter("tidemark_state_hits_total", "States that a batch needed and memory held.", ["kind"])
STATE_MISSES = Counter("tidemark_state_misses_total", "States that had to be read back from ClickHouse.", ["kind"])
_counted: WeakKeyDictionary[BoundedCache[Any], tuple[int, int]] = WeakKeyDictionary()


def observe_batch(batch: Batch, effects: Effects, seconds: float, now: int) -> None:
    """Count one finished batch.

    Args:
        seconds: the time from the batch's start until all of its messages were published.
        now: when the batch was finished, ms.
    """
    platforms = all_platforms()
    for read in batch.raw:
        # Anybody may invent a platform's name, and each name would remain as a series of its own.
        EVENTS.labels(read.event.platform if read.event.platform in platforms else "other").inc()
        LATENCY_SECONDS.observe(max(0, now - read.message.timestamp) / 1000)
    for dead in batch.dead:
        DEAD_LETTERS.labels(dead.reason).inc()
    for (table, _), rows in effects.inserts.items():
        ROWS.labels(table).inc(len(rows))
    for topic, published in Counts(topic for topic, _, _ in effects.rollups).items():
        ROLLUPS.labels(topic).inc(published)
    MISPLACED.inc(len(batch.misplaced))
    CATALOG_WRITES.inc(len(batch.catalog))
    if batch.raw or batch.catalog:
        BATCH_SECONDS.observe(seconds)


def note_kafka_retry() -> None:
    """Count one Kafka call that failed and will be tried again."""
    KAFKA_RETRIES.inc()


def observe_states(states: Iterable[PartitionState]) -> None:
    """Publish the sizes of the state caches of all owned partitions, and their hits and misses since the last call."""
    held: Counts[str] = Counts()
    for state in states:
        for kind in ("targets", "posts", "channels"):
            cache: BoundedCache[Any] = getattr(state, kind)
            held[kind] += len(cache)
            hits, misses = _counted.get(cache, (0, 0))
            STATE_HITS.labels(kind).inc(cache.hits - hits)
            STATE_MISSES.labels(kind).inc(cache.misses - misses)
            _counted[cache] = (cache.hits, cache.misses)
    for kind in ("targets", "posts", "channels"):
        CACHED.labels(kind).set(held[kind])
