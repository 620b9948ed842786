"""How a test run is divided into processes, and what it tells of its time."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import hypothesis
import pytest

from infra.embedded.ports import AUTOMATIC_PORTS
from tests.e2e.conftest import SHARED
from tests.support import properties
from tests.support.budgets import BUDGET_SECONDS, Spent, folder_of, lines
from tests.support.processes import (
    AFTER_UNITS,
    CLEAN,
    FIRST,
    FOLDERS,
    GROUPS,
    FilesTogether,
    in_order,
    share_of_ports,
    together,
)

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("nodeid", "expected"),
    [
        ("tests/unit/test_a.py::test_one", "tests/unit/test_a.py"),
        ("tests/unit/test_a.py::TestClass::test_one[a::b]", "tests/unit/test_a.py"),
        ("tests/unit/test_a.py::test_one[user@example]", "tests/unit/test_a.py"),
        ("tests/e2e/test_kills.py::test_one", "tidemark"),
        ("tests/e2e/test_live.py::test_one[user@example]", "tidemark"),
        ("tests/e2e/test_up_is_closed.py::test_one[a::b]", "second_tidemark"),
        ("tests/integration/aggregator/test_audit.py::test_one", "tests/integration/aggregator"),
        ("tests/integration/infra/test_dbt.py::test_one", "tests/integration/infra/test_dbt.py"),
    ],
)
def test_a_file_or_a_group_stays_together(nodeid: str, expected: str) -> None:
    assert together(nodeid) == expected


def test_the_scheduler_splits_by_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is xdist's own but for this method; without it, a file or a test alone would be handed out."""
    monkeypatch.setattr(FilesTogether, "__init__", lambda self: None)
    assert FilesTogether()._split_scope("tests/e2e/test_model.py::test_a") == "tidemark"


def test_groups_are_of_files_that_are_there_and_of_fixtures_that_are_shared() -> None:
    assert [name for name in (*GROUPS, *FOLDERS, *CLEAN) if not (TESTS.parent / name).exists()] == []
    assert set(GROUPS.values()) == set(SHARED)


class _Item:
    def __init__(self, nodeid: str) -> None:
        self.nodeid = nodeid


def test_the_longest_file_comes_first_then_units_then_long_files() -> None:
    last, long = "tests/integration/runtime/test_following.py::z", f"{AFTER_UNITS[-1]}::w"
    names = [last, "tests/unit/b.py::b", long, f"{FIRST}::y", "tests/e2e/test_model.py::m", "tests/unit/a.py::a"]
    items = cast("list[pytest.Item]", [_Item(name) for name in names])
    in_order(items)
    assert [item.nodeid for item in items] == [
        f"{FIRST}::y", "tests/unit/b.py::b", "tests/unit/a.py::a", "tests/e2e/test_model.py::m", long, last,
    ]  # fmt: skip


def test_files_that_need_what_is_shared_clean_come_before_the_others_of_their_folder() -> None:
    names = ["tests/integration/aggregator/test_aggregator.py::a", *(f"{name}::b" for name in CLEAN)]
    items = cast("list[pytest.Item]", [_Item(name) for name in names])
    in_order(items)
    assert [item.nodeid for item in items] == [*names[1:], names[0]]


def test_the_order_names_files_and_groups_that_are_there() -> None:
    named = [name for name in (FIRST, *AFTER_UNITS) if name not in GROUPS.values()]
    assert [name for name in named if not (TESTS.parent / name).exists()] == []


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_processes_pick_from_ports_of_their_own(count: int) -> None:
    shares = [share_of_ports(range(20000, 32000), f"gw{number}", count) for number in range(count)]
    picked = [port for share in shares for port in share]
    assert len(picked) == len(set(picked)) > 11990
    assert set(picked) <= set(range(20000, 32000))


def test_ports_of_this_process_are_among_all() -> None:
    assert set(AUTOMATIC_PORTS) <= set(range(20000, 32000))


def test_each_folder_is_told_with_its_budget_the_longest_first() -> None:
    spent = {"tests/e2e": Spent(3, 61.2), "tests/unit/runtime": Spent(40, 4.4), "tests/unit/new": Spent(1, 5.0)}
    assert list(lines(spent, {"tests/e2e": 60, "tests/unit/runtime": 10})) == [
        "tests/e2e               3 tests     61 s of 60 s: OVER ITS BUDGET",
        "tests/unit/new          1 tests      5 s",
        "tests/unit/runtime     40 tests      4 s of 10 s",
        "all                    44 tests     71 s of 70 s",
    ]


def test_each_folder_has_a_budget() -> None:
    folders = {folder_of(path.relative_to(TESTS.parent).as_posix()) for path in TESTS.rglob("test_*.py")}
    assert set(BUDGET_SECONDS) == folders


def test_make_test_tries_a_quarter_of_the_examples_and_test_long_all() -> None:
    loaded = hypothesis.settings.get_current_profile_name()
    try:
        for name, tried in ((properties.QUARTER, 50), (properties.WHOLE, 200)):
            hypothesis.settings.load_profile(name)
            assert properties.of(200) == tried
            assert properties.of(1) == 1
    finally:
        hypothesis.settings.load_profile(loaded)


def test_shares_of_what_is_generated_are_other_ones_in_each_run_and_all_together() -> None:
    shares = {tuple(properties.some_of(range(10), 3)) for _ in range(200)}
    assert shares == {(0, 3, 6, 9), (1, 4, 7), (2, 5, 8)}
