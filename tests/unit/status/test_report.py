"""What two looks at a service come to, and how it is drawn."""

from __future__ import annotations

import io

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from rich.console import Console

from services.status.probe import Answer, PartitionLag, ServiceState, TableSize
from services.status.report import full_report, is_healthy, service_report
from services.status.samples import parse
from services.status.screen import draw


def page(events: int, hits: int = 90) -> ServiceState:
    registry = CollectorRegistry()
    Counter("tidemark_raw_events_total", "Some.", ["platform"], registry=registry).labels("x").inc(events)
    Counter("tidemark_dead_letters_total", "Some.", ["reason"], registry=registry).labels("bad_id").inc(2)
    Counter("tidemark_state_hits_total", "Some.", ["kind"], registry=registry).labels("posts").inc(hits)
    Counter("tidemark_state_misses_total", "Some.", ["kind"], registry=registry).labels("posts").inc(10)
    Gauge("process_resident_memory_bytes", "Some.", registry=registry).set(1 << 20)
    latency = Histogram("tidemark_event_latency_seconds", "Some.", buckets=(1, 2), registry=registry)
    for _ in range(events):
        latency.observe(1.5)
    return ServiceState("ready", parse(generate_latest(registry).decode()))


def test_rates_latency_letters_cache_and_memory() -> None:
    report = service_report(page(10), page(30), 2.0)
    assert report == {
        "readiness": "ready",
        "memory_bytes": 1 << 20,
        "events_per_second": 10.0,
        "event_latency_seconds": {"p50": 2, "p99": 2},
        "dead_letters": {"bad_id": 2},
        "cache_hit_ratio": 0.9,
    }


def test_a_service_without_an_answer_says_why() -> None:
    silent = ServiceState("no answer at http://a:1 (ConnectError)")
    assert service_report(page(1), silent, 2.0) == {"readiness": "no answer at http://a:1 (ConnectError)"}
    assert "events_per_second" not in service_report(silent, page(1), 2.0)


def test_a_restart_in_between_is_no_negative_rate() -> None:
    assert service_report(page(10), page(2), 1.0)["events_per_second"] == 0


def test_health_is_everything_at_once() -> None:
    services = {"aggregator": service_report(None, page(1), 1.0)}
    well = full_report(services, Answer(), Answer(), {})
    assert is_healthy(well)
    assert not is_healthy(full_report(services, Answer(problem="away"), Answer(), {}))
    assert not is_healthy(full_report({"poller": {"readiness": "starting"}}, Answer(), Answer(), {}))


def test_the_screen_shows_what_there_is() -> None:
    lags = [PartitionLag("platform.raw", 0, None, 7), PartitionLag("platform.raw", 1, 5, 5)]
    report = full_report(
        {"aggregator": service_report(page(10), page(30), 2.0), "poller": {"readiness": "no answer"}},
        Answer(lags=lags),
        Answer(tables=[TableSize("posts_store", 1234, 3, 5 << 20)], memory_bytes=7 << 20),
        {"kafka": 300 << 20, "aggregator": 1},
    )
    out = io.StringIO()
    draw(report, Console(file=out, width=160))
    shown = out.getvalue()
    for part in (
        "10 events", "p99 <= 2 s", "cache hits 90.0%", "no answer", "0: 7  1: 0", "bad_id 2", "posts_store", "1,234",
        "5.0 MB", "kafka", "300.0 MB",
    ):  # fmt: skip
        assert part in shown, part


def test_the_screen_says_what_is_not_known() -> None:
    report = full_report({}, Answer(problem="TIDEMARK_KAFKA_BOOTSTRAP is not set"), Answer(problem="no [address]"), {})
    out = io.StringIO()
    draw(report, Console(file=out, width=160))
    for part in ("no addresses known", "TIDEMARK_KAFKA_BOOTSTRAP is not set", "no [address]"):
        assert part in out.getvalue()
