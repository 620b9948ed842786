"""Makes one report from the answers of two moments. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.status.platforms import platform_reports, refused_shapes
from services.status.probe import Answer, ServiceState
from services.status.samples import Samples

_RATES = {
    "events": "tidemark_raw_events_total",
    "rows": "tidemark_rows_inserted_total",
    "rollups": "tidemark_rollups_published_total",
    "requests": "tidemark_query_api_requests_total",
    "calls": "tidemark_poller_calls_total",
}
# The name of each latency in the report, by its histogram.
_LATENCIES = {
    "event_latency_seconds": "tidemark_event_latency_seconds",
    "batch_seconds": "tidemark_batch_seconds",
    "request_seconds": "tidemark_query_api_request_seconds",
    "late_seconds": "tidemark_poller_late_seconds",
}
_FULL_BYTES = 64 << 20
Report = dict[str, Any]


def service_report(before: ServiceState | None, now: ServiceState, seconds: float) -> Report:
    """Report one service: readiness, rates over the interval, latencies, memory.

    Args:
        before: the same service an interval earlier.
        seconds: length of the interval.
    """
    report: Report = {"readiness": now.readiness}
    samples = now.samples
    if samples is None:
        return report
    earlier = before.samples if before is not None else None
    report["memory_bytes"] = _whole(samples.total("process_resident_memory_bytes"))
    for name, metric in _RATES.items():
        rate = _rate(earlier, samples, metric, seconds)
        if rate is not None:
            report[f"{name}_per_second"] = rate
    for name, metric in _LATENCIES.items():
        quantiles = {f"p{percent}": samples.quantile(metric, percent / 100, earlier) for percent in (50, 99)}
        if quantiles["p50"] is not None:
            report[name] = quantiles
    platforms = platform_reports(earlier, samples, seconds)
    if platforms:
        report["platforms"] = platforms
    refused = refused_shapes(samples)
    if refused:
        report["refused_shapes"] = refused
    letters = samples.by("tidemark_dead_letters_total", "reason")
    if letters:
        report["dead_letters"] = {reason: int(count) for reason, count in sorted(letters.items())}
    hits, misses = samples.total("tidemark_state_hits_total"), samples.total("tidemark_state_misses_total")
    if hits is not None and misses is not None and hits + misses > 0:
        report["cache_hit_ratio"] = round(hits / (hits + misses), 4)
    return report


def _rate(before: Samples | None, now: Samples, metric: str, seconds: float) -> float | None:
    first = before.total(metric) if before is not None else None
    last = now.total(metric)
    if first is None or last is None or seconds <= 0:
        return None
    return round(max(0.0, last - first) / seconds, 1)  # after a restart in between, counts begin at 0 again


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def full_report(services: Mapping[str, Report], kafka: Answer, clickhouse: Answer, memory: Mapping[str, int]) -> Report:
    """The whole report, as `--json` prints it."""
    return {
        "services": dict(services),
        "kafka": {
            "problem": kafka.problem,
            "owners": kafka.owners,
            "lag": [
                {
                    "topic": lag.topic,
                    "partition": lag.partition,
                    "committed": lag.committed,
                    "end": lag.end,
                    "lag": lag.lag,
                    "waits_seconds": None if lag.waits_seconds is None else round(lag.waits_seconds, 1),
                }
                for lag in kafka.lags
            ],
        },
        "clickhouse": {
            "problem": clickhouse.problem,
            "memory_bytes": clickhouse.memory_bytes,
            "free_bytes": clickhouse.free_bytes,
            "tables": [
                {"name": table.name, "rows": table.rows, "parts": table.parts, "disk_bytes": table.disk_bytes}
                for table in clickhouse.tables
            ],
        },
        "memory_bytes": dict(memory),
    }


def is_disk_full(report: Report) -> bool:
    """Whether ClickHouse's disk is so full that it soon can't write."""
    free = report["clickhouse"].get("free_bytes")
    return free is not None and free < _FULL_BYTES


def is_healthy(report: Report) -> bool:
    """Whether both engines answered, ClickHouse's disk has space, and every service is ready."""
    engines_answer = report["kafka"]["problem"] is None and report["clickhouse"]["problem"] is None
    return (
        engines_answer
        and not is_disk_full(report)
        and all(service["readiness"] == "ready" for service in report["services"].values())
    )
