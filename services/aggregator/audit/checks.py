"""What the audit compares, as statements. Pure.

Every statement returns the same five columns: `workspace_id`, `key` (an id to ask for it again by), `label` (what it
is, for a person), and `stored` and `recomputed`: texts in the order of the check's `fields`. Only rows that differ
come back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from schemas.metrics import INT64_MAX, INT64_MIN, MILLIS_MAX, Metric

GENERATION = "generation = {generation:UInt16}"


@dataclass(frozen=True, slots=True)
class Scope:
    """Which keys a statement looks at.

    Attributes:
        by_keys: exact keys (`{keys}`) instead of whole workspaces (`{workspaces}`).
        parts: a large workspace's keys are taken in this many parts by their hash (`{part}` of `{parts}`).
    """

    by_keys: bool = False
    parts: int = 1

    @property
    def workspaces(self) -> str:
        """A condition on `workspace_id` alone."""
        return "workspace_id IN {workspaces:Array(String)}"

    def where(self, column: str) -> str:
        """A condition on `workspace_id` and the column that holds the check's key."""
        if self.by_keys:
            return f"{self.workspaces} AND (workspace_id, {column}) IN {{keys:Array(Tuple(String, String))}}"
        if self.parts > 1:
            return f"{self.workspaces} AND cityHash64({column}) % {{parts:UInt32}} = {{part:UInt32}}"
        return self.workspaces


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison.

    Attributes:
        name: shown before each difference.
        fields: names of what is compared, in the order of both columns.
        statement: the SQL for a scope; its parameters are `generation`, `now` and `forgotten` (ms), and the scope's.
        keys_per_statement: most that one statement looks at, where its rows are wide; None for as many as there are.
        keys: SQL of the keys of a scope, `workspace_id` and key; needed with `keys_per_statement`.
    """

    name: str
    fields: tuple[str, ...]
    statement: Callable[[Scope], str]
    keys_per_statement: int | None = None
    keys: Callable[[Scope], str] | None = None


def texts(metrics: Sequence[Metric]) -> str:
    """An array of a row's figures as texts, null where null."""
    return "[" + ", ".join(f"toString({metric.name})" for metric in metrics) + "]"


def no_texts(count: int) -> str:
    """What `texts` gives for a row without any figure."""
    return f"arrayResize(CAST([], 'Array(Nullable(String))'), {count}, NULL)"


def sum_text(metric: Metric, condition: str, column: str | None = None) -> str:
    """The sum of a figure over rows, held within what its column holds, as text; null where no row has it."""
    name = column or metric.name
    if metric.is_duration:
        bound = f"toDecimal128('{MILLIS_MAX // 1000}.{MILLIS_MAX % 1000:03d}', 3)"
        total = f"sumIf(toDecimal128({name}, 3), {condition})"
        return _within(total, f"-{bound}", bound)
    return bounded_text(f"sumIf(toInt128({name}), {condition})")


def bounded_text(total: str) -> str:
    """A sum of counts held within 64 bits, as text."""
    return _within(total, f"toInt128('{INT64_MIN}')", f"toInt128('{INT64_MAX}')")


def _within(total: str, low: str, high: str) -> str:
    # Servers differ in what least and greatest make of a null.
    return f"if(({total}) IS NULL, NULL, toString(least(greatest(assumeNotNull({total}), {low}), {high})))"


def total_text(metric: Metric, condition: str) -> str:
    """A figure's total over targets by the contract: sums, and a mean only where exactly one target has it."""
    if metric.summable:
        return sum_text(metric, condition)
    one = f"countIf({metric.name}, {condition} AND {metric.name} IS NOT NULL) = 1"
    return f"if({one}, toString(maxIf({metric.name}, {condition})), NULL)"


def milliseconds(column: str) -> str:
    """A nullable instant as whole milliseconds."""
    return f"toUnixTimestamp64Milli({column})"


def differing(fields: int, rows: str) -> str:
    """The rows of a query whose two text arrays differ; both have `fields` elements."""
    return f"SELECT workspace_id, key, label, stored, recomputed FROM ({rows}) WHERE NOT arrayAll(i -> {_same('i')}, range(1, {fields} + 1))"  # noqa: E501


def _same(index: str) -> str:
    return f"stored[{index}] IS NOT DISTINCT FROM recomputed[{index}]"
