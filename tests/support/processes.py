"""A test run in several processes (pytest-xdist): which tests stay together, and which ports each process picks from.

Each process has engines of its own, and fixtures of a module are built once where its tests run in one process. So a
file is never split, and files that share something larger stay together, as `GROUPS` and `FOLDERS` say. (pytest-xdist
writes its groups into the ids of tests, which pytest 9.2 makes of something else: a mark `xdist_group` has no effect
there.)
"""

from __future__ import annotations

import signal
from os import environ

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from infra.embedded import ports

GROUPS = {
    "tests/e2e/test_foreign_clients.py": "tidemark",
    "tests/e2e/test_kept_answers.py": "tidemark",
    "tests/e2e/test_kills.py": "tidemark",
    "tests/e2e/test_live.py": "tidemark",
    "tests/e2e/test_model.py": "tidemark",
    "tests/e2e/test_pages.py": "tidemark",
    "tests/e2e/test_surfaces.py": "tidemark",
    "tests/e2e/test_tokens.py": "tidemark",
    "tests/e2e/test_webhooks.py": "tidemark",
    "tests/e2e/test_documents_run.py": "second_tidemark",
    "tests/e2e/test_full_disk.py": "second_tidemark",
    "tests/e2e/test_twelfth_platform.py": "second_tidemark",
    "tests/e2e/test_up_is_closed.py": "second_tidemark",
}
"""By file, the fixture that it shares with others."""

FOLDERS = ("tests/integration/aggregator", "tests/integration/query_api")
"""Folders whose files share topics, tables and a running service: in two processes there would be two of each."""

CLEAN = (
    "tests/integration/aggregator/test_mending.py",
    "tests/integration/aggregator/test_rebuild.py",
    "tests/integration/aggregator/test_workspace_delete.py",
)
"""Files that audit or rebuild all that their folder shares: they run before others have left anything in it."""

FIRST = "tests/e2e/test_hostile.py"
"""The file that takes longest: begun late, it would be waited for by all processes but its own."""

AFTER_UNITS = (
    "tidemark",
    "tests/integration/query_api",
    "tests/integration/aggregator",
    "second_tidemark",
    "tests/integration/poller/test_refusals.py",
    "tests/integration/runtime/test_rights.py",
    "tests/integration/runtime/test_absent_neighbours.py",
)
"""What takes a minute or about as long, the longest first: what is short fills the end, so that all processes end
together. Unit tests come before: the engines need not run meanwhile."""


class FilesTogether(LoadScopeScheduling):  # type: ignore[misc]  # pytest-xdist has no types
    """Hands out whole groups, and whole files where a file has no group."""

    def _split_scope(self, nodeid: str) -> str:
        return together(nodeid)


def together(nodeid: str) -> str:
    """The group or the folder of a test's file, or the file where it stays with no other."""
    file = nodeid.partition("::")[0]
    folder = file.rpartition("/")[0]
    return folder if folder in FOLDERS else GROUPS.get(file, file)


def in_order(items: list[pytest.Item]) -> None:
    """Put the longest file before all others and long ones before short ones; the others keep their order."""
    items.sort(key=lambda item: _rank(item.nodeid))


def _rank(nodeid: str) -> tuple[int, bool]:
    file = nodeid.partition("::")[0]
    if file == FIRST:
        return 0, False
    if nodeid.startswith("tests/unit/"):
        return 1, False
    name = together(nodeid)
    return 2 + (AFTER_UNITS.index(name) if name in AFTER_UNITS else len(AFTER_UNITS)), file not in CLEAN


def share_of_ports(all_ports: range, process: str, count: int) -> range:
    """The ports that one of several processes picks from.

    Args:
        process: `gw0`, `gw1`, ...
        count: how many processes there are.
    """
    length = len(all_ports) // count
    start = all_ports.start + int(process.removeprefix("gw")) * length
    return range(start, start + length)


def take_interrupts() -> None:
    """Let SIGINT interrupt: a shell makes what it starts in the background ignore it, and children inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def take_own_ports() -> None:
    """In a process of several, let `free_ports` pick where no other process of the run does."""
    process = environ.get("PYTEST_XDIST_WORKER")
    if process is not None:
        count = int(environ["PYTEST_XDIST_WORKER_COUNT"])
        ports.AUTOMATIC_PORTS = share_of_ports(ports.AUTOMATIC_PORTS, process, count)
