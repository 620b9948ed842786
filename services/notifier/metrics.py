"""What operators see of the notifier: names, units and meanings, once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

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


class Counted(Protocol):
    """What gauges are read from; see `work.Work`."""

    def gauges(self) -> dict[str, float]:
        """Values by the names of `StateCollector`."""


class StateCollector(Collector):
    """Gauges, read when somebody asks."""

    _TEXTS = {  # noqa: RUF012 - never changed
        "tidemark_notifier_partitions": "Partitions whose webhooks this process tells.",
        "tidemark_notifier_pending_deliveries": "Deliveries that are not finished.",
        "tidemark_notifier_failing_webhooks": "Webhooks whose last try failed.",
        "tidemark_notifier_overdue_seconds": "How long the oldest untried delivery to a healthy webhook waits.",
        "tidemark_notifier_lag_messages": "Messages of topics that are not taken in yet.",
        "tidemark_notifier_log_lag_messages": "Records of deliveries that the log in ClickHouse lacks.",
    }

    def __init__(self, counted: Counted) -> None:
        self._counted = counted

    def collect(self) -> Iterable[Metric]:
        """The gauges' present values."""
        values = self._counted.gauges()
        for name, text in self._TEXTS.items():
            yield GaugeMetricFamily(name, text, value=values.get(name, 0.0))
