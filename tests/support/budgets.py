"""How long the tests of each folder take, told at the end of a run beside how long they may take together.

The seconds of all processes are added, setting up and taking down included: a folder of 100 s takes a run of two
processes 50. A budget is for a machine of two cores at rest. Over it, the run says so and passes all the same: the
machine's other work shows in the figure as much as a slow test does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest

BUDGET_SECONDS: Mapping[str, float] = {
    "tests/e2e": 350,
    "tests/integration/aggregator": 95,
    "tests/integration/infra": 160,
    "tests/integration/notifier": 10,
    "tests/integration/poller": 70,
    "tests/integration/query_api": 140,
    "tests/integration/runtime": 105,
    "tests/unit": 20,
    "tests/unit/aggregator": 14,
    "tests/unit/commands": 12,
    "tests/unit/infra": 20,
    "tests/unit/mcp": 5,
    "tests/unit/notifier": 14,
    "tests/unit/platforms": 20,
    "tests/unit/poller": 32,
    "tests/unit/query_api": 26,
    "tests/unit/runtime": 20,
    "tests/unit/schemas": 8,
    "tests/unit/status": 5,
    "tests/unit/tidemark_client": 5,
}


@dataclass
class Spent:
    """What the tests of a folder took so far."""

    tests: int = 0
    seconds: float = 0.0


def folder_of(path: str) -> str:
    """The folder whose budget a test file counts against: `tests/<kind>/<part>`, or the folder of a file above that.

    So `tests/unit/query_api/tidemark/test_serving.py` counts against `tests/unit/query_api`.
    """
    return "/".join(path.split("/")[:-1][:3])


def lines(spent: Mapping[str, Spent], budgets: Mapping[str, float]) -> Iterator[str]:
    """A line for each folder, the longest first, and one for all.

    Args:
        budgets: seconds by folder; a folder may have none.
    """
    width = max((len(folder) for folder in spent), default=0)
    for folder, found in sorted(spent.items(), key=lambda item: -item[1].seconds):
        told = f"{folder:{width}}  {found.tests:5} tests  {found.seconds:5.0f} s"
        if folder in budgets:
            told += f" of {budgets[folder]:.0f} s"
            if found.seconds > budgets[folder]:
                told += ": OVER ITS BUDGET"
        yield told
    tests, seconds = sum(found.tests for found in spent.values()), sum(found.seconds for found in spent.values())
    budget = sum(budgets.get(folder, 0) for folder in spent)
    yield f"{'all':{width}}  {tests:5} tests  {seconds:5.0f} s of {budget:.0f} s"


class FolderTimes:
    """Adds up what the reports of a run say, and tells it under the run's other summaries."""

    def __init__(self) -> None:
        self._spent: dict[str, Spent] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        spent = self._spent.setdefault(folder_of(report.nodeid.partition("::")[0]), Spent())
        spent.seconds += report.duration
        spent.tests += report.when == "setup"

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._spent:
            terminalreporter.section("time by folder")
            for line in lines(self._spent, BUDGET_SECONDS):
                terminalreporter.line(line)
