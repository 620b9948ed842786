"""Checks PromQL against the metrics that exist: names, labels, and what may be done with each type.

An expression is judged by the labels that each of its parts has: `by (platform)` over a metric without that label gives
one series, and a division of sides with different labels gives none, both without an error from Prometheus.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import promql_parser

from tests.support.metrics import Exported

SCRAPED = frozenset({"job", "instance"})
"""Labels that the scrape adds to each series."""
IN_A_CLUSTER = SCRAPED | {"namespace", "release"}
"""Labels that the scrapes of the chart's pods add."""

# What Grafana puts in the place of a variable, as far as the parser needs a value there.
_VARIABLES = {"$__rate_interval": "5m", "$__interval": "1m", "$__range": "1h"}
_OVER_COUNTERS = {"rate", "irate", "increase"}
_OVER_GAUGES = {"delta", "deriv", "idelta", "predict_linear"}


class Wrong(Exception):
    """An expression asks for what no service exports; the message says what."""


def labels_of(expression: str, metrics: Mapping[str, Exported], scraped: frozenset[str] = SCRAPED) -> frozenset[str]:
    """The labels of an expression's series; {} of a scalar.

    Args:
        metrics: the series that exist, by name.
        scraped: labels that the scrape adds to each series.

    Raises:
        Wrong: the expression has a metric or label that does not exist, or treats a type as another.
        ValueError: it is not PromQL.
    """
    found = _Check(metrics, scraped).labels(_parsed(expression))
    return frozenset() if found is None else found


def matchers_of(
    expression: str, metrics: Mapping[str, Exported], scraped: frozenset[str] = SCRAPED
) -> list[dict[str, str]]:
    """Of each selector in an expression the values that it asks for, by label, whichever way they are compared.

    Raises:
        Wrong: as `labels_of`.
    """
    check = _Check(metrics, scraped)
    check.labels(_parsed(expression))
    return check.matchers


def _parsed(expression: str) -> promql_parser.Expr:
    for variable, value in _VARIABLES.items():
        expression = expression.replace(variable, value)
    return promql_parser.parse(expression)


class _Check:
    def __init__(self, metrics: Mapping[str, Exported], scraped: frozenset[str]) -> None:
        self._metrics = metrics
        self._scraped = scraped
        self.matchers: list[dict[str, str]] = []

    def labels(self, node: object) -> frozenset[str] | None:
        """The labels of a part's series; None for a scalar."""
        match node:
            case promql_parser.NumberLiteral() | promql_parser.StringLiteral():
                return None
            case promql_parser.ParenExpr() | promql_parser.UnaryExpr():
                return self.labels(node.expr)
            case promql_parser.VectorSelector():
                return self._selected(node)[1]
            case promql_parser.AggregateExpr():
                return self._aggregated(node)
            case promql_parser.BinaryExpr():
                return self._joined(node)
            case promql_parser.Call():
                return self._called(node)
        raise Wrong(f"{type(node).__name__} is not judged here: add it to tests/support/promql.py")

    def _selected(self, node: promql_parser.VectorSelector) -> tuple[Exported, frozenset[str]]:
        metric = Exported("gauge", frozenset()) if node.name == "up" else self._metrics.get(node.name or "")
        if metric is None:
            raise Wrong(f"no service exports {node.name}")
        labels = metric.labels | self._scraped
        self.matchers.append({matcher.name: matcher.value for matcher in node.matchers.matchers})
        for matcher in node.matchers.matchers:
            if matcher.name not in labels:
                raise Wrong(f"{node.name} has no label {matcher.name}; it has {', '.join(sorted(labels))}")
        return metric, labels

    def _aggregated(self, node: promql_parser.AggregateExpr) -> frozenset[str]:
        inner = self.labels(node.expr)
        if inner is None:
            raise Wrong(f"{node.op} of a number")
        if node.modifier is None:
            return frozenset()
        named = frozenset(node.modifier.labels)
        if unknown := named - inner:
            raise Wrong(f"{node.op} names {', '.join(sorted(unknown))}, which its series lack")
        return named if node.modifier.type == promql_parser.AggModifierType.By else inner - named

    def _joined(self, node: promql_parser.BinaryExpr) -> frozenset[str] | None:
        left, right = self.labels(node.lhs), self.labels(node.rhs)
        if left is None or right is None:
            return right if left is None else left
        if str(node.op) == "or":
            return left | right
        if node.modifier is not None and node.modifier.matching is not None:
            raise Wrong("on and ignoring are not judged here: add them to tests/support/promql.py")
        if left != right:
            raise Wrong(f"{node.op} between series of {sorted(left)} and of {sorted(right)} finds no pairs")
        return left

    def _called(self, node: promql_parser.Call) -> frozenset[str] | None:
        name = node.func.name
        if name == "absent":
            (selector,) = node.args
            self.labels(selector)
            return frozenset()
        if name == "histogram_quantile":
            inner = self.labels(node.args[1])
            if inner is None or "le" not in inner:
                raise Wrong("histogram_quantile needs the label le")
            return inner - {"le"}
        if name in _OVER_COUNTERS | _OVER_GAUGES:
            selector = node.args[0]
            if not isinstance(selector, promql_parser.MatrixSelector):
                raise Wrong(f"{name} takes a series over a time")
            metric, labels = self._selected(selector.vector_selector)
            if (metric.kind == "gauge") is (name in _OVER_COUNTERS):
                raise Wrong(f"{name} of {selector.vector_selector.name}, which is a {metric.kind}")
            return labels
        raise Wrong(f"{name}() is not judged here: add it to tests/support/promql.py")


def named_in(text: str) -> set[str]:
    """The labels that a legend (`{{platform}}`) or a summary (`{{ $labels.platform }}`) shows."""
    return set(re.findall(r"\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}", text))
