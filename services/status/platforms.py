"""Reads each platform's state from the metrics of pollers, for the report. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
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
_REFUSED = "tidemark_poller_refused_shapes"
_REFUSED_SINCE = "tidemark_poller_refused_shape_since_seconds"
_FINE = "ok"
# Of the whole installation, whichever poller is asked; in US dollars.
_MONEY = {
    "spent_usd": "tidemark_poller_spent_usd",
    "money_left_usd": "tidemark_poller_money_left_usd",
    "spending_forecast_usd": "tidemark_poller_spending_forecast_usd",
}
_BY_WORKSPACE = "tidemark_poller_workspace_spent_usd"


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
        report |= _money_report(now, name)
        found[name] = report
    return found


def _money_report(now: Samples, name: str) -> Platform:
    """What polls cost, where the platform bills for them; {} where nothing was spent and there is no budget."""
    report: Platform = {
        key: round(amounts[name], 2)
        for key, metric in _MONEY.items()
        if name in (amounts := now.by(metric, "platform"))
    }
    spent = now.by_two(_BY_WORKSPACE, "platform", "workspace").get(name)
    if spent:
        report["spent_usd_by_workspace"] = {key: round(cost, 2) for key, cost in sorted(spent.items())}
    return report


def refused_shapes(samples: Samples) -> list[dict[str, Any]]:
    """The shapes of call that are refused of most channels, as one poller has them; the oldest first."""
    channels = {
        (labels["platform"], labels["shape"], labels["outcome"]): int(count)
        for labels, count in samples.labelled(_REFUSED)
    }
    found = [
        {
            **{name: labels[name] for name in ("platform", "shape", "outcome", "detail")},
            "since": datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds"),
            "channels": channels.get((labels["platform"], labels["shape"], labels["outcome"]), 0),
        }
        for labels, at in samples.labelled(_REFUSED_SINCE)
    ]
    return sorted(found, key=lambda one: (one["since"], one["platform"], one["shape"]))


def merged(reports: Iterable[Mapping[str, Platform]]) -> dict[str, Platform]:
    """The states of several pollers as one: the sums of counts, the oldest snapshot and the longest wait."""
    found: dict[str, Platform] = {}
    for report in reports:
        for name, platform in report.items():
            found[name] = _added(found[name], platform) if name in found else platform
    return dict(sorted(found.items()))


def _added(first: Platform, second: Platform) -> Platform:
    both: Platform = {}
    for key in (*first, *(key for key in second if key not in first)):
        value, other = first.get(key), second.get(key)
        if key in _MONEY and value is not None and other is not None:
            # Each poller tells of all of them; who has heard of more is right.
            both[key] = (min if key == "money_left_usd" else max)(value, other)
        elif value is None or other is None:
            both[key] = other if value is None else value
        elif key == "freshness":
            both[key] = max(value, other)
        elif isinstance(value, dict):
            add = max if key == "budget_closed_seconds" else _sum
            both[key] = {part: add(value.get(part, 0), other.get(part, 0)) for part in sorted({*value, *other})}
        else:
            both[key] = round(value + other, 1)
    return both


def _sum(first: float, second: float) -> float:
    return first + second
