"""Results: one JSON file and one chart a benchmark, and the table of ratios at the end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.chart import Bar, bars

RESULTS = Path(__file__).with_name("results")


@dataclass(frozen=True)
class Ratio:
    """One measured figure against another of the same run.

    Attributes:
        wanted: the bound it is held to; None where it is only told.
        is_ceiling: whether less is better.
    """

    name: str
    value: float
    wanted: float | None = None
    is_ceiling: bool = False

    @property
    def is_met(self) -> bool:
        """Whether the bound holds; true without one."""
        if self.wanted is None:
            return True
        return self.value <= self.wanted if self.is_ceiling else self.value >= self.wanted


@dataclass
class Result:
    """What one benchmark found.

    Attributes:
        figures: measured, each with its unit in its name.
        ratios: what counts: figures of one run against each other.
        notes: what a reader has to know to trust them.
        chart: title, unit and bars of the plot.
    """

    name: str
    figures: dict[str, Any]
    ratios: list[Ratio] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    chart: tuple[str, str, list[Bar]] | None = None

    def write(self, machine: dict[str, Any], seconds: float) -> None:
        """`results/<name>.json`, and `<name>.svg` when there is a chart."""
        RESULTS.mkdir(exist_ok=True)
        content = {
            "name": self.name,
            "machine": machine,
            "took_seconds": round(seconds, 1),
            "figures": rounded(self.figures),
            "ratios": [
                {**asdict(ratio), "value": rounded(ratio.value), "is_met": ratio.is_met} for ratio in self.ratios
            ],
            "notes": self.notes,
        }
        (RESULTS / f"{self.name}.json").write_text(json.dumps(content, indent=2) + "\n")
        if self.chart is not None:
            title, unit, values = self.chart
            (RESULTS / f"{self.name}.svg").write_text(bars(title, unit, values))


def rounded(value: Any) -> Any:
    """Figures with four digits that count, and whole numbers from a thousand on."""
    if isinstance(value, float):
        return round(value) if abs(value) >= 1000 else float(f"{value:.4g}")
    if isinstance(value, dict):
        return {name: rounded(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [rounded(inner) for inner in value]
    return value


def table(results: Sequence[Result]) -> str:
    """Every ratio with its bound, one a line."""
    lines = [("benchmark", "ratio", "measured", "wanted", "")]
    for result in results:
        for ratio in result.ratios:
            sign = "<=" if ratio.is_ceiling else ">="
            wanted = "" if ratio.wanted is None else f"{sign} {ratio.wanted:,g}"
            verdict = "" if ratio.wanted is None else "ok" if ratio.is_met else "MISSED"
            lines.append((result.name, ratio.name, f"{rounded(ratio.value):,}", wanted, verdict))
    widths = [max(len(line[column]) for line in lines) for column in range(5)]
    return "\n".join(
        f"{name:<{widths[0]}}  {ratio:<{widths[1]}}  {value:>{widths[2]}}  {wanted:<{widths[3]}}  {verdict}".rstrip()
        for name, ratio, value, wanted, verdict in lines
    )
