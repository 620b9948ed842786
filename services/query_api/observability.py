"""The query API's own metrics, and their text: for this process, or summed over all workers of the origin."""

from __future__ import annotations

import os
from pathlib import Path
from weakref import WeakSet

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

_LOOKUP_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

REQUESTS = Counter(
    "tidemark_query_api_requests_total", "Requests answered, by endpoint and status.", ["product", "endpoint", "status"]
)
REQUEST_SECONDS = Histogram(
    "tidemark_query_api_request_seconds",
    "Time from a request's arrival to its reply, in seconds.",
    ["product", "endpoint"],
    buckets=_LOOKUP_BUCKETS,
)
QUERY_SECONDS = Histogram(
    "tidemark_query_api_query_seconds", "Time of one ClickHouse query, in seconds.", ["query"], buckets=_LOOKUP_BUCKETS
)
QUERY_KEYS = Histogram(
    "tidemark_query_api_query_keys",
    "Keys that one ClickHouse query asked for.",
    ["query"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
)
CATALOG_EVENTS = Counter("tidemark_query_api_catalog_events_total", "Catalog events written.", ["topic"])
REFUSED = Counter(
    "tidemark_query_api_refused_records_total",
    "Records of topics that do not count, by topic and reason: key and value differ, another workspace's partition, "
    "or unreadable.",
    ["topic", "reason"],
)
FEED_LAG = Gauge(
    "tidemark_query_api_feed_lag_events",
    "Catalog events not read yet, over all topics held in memory; of several workers, the one that is furthest behind.",
    multiprocess_mode="livemax",
)
LIVE = Counter(
    "tidemark_query_api_live_requests_total",
    "Requests to the poller, by what came of them: done, the deadline first, no poller, or too many at once (busy).",
    ["kind", "outcome"],
)
CACHE = Counter(
    "tidemark_query_api_cache_total",
    "Reads that may be kept, by what the cache held: a current answer (hit), none (miss), and after a miss an old one "
    "shown because ClickHouse did not answer (stale).",
    ["product", "endpoint", "outcome"],
)
CACHE_BYTES = Gauge("tidemark_query_api_cache_bytes", "Kept answers, roughly.", multiprocess_mode="livesum")
DROPS = Counter("tidemark_query_api_cache_drops_total", "Changes that the caches were told of, by topic.", ["topic"])

STREAMS = Gauge("tidemark_query_api_streams", "Streams of changes that are read now.", multiprocess_mode="livesum")
STORE = Counter(
    "tidemark_query_api_store_reads_total",
    "Look-ups of posts, targets and windows, by who answered: the API's own store, ClickHouse where the store could "
    "not, or the store though it may be old (old). late counts what only ClickHouse tells, where something read up to "
    "4 s before was shown, as the newest took too long.",
    ["source"],
)

# Durations of an endpoint that wait to be added: few enough that adding them delays nobody.
_MOST_WAITING = 256


class Tally:
    """What an endpoint answered, in plain numbers until it is added to the metrics.

    To add each reply by itself takes a tenth of a kept read. `tell_tallies` adds them each second, and before this
    process shows its metrics; it runs in the event loop, where replies are counted.
    """

    __slots__ = ("__weakref__", "_labels", "_seconds", "_statuses", "hits", "misses", "stale")

    def __init__(self, api: str, path: str) -> None:
        self._labels = (api, path)
        self._statuses: dict[int, int] = {}
        self._seconds: list[float] = []
        self.hits = self.misses = self.stale = 0
        _tallies.add(self)

    def declare(self, status: int) -> None:
        """Let a status, and whatever else the endpoint counts, be told as 0 from the beginning."""
        REQUESTS.labels(*self._labels, str(status))
        REQUEST_SECONDS.labels(*self._labels)
        for outcome in ("hit", "miss", "stale"):
            CACHE.labels(*self._labels, outcome)

    def count(self, status: int) -> None:
        """Count a reply."""
        self._statuses[status] = self._statuses.get(status, 0) + 1

    def time(self, seconds: float) -> None:
        """Count how long a reply took."""
        self._seconds.append(seconds)
        if len(self._seconds) >= _MOST_WAITING:
            self._tell_seconds()

    def tell(self) -> None:
        """Add to the metrics what was counted since the last call."""
        for outcome, count in (("hit", self.hits), ("miss", self.misses), ("stale", self.stale)):
            if count:
                CACHE.labels(*self._labels, outcome).inc(count)
        self.hits = self.misses = self.stale = 0
        statuses, self._statuses = self._statuses, {}
        for status, count in statuses.items():
            REQUESTS.labels(*self._labels, str(status)).inc(count)
        if self._seconds:
            self._tell_seconds()

    def _tell_seconds(self) -> None:
        taken, self._seconds = self._seconds, []
        observe = REQUEST_SECONDS.labels(*self._labels).observe
        for seconds in taken:
            observe(seconds)


_tallies: WeakSet[Tally] = WeakSet()


def tell_tallies() -> None:
    """Add to the metrics what endpoints counted since the last call."""
    for tally in list(_tallies):
        tally.tell()


SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Variable that names the folder where workers keep their metrics; set before a worker is started."""


def exposition() -> bytes:
    """The metrics in Prometheus' text format."""
    if SHARED_FOLDER not in os.environ:
        return generate_latest()
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # the library has no types there
    return generate_latest(registry)


def forget_dead_workers() -> None:
    """Remove the gauges of ended workers from the sums; their counters stay."""
    for file in Path(os.environ[SHARED_FOLDER]).glob("gauge_live*_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            mark_process_dead(pid)  # type: ignore[no-untyped-call]  # as above
