"""What two looks at a service come to, and how it is drawn."""

from __future__ import annotations

import io

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from rich.console import Console

from services.status.platforms import merged
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


def poller_page(calls: int, stale: int = 3, platform: str = "x") -> ServiceState:
    registry = CollectorRegistry()
    made = Counter("tidemark_poller_calls", "Some.", ["platform", "kind", "outcome"], registry=registry)
    made.labels(platform, "POST_METRICS", "ok").inc(calls)
    made.labels(platform, "IDENTITY", "ok").inc(1)
    made.labels(platform, "POST_METRICS", "rate_limited").inc(2)
    for name, value in (("targets", 100), ("targets_due", 9), ("targets_overdue", 4), ("targets_stale", stale),
                        ("rounds_in_flight", 2), ("tokens_waiting", 1), ("freshness_ratio", 1.5)):  # fmt: skip
        gauge = Gauge(f"tidemark_poller_{name}", "Some.", ["platform"], registry=registry)
        gauge.labels(platform).set(value)
        gauge.labels("idle").set(0)
    for name, value in (("budget_left_calls", 70), ("budget_closed_seconds", 12.5)):
        gauge = Gauge(f"tidemark_poller_{name}", "Some.", ["platform", "group"], registry=registry)
        gauge.labels(platform, "tweets").set(value)
    return ServiceState("ready", parse(generate_latest(registry).decode()))


def test_each_platform_of_a_poller() -> None:
    report = service_report(poller_page(10), poller_page(30), 2.0)
    assert report["platforms"] == {
        "x": {
            "targets": 100, "due": 9, "overdue": 4, "stale": 3, "in_flight": 2, "tokens_waiting": 1, "freshness": 1.5,
            "calls_per_second": 10.0, "errors": {"rate_limited": 2}, "budget_left": {"tweets": 70},
            "budget_closed_seconds": {"tweets": 12.5},
        }
    }  # fmt: skip
    assert service_report(None, poller_page(30), 2.0)["platforms"]["x"]["calls_per_second"] is None
    assert "platforms" not in service_report(None, page(1), 2.0)


def test_pollers_are_shown_together() -> None:
    first = service_report(poller_page(10), poller_page(30), 2.0)
    second = service_report(poller_page(10), poller_page(20, stale=40), 2.0)
    other = service_report(None, poller_page(1, platform="reddit"), 2.0)
    together = merged([first["platforms"], second["platforms"], other["platforms"]])
    assert list(together) == ["reddit", "x"]
    assert together["x"]["stale"] == 43
    assert together["x"]["calls_per_second"] == 15.0
    assert together["x"]["freshness"] == 1.5
    assert together["x"]["errors"] == {"rate_limited": 4}
    assert together["x"]["budget_left"] == {"tweets": 140}
    assert together["x"]["budget_closed_seconds"] == {"tweets": 12.5}
    out = io.StringIO()
    draw(full_report({"poller-0": first, "poller-1": second}, Answer(), Answer(), {}), Console(file=out, width=200))
    for part in ("stalest", "1.5 x", "rate_limited 4", "tweets 140, tweets closed for 12.5 s, 2 tokens wait", "43"):
        assert part in out.getvalue(), part


def test_markers_of_transactions_are_no_lag() -> None:
    assert PartitionLag("platform.raw", 0, 5, 7).lag == 2
    assert PartitionLag("platform.raw", 0, 5, 7, is_drained=True).lag == 0


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
    lags = [
        PartitionLag("platform.raw", 0, None, 7, waits_seconds=61.24),
        PartitionLag("platform.raw", 1, 5, 5),
    ]
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
        "10 events", "p99 <= 2 s", "cache hits 90.0%", "no answer", "0: 7 (61 s)  1: 0", "bad_id 2", "posts_store",
        "1,234",
        "5.0 MB", "kafka", "300.0 MB",
    ):  # fmt: skip
        assert part in shown, part


def test_a_full_disk_is_unhealthy_and_shown() -> None:
    report = full_report({}, Answer(), Answer(free_bytes=3 << 20), {})
    assert not is_healthy(report)
    assert is_healthy(full_report({}, Answer(), Answer(free_bytes=3 << 30), {}))
    out = io.StringIO()
    draw(report, Console(file=out, width=160))
    assert "its disk is full (3.0 MB are free): free some space" in out.getvalue()


def test_the_screen_says_what_is_not_known() -> None:
    report = full_report({}, Answer(problem="TIDEMARK_KAFKA_BOOTSTRAP is not set"), Answer(problem="no [address]"), {})
    out = io.StringIO()
    draw(report, Console(file=out, width=160))
    for part in ("no addresses known", "TIDEMARK_KAFKA_BOOTSTRAP is not set", "no [address]"):
        assert part in out.getvalue()


def test_shapes_that_platforms_refuse_of_most_channels_are_told() -> None:
    page = (
        "# TYPE tidemark_poller_refused_shapes gauge\n"
        'tidemark_poller_refused_shapes{outcome="request_wrong",platform="facebook",shape="posts"} 12.0\n'
        "# TYPE tidemark_poller_refused_shape_since_seconds gauge\n"
        'tidemark_poller_refused_shape_since_seconds{detail="400 gone",outcome="request_wrong",platform="facebook",'
        'shape="posts"} 1.79e+09\n'
    )
    report = service_report(None, ServiceState("ready", parse(page)), 1.0)
    assert report["refused_shapes"] == [
        {
            "platform": "facebook", "shape": "posts", "outcome": "request_wrong", "detail": "400 gone",
            "since": "2026-09-21T14:13:20+00:00", "channels": 12,
        }
    ]  # fmt: skip
    console = Console(record=True, width=200)
    draw(full_report({"poller": report}, Answer(), Answer(), {}), console)
    assert (
        "facebook refuses `posts` of 12 channels since 2026-09-21T14:13:20+00:00: request_wrong"
        in console.export_text()
    )
