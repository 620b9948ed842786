"""Names of the query API's own metrics."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

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
FEED_LAG = Gauge("tidemark_query_api_feed_lag_events", "Catalog events not read yet, over all topics held in memory.")
LIVE = Counter(
    "tidemark_query_api_live_requests_total",
    "Requests to the poller, by what came of them: done, the deadline first, or no poller.",
    ["kind", "outcome"],
)
CACHE = Counter(
    "tidemark_query_api_cache_total",
    "Reads that may be kept, by what the cache held: a current answer (hit), none (miss), and after a miss an old one "
    "shown because ClickHouse did not answer (stale).",
    ["product", "endpoint", "outcome"],
)
CACHE_BYTES = Gauge("tidemark_query_api_cache_bytes", "Kept answers, roughly.")
DROPS = Counter("tidemark_query_api_cache_drops_total", "Changes that the caches were told of, by topic.", ["topic"])
