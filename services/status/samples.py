"""Reads a service's metrics page into samples that can be looked up. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Samples:
    """All samples of one page.

    Attributes:
        values: the numbers, by the metric's name and then by its labels.
    """

    values: Mapping[str, Mapping[Labels, float]]

    def total(self, name: str) -> float | None:
        """A metric summed over its labels; None when the page lacks the metric."""
        held = self.values.get(name)
        return sum(held.values()) if held else None

    def by(self, name: str, label: str) -> dict[str, float]:
        """A metric summed by one label."""
        found: dict[str, float] = {}
        for labels, value in self.values.get(name, {}).items():
            key = dict(labels).get(label, "")
            found[key] = found.get(key, 0) + value
        return found

    def by_two(self, name: str, outer: str, inner: str) -> dict[str, dict[str, float]]:
        """A metric summed by one label, and then by another."""
        found: dict[str, dict[str, float]] = {}
        for labels, value in self.values.get(name, {}).items():
            named = dict(labels)
            held = found.setdefault(named.get(outer, ""), {})
            held[named.get(inner, "")] = held.get(named.get(inner, ""), 0) + value
        return found

    def quantile(self, name: str, fraction: float, before: Samples | None = None) -> float | None:
        """The smallest bucket bound of a histogram that holds at least a fraction of the observations.

        Args:
            fraction: 0..1.
            before: an earlier page; only observations since then count, unless there are none.

        Returns:
            The bound, in the histogram's unit (usually seconds); infinity beyond the last bound; None without
            observations.
        """
        counts = _buckets(self, name)
        if before is not None:
            earlier = _buckets(before, name)
            since = {bound: count - earlier.get(bound, 0) for bound, count in counts.items()}
            if since.get(float("inf"), 0) > 0:
                counts = since
        observed = counts.get(float("inf"), 0)
        if observed <= 0:
            return None
        return next(bound for bound in sorted(counts) if counts[bound] >= fraction * observed)


def _buckets(samples: Samples, name: str) -> dict[float, float]:
    return {float(bound): count for bound, count in samples.by(f"{name}_bucket", "le").items() if bound}


def parse(page: str) -> Samples:
    """Parse a page in Prometheus' text format.

    Raises:
        ValueError: the page is not in this format.
    """
    values: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            values.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return Samples(values)
