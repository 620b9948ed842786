"""The audit's comparisons as SQL statements. Pure.

Every statement returns the same five columns: `workspace_id`, `key` (the id by which the row is compared again),
`label` (the row's name for a person), and `stored` and `recomputed`: arrays of texts in the order of the check's
`fields`. Only rows that differ are returned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from schemas.metrics import INT64_MAX, INT64_MIN, MILLIS_MAX, Metric

GENERATION = "generation = {generation:UInt16}"


@dataclass(frozen=True, slots=True)
class Scope:
    """The keys that a statement compares.

    Attributes:
        by_keys: compare exact keys (`{keys}`) instead of whole workspaces (`{workspaces}`).
        parts: compare one of this many parts of a large workspace's keys, split by hash (`{part}` of `{parts}`).
    """

    by_keys: bool = False
    parts: int = 1

    @property
    def workspaces(self) -> str:
        """The SQL condition on `workspace_id` alone."""
        return "workspace_id IN {workspaces:Array(String)}"

    def where(self, column: str) -> str:
        """The SQL condition on `workspace_id` and on the column that holds the check's key."""
        if self.by_keys:
            return f"{self.workspaces} AND (workspace_id, {column}) IN {{keys:Array(Tuple(String, String))}}"
        if self.parts > 1:
            return f"{self.workspaces} AND cityHash64({column}) % {{parts:UInt32}} = {{part:UInt32}}"
        return self.workspaces


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison.

    Attributes:
        name: the check's name, shown before each difference.
        fields: names of the compared fields, in the order of `stored` and `recomputed`.
        statement: returns the SQL for a scope; its parameters are `generation`, `now` and `forgotten` (ms), and the
            scope's.
        keys_per_statement: the most keys in one statement, for checks with wide rows; None for no limit.
        keys: returns the SQL of a scope's keys (`workspace_id` and key); needed with `keys_per_statement`.
    """

    name: str
    fields: tuple[str, ...]
    statement: Callable[[Scope], str]
    keys_per_statement: int | None = None
    keys: Callable[[Scope], str] | None = None


def texts(metrics: Sequence[Metric]) -> str:
    """SQL of an array of a row's figures as texts, null for a figure that is null."""
    return "[" + ", ".join(f"toString({metric.name})" for metric in metrics) + "]"


def no_texts(count: int) -> str:
    """SQL of an array of `count` nulls: the result of `texts` for a row without figures."""
    return f"arrayResize(CAST([], 'Array(Nullable(String))'), {count}, NULL)"


def sum_text(metric: Metric, condition: str, column: str | None = None) -> str:
    """SQL of a figure's sum over rows, limited to the column's range, as text; null when no row has the figure."""
    name = column or metric.name
    if metric.is_duration:
        bound = f"toDecimal128('{MILLIS_MAX // 1000}.{MILLIS_MAX % 1000:03d}', 3)"
        total = f"sumIf(toDecimal128({name}, 3), {condition})"
        return _within(total, f"-{bound}", bound)
    return bounded_text(f"sumIf(toInt128({name}), {condition})")


def bounded_text(total: str) -> str:
    """SQL of a sum of counts, limited to 64 bits, as text."""
    return _within(total, f"toInt128('{INT64_MIN}')", f"toInt128('{INT64_MAX}')")


def _within(total: str, low: str, high: str) -> str:
    # Server versions differ in the result of least and greatest for a null.
    return f"if(({total}) IS NULL, NULL, toString(least(greatest(assumeNotNull({total}), {low}), {high})))"


def total_text(metric: Metric, condition: str) -> str:
    """SQL of a figure's total over targets, as text: a sum; for a mean, the value if exactly one target has one."""
    if metric.summable:
        return sum_text(metric, condition)
    one = f"countIf({metric.name}, {condition} AND {metric.name} IS NOT NULL) = 1"
    return f"if({one}, toString(maxIf({metric.name}, {condition})), NULL)"


def milliseconds(column: str) -> str:
    """SQL of a nullable instant as whole milliseconds."""
    return f"toUnixTimestamp64Milli({column})"


def differing(fields: int, rows: str) -> str:
    """SQL of those rows of a query whose two arrays of texts differ; both arrays have `fields` elements."""
    return f"SELECT workspace_id, key, label, stored, recomputed FROM ({rows}) WHERE NOT arrayAll(i -> {_same('i')}, range(1, {fields} + 1))"  # noqa: E501


def _same(index: str) -> str:
    return f"stored[{index}] IS NOT DISTINCT FROM recomputed[{index}]"
