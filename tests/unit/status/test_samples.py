"""Metrics pages as numbers."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from services.status.samples import Samples, parse


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def page(registry: CollectorRegistry) -> Samples:
    return parse(generate_latest(registry).decode())


def test_totals_and_sums_by_a_label(registry: CollectorRegistry) -> None:
    letters = Counter("letters", "Some.", ["reason", "place"], registry=registry)
    letters.labels("a", "x").inc(2)
    letters.labels("a", "y").inc()
    letters.labels("b", "x").inc(4)
    samples = page(registry)
    assert samples.total("letters_total") == 7
    assert samples.by("letters_total", "reason") == {"a": 3, "b": 4}
    assert samples.total("nothing") is None
    assert samples.by("nothing", "reason") == {}


def test_quantiles_are_bucket_bounds(registry: CollectorRegistry) -> None:
    seconds = Histogram("seconds", "Some.", buckets=(1, 2, 5), registry=registry)
    assert page(registry).quantile("seconds", 0.5) is None
    for value in (0.5, 0.5, 1.5, 100):
        seconds.observe(value)
    samples = page(registry)
    assert samples.quantile("seconds", 0.5) == 1
    assert samples.quantile("seconds", 0.75) == 2
    assert samples.quantile("seconds", 0.99) == float("inf")


def test_an_interval_counts_alone_where_it_has_anything(registry: CollectorRegistry) -> None:
    seconds = Histogram("seconds", "Some.", ["kind"], buckets=(1, 2), registry=registry)
    seconds.labels("a").observe(0.5)
    before = page(registry)
    assert before.quantile("seconds", 0.5, before) == 1, "nothing since: all of it"
    seconds.labels("b").observe(1.5)
    assert page(registry).quantile("seconds", 0.5, before) == 2


def test_a_page_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError):
        parse("{}{}\n<html>\n")
