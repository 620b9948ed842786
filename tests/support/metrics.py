"""Every metric that the services export, with its type and labels, as the code itself declares them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

import services.aggregator.metrics
import services.query_api.observability
from services.notifier.metrics import Gauges, NotifierMetrics
from services.notifier.metrics import StateCollector as NotifierState
from services.poller.metrics import PollerMetrics
from services.poller.metrics import StateCollector as PollerState
from services.poller.publisher import Room
from services.poller.schedule.schedule import Schedule

# Imported for what they declare.
_DECLARING = (services.aggregator.metrics, services.query_api.observability)
# What a histogram or summary exports beside its own name.
_SUFFIXES: dict[str, dict[str, tuple[str, ...]]] = {
    "histogram": {"_bucket": ("le",), "_sum": (), "_count": ()},
    "counter": {"_total": ()},
    "gauge": {"": ()},
}


@dataclass(frozen=True, slots=True)
class Exported:
    """One series of a metric.

    Attributes:
        kind: counter, gauge or histogram.
        labels: names of its labels, without those that the scrape adds.
    """

    kind: str
    labels: frozenset[str]


@cache
def exported() -> dict[str, Exported]:
    """Every series that a service exports, by its name as Prometheus stores it."""
    registry = CollectorRegistry()
    NotifierMetrics(registry)
    PollerMetrics(registry)
    found: dict[str, Exported] = {}
    declared: set[Collector] = {*_collectors(REGISTRY), *_collectors(registry)}
    for collector in declared:
        if isinstance(collector, MetricWrapperBase):
            found |= dict(_series(collector._name, str(collector._type), collector._labelnames))
        else:
            for metric in collector.collect():
                found |= dict(_series(metric.name, metric.type, ()))
    states: tuple[Collector, ...] = (
        NotifierState(Gauges),
        PollerState(Schedule({"x": 1}), Room(1, 1), dict, lambda: 0),
    )
    for state in states:
        for metric in state.collect():
            found |= dict(_series(metric.name, metric.type, getattr(metric, "_labelnames", ())))
    return found


def _collectors(registry: CollectorRegistry) -> Iterator[Collector]:
    yield from registry._collector_to_names


def _series(name: str, kind: str, labels: tuple[str, ...]) -> Iterator[tuple[str, Exported]]:
    for suffix, further in _SUFFIXES.get(kind, {}).items():
        yield f"{name}{suffix}", Exported(kind, frozenset({*labels, *further}))
