"""The operators' page, the alert rules and the metrics of the code say the same (expressions: test_monitoring.py)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from services.aggregator.settings import AggregatorSettings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
RULES = (ROOT / "infra" / "prometheus" / "alerts.yml").read_text(encoding="utf-8")

_DEFINED = re.compile(r'\b(Counter|Gauge|Histogram|GaugeMetricFamily|CounterMetricFamily)\(\s*"(tidemark_\w+)"')
_USED = re.compile(r"\btidemark_\w+\b")


def _defined() -> dict[str, str]:
    """Metrics of the services as exposed, with their type."""
    found = {}
    for path in (ROOT / "services").rglob("*.py"):
        for kind, name in _DEFINED.findall(path.read_text(encoding="utf-8")):
            is_counter = kind.startswith("Counter")
            found[f"{name.removesuffix('_total')}_total" if is_counter else name] = kind
    return found


METRICS = _defined()
EXPOSED = set(METRICS) | {f"{name}_bucket" for name, kind in METRICS.items() if kind == "Histogram"}
ALERTS = re.findall(r"^ +- alert: (\w+)$", RULES, re.MULTILINE)


def test_there_are_metrics_and_alerts() -> None:
    assert len(METRICS) > 20
    assert len(ALERTS) > 10


@pytest.mark.parametrize("name", sorted(METRICS))
def test_each_metric_is_explained(name: str) -> None:
    assert f"`{name}`" in PAGE, "add it to docs/operations.md"


def test_the_page_explains_no_metric_that_is_gone() -> None:
    assert not set(_USED.findall(PAGE)) - EXPOSED


def test_each_alert_says_what_to_do() -> None:
    told = re.findall(r"^### (Tidemark\w+)$", PAGE, re.MULTILINE)
    assert told == ALERTS, "docs/operations.md has a heading for each alert, in the order of the rules"
    assert RULES.count("severity:") == len(ALERTS)
    assert RULES.count("summary:") == len(ALERTS)


def test_the_settings_named_are_settings() -> None:
    settings = {f"TIDEMARK_{name.upper()}" for name in AggregatorSettings.model_fields}
    named = set(re.findall(r"TIDEMARK_(?:AGGREGATOR|DEAD)_\w+", PAGE))
    assert named
    assert not named - settings
