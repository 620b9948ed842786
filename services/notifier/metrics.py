"""What operators see of the notifier: names, units and meanings, once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class NotifierMetrics:
    """Counters and histograms of the notifier's work."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.tries = Counter(
            "tidemark_notifier_tries",
            "Tries by what became of them: delivered, or failed.",
            ["outcome"],
            registry=registry,
        )
        self.try_seconds = Histogram(
            "tidemark_notifier_try_seconds",
            "Time of one try, in seconds.",
            buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15),
            registry=registry,
        )
        self.first_seconds = Histogram(
            "tidemark_notifier_delivery_seconds",
            "Time from an event to its delivery at the first try, in seconds.",
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60),
            registry=registry,
        )
        self.shut = Counter(
            "tidemark_notifier_shut_down",
            "Webhooks that were shut down, by reason: gone, failing or backlog.",
            ["reason"],
            registry=registry,
        )
        self.refused = Counter(
            "tidemark_notifier_refused_records",
            "Records of topics that do not count, by topic and reason.",
            ["topic", "reason"],
            registry=registry,
        )


class Gauges(NamedTuple):
    """The present state of a process.

    Attributes:
        overdue_seconds: how long the oldest untried delivery to a webhook that answers quickly has waited.
        lag: messages of topics that are not taken in yet.
        log_lag: records of deliveries that the log in ClickHouse lacks.
    """

    partitions: int = 0
    pending: int = 0
    failing: int = 0
    slow: int = 0
    overdue_seconds: float = 0.0
    lag: int = 0
    log_lag: int = 0


class StateCollector(Collector):
    """Gauges, read when somebody asks.

    Args:
        gauges: tells the present state.
    """

    def __init__(self, gauges: Callable[[], Gauges]) -> None:
        self._gauges = gauges

    def collect(self) -> Iterable[Metric]:
        """The gauges' present values."""
        now = self._gauges()
        yield GaugeMetricFamily(
            "tidemark_notifier_partitions", "Partitions whose webhooks this process tells.", value=now.partitions
        )
        yield GaugeMetricFamily(
            "tidemark_notifier_pending_deliveries", "Deliveries that are not finished.", value=now.pending
        )
        yield GaugeMetricFamily(
            "tidemark_notifier_failing_webhooks", "Webhooks whose last try failed.", value=now.failing
        )
        yield GaugeMetricFamily(
            "tidemark_notifier_slow_webhooks", "Webhooks that work, and whose last try took long.", value=now.slow
        )
        yield GaugeMetricFamily(
            "tidemark_notifier_overdue_seconds",
            "How long the oldest untried delivery to a webhook that answers quickly has waited.",
            value=now.overdue_seconds,
        )
        yield GaugeMetricFamily(
            "tidemark_notifier_lag_messages", "Messages of topics that are not taken in yet.", value=now.lag
        )
        yield GaugeMetricFamily(
            "tidemark_notifier_log_lag_messages",
            "Records of deliveries that the log in ClickHouse lacks.",
            value=now.log_lag,
        )
