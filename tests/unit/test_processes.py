"""Which tests of a run in several processes stay together."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from tests.e2e.conftest import SHARED
from tests.support.processes import FIRST, GROUPS, FilesTogether, longest_first, together

ROOT = Path(__file__).parents[2]


def test_files_that_share_a_running_tidemark_are_one_group() -> None:
    kills, live = "tests/e2e/test_kills.py::test_a[kafka@x]", "tests/e2e/test_live.py::test_b"
    assert together(kills) == together(live) == "tidemark"
    assert together("tests/unit/test_processes.py::test_a[b::c]") == "tests/unit/test_processes.py"


def test_the_scheduler_splits_by_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is xdist's own but for this method; without it, a file or a test alone would be handed out."""
    monkeypatch.setattr(FilesTogether, "__init__", lambda self: None)
    assert FilesTogether()._split_scope("tests/e2e/test_model.py::test_a") == "tidemark"


def test_groups_are_of_files_that_are_there_and_of_fixtures_that_are_shared() -> None:
    assert [file for file in GROUPS if not (ROOT / file).exists()] == []
    assert set(GROUPS.values()) == set(SHARED)


class _Item:
    def __init__(self, nodeid: str) -> None:
        self.nodeid = nodeid


def test_the_longest_file_comes_first_and_the_others_keep_their_order() -> None:
    names = ["tests/unit/b.py::b", f"{FIRST}::y", "tests/unit/a.py::a", f"{FIRST}::x"]
    items = cast("list[pytest.Item]", [_Item(name) for name in names])
    longest_first(items)
    assert [item.nodeid for item in items] == [f"{FIRST}::y", f"{FIRST}::x", "tests/unit/b.py::b", "tests/unit/a.py::a"]
    assert (ROOT / FIRST).exists()
