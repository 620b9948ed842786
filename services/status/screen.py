"""Prints the report as tables at a terminal. Pure but for the console."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from services.status.platforms import merged
from services.status.report import Report, is_disk_full

_MEBIBYTE = 1 << 20


def draw(report: Report, console: Console) -> None:
    """Print the report's tables to a console."""
    _services(report, console)
    _platforms(report, console)
    _refused_shapes(report, console)
    _lag(report, console)
    _letters(report, console)
    _tables(report, console)


def _services(report: Report, console: Console) -> None:
    table = _table("service", "state", "rates a second", "latency", "memory")
    memory = dict(report["memory_bytes"])
    for name, service in report["services"].items():
        rates = [
            f"{service[key]:g} {key.removesuffix('_per_second')}" for key in service if key.endswith("_per_second")
        ]
        latencies = [
            f"{key.removesuffix('_seconds').replace('_', ' ')} p50 {_seconds(held['p50'])}, p99 {_seconds(held['p99'])}"
            for key, held in service.items()
            if isinstance(held, dict) and "p50" in held
        ]
        if "cache_hit_ratio" in service:
            latencies.append(f"cache hits {service['cache_hit_ratio']:.1%}")
        held = service.get("memory_bytes") or memory.pop(name, None)
        memory.pop(name, None)
        table.add_row(name, service["readiness"], "\n".join(rates), "\n".join(latencies), _size(held))
    for name, held in memory.items():
        table.add_row(name, "running", "", "", _size(held))
    console.print(table)
    if not report["services"]:
        console.print("services: no addresses known; give --data-dir, or set TIDEMARK_STATUS_TARGETS")


def _platforms(report: Report, console: Console) -> None:
    platforms = merged(service.get("platforms", {}) for service in report["services"].values())
    if not platforms:
        return
    table = _table(
        "platform", "targets", "due", "overdue", "stale", "stalest", "in flight", "calls a second",
        "errors since start", "budget left",
    )  # fmt: skip
    for name, held in platforms.items():
        budget = [f"{group} {count:g}" for group, count in held["budget_left"].items()]
        budget += [f"{group} closed for {wait:g} s" for group, wait in held["budget_closed_seconds"].items()]
        if held["tokens_waiting"]:
            budget.append(f"{held['tokens_waiting']:g} tokens wait")
        budget += _money(held)
        table.add_row(
            name,
            *(f"{held[key]:,g}" for key in ("targets", "due", "overdue", "stale")),
            f"{held['freshness']:g} x" if held["freshness"] else "-",
            f"{held['in_flight']:g}",
            "-" if held["calls_per_second"] is None else f"{held['calls_per_second']:g}",
            ", ".join(f"{kind} {count:g}" for kind, count in held["errors"].items()),
            ", ".join(budget),
        )
    table.caption = "stale: last snapshot older than the interval of the target's age; stalest: in such intervals"
    console.print(table)


def _money(held: Mapping[str, Any]) -> list[str]:
    """What polls of a platform cost this month, in words; [] where nothing is billed."""
    if "spent_usd" not in held:
        return []
    said = [f"${held['spent_usd']:,.2f} spent this month, ${held['spending_forecast_usd']:,.2f} by its end"]
    if "money_left_usd" in held:
        said.append(f"${held['money_left_usd']:,.2f} left")
    return said


def _refused_shapes(report: Report, console: Console) -> None:
    for service in report["services"].values():
        for held in service.get("refused_shapes", []):
            console.print(
                f"{held['platform']} refuses `{held['shape']}` of {held['channels']} channels since {held['since']}: "
                f"{held['outcome']}, in its words: {held['detail'] or 'none'}",
                markup=False,
            )


def _lag(report: Report, console: Console) -> None:
    kafka = report["kafka"]
    if kafka["problem"]:
        console.print(f"Kafka: {kafka['problem']}", markup=False)
    by_topic: dict[str, list[str]] = {}
    for entry in kafka["lag"]:
        by_topic.setdefault(entry["topic"], []).append(_waiting(entry))
    if by_topic:
        table = _table("topic", "lag by partition")
        for topic, lags in by_topic.items():
            table.add_row(topic, "  ".join(lags))
        console.print(table)
    if kafka["owners"]:
        table = _table("group", "member", "partitions")
        for group, members in kafka["owners"].items():
            for member, numbers in members.items() or [("nobody", [])]:
                table.add_row(group, member, ", ".join(str(number) for number in numbers) or "none")
        console.print(table)


def _waiting(entry: Report) -> str:
    """The messages behind in one partition, and how long the first of them has waited."""
    waits = entry["waits_seconds"]
    return f"{entry['partition']}: {entry['lag']}" + ("" if waits is None else f" ({waits:.0f} s)")


def _letters(report: Report, console: Console) -> None:
    letters: dict[str, int] = {}
    for service in report["services"].values():
        for reason, count in service.get("dead_letters", {}).items():
            letters[reason] = letters.get(reason, 0) + count
    if letters:
        console.print("dead letters since start: " + ", ".join(f"{name} {count}" for name, count in letters.items()))


def _tables(report: Report, console: Console) -> None:
    clickhouse = report["clickhouse"]
    if clickhouse["problem"]:
        console.print(f"ClickHouse: {clickhouse['problem']}", markup=False)
        return
    if is_disk_full(report):
        console.print(
            f"ClickHouse: its disk is full ({_size(clickhouse['free_bytes'])} are free): free some space; events wait "
            "meanwhile",
            markup=False,
        )
    table = _table("ClickHouse table", "rows", "parts", "disk")
    for entry in clickhouse["tables"]:
        table.add_row(entry["name"], f"{entry['rows']:,}", str(entry["parts"]), _size(entry["disk_bytes"]))
    if clickhouse["memory_bytes"] is not None:
        table.caption = f"ClickHouse memory {_size(clickhouse['memory_bytes'])}"
    console.print(table)


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=number == 0)
    return table


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return "beyond" if value == float("inf") else f"<= {value:g} s"


def _size(value: int | None) -> str:
    return "" if value is None else f"{value / _MEBIBYTE:,.1f} MB"
