"""Reads each platform's state from the metrics of pollers, for the report. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from services.status.samples import Samples

Platform = dict[str, Any]
# The pollers' gauges, by their name in the report.
_GAUGES = {
    "targets": "tidemark_poller_targets",
    "due": "tidemark_poller_targets_due",
    "overdue": "tidemark_poller_targets_overdue",
    "stale": "tidemark_poller_targets_stale",
    "in_flight": "tidemark_poller_rounds_in_flight",
    "tokens_waiting": "tidemark_poller_tokens_waiting",
}
_FRESHNESS = "tidemark_poller_freshness_ratio"
_CALLS = "tidemark_poller_calls_total"
_LEFT = "tidemark_poller_budget_left_calls"
_CLOSED = "tidemark_poller_budget_closed_seconds"
_FINE = "ok"


def platform_reports(before: Samples | None, now: Samples, seconds: float) -> dict[str, Platform]:
    """The state of each platform that a poller asks or has targets on, by name; {} for a process that is no poller.

    Args:
        before: the same process an interval earlier, from which calls and errors are counted; None when unknown.
        seconds: length of the interval.
    """
    calls = now.by_two(_CALLS, "platform", "outcome")
    earlier = before.by_two(_CALLS, "platform", "outcome") if before is not None else {}
    left, closed = now.by_two(_LEFT, "platform", "group"), now.by_two(_CLOSED, "platform", "group")
    gauges = {name: now.by(metric, "platform") for name, metric in _GAUGES.items()}
    freshness = now.by(_FRESHNESS, "platform")
    found: dict[str, Platform] = {}
    for name in sorted({*gauges["targets"], *calls}):
        report: Platform = {gauge: int(values.get(name, 0)) for gauge, values in gauges.items()}
        made = calls.get(name, {})
        if not made and not report["targets"]:
            continue
        report["freshness"] = round(freshness.get(name, 0.0), 2)
        # After a restart in between, counts begin at 0 again.
        since = {kind: max(0.0, count - earlier.get(name, {}).get(kind, 0)) for kind, count in made.items()}
        report["calls_per_second"] = round(sum(since.values()) / seconds, 1) if before is not None else None
        report["errors"] = {kind: int(count) for kind, count in sorted(made.items()) if kind != _FINE and count}
        report["budget_left"] = {group: int(count) for group, count in sorted(left.get(name, {}).items())}
        report["budget_closed_seconds"] = {
            group: round(wait, 1) for group, wait in sorted(closed.get(name, {}).items()) if wait
        }
        found[name] = report
    return found


def merged(reports: Iterable[Mapping[str, Platform]]) -> dict[str, Platform]:
    """The states of several pollers as one: the sums of counts, the oldest snapshot and the longest wait."""
    found: dict[str, Platform] = {}
    for report in reports:
        for name, platform in report.items():
            found[name] = _added(found[name], platform) if name in found else platform
    return dict(sorted(found.items()))


def _added(first: Platform, second: Platform) -> Platform:
    both: Platform = {}
    for key, value in first.items():
        other = second[key]
        if key == "freshness":
            both[key] = max(value, other)
        elif isinstance(value, dict):
            add = max if key == "budget_closed_seconds" else _sum
            both[key] = {part: add(value.get(part, 0), other.get(part, 0)) for part in sorted({*value, *other})}
        else:
            both[key] = other if value is None else value if other is None else round(value + other, 1)
    return both


def _sum(first: float, second: float) -> float:
    return first + second
