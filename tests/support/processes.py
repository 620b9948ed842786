"""A test run in several processes (pytest-xdist): which tests stay together, and which ports each process picks from.

Each process has engines of its own, and fixtures of a module are built once where its tests run in one process. So a
file is never split, and tests of several files that share something larger have a mark `xdist_group` in common.
"""

from __future__ import annotations

from os import environ

from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from infra.embedded import ports


class FilesTogether(LoadScopeScheduling):  # type: ignore[misc]  # pytest-xdist has no types
    """Hands out whole groups, and whole files where a test has no group."""

    def _split_scope(self, nodeid: str) -> str:
        return together(nodeid)


def together(nodeid: str) -> str:
    """The group of a test, or its file where it has none.

    Args:
        nodeid: of a run with `--dist loadgroup`, which writes `@<group>` behind it.
    """
    # Parameters in brackets may hold an @ of their own.
    if nodeid.rfind("@") > nodeid.rfind("]"):
        return nodeid.rpartition("@")[2]
    return nodeid.partition("::")[0]


def share_of_ports(all_ports: range, process: str, count: int) -> range:
    """The ports that one of several processes picks from.

    Args:
        process: `gw0`, `gw1`, ...
        count: how many processes there are.
    """
    length = len(all_ports) // count
    start = all_ports.start + int(process.removeprefix("gw")) * length
    return range(start, start + length)


def take_own_ports() -> None:
    """In a process of several, let `free_ports` pick where no other process of the run does."""
    process = environ.get("PYTEST_XDIST_WORKER")
    if process is not None:
        count = int(environ["PYTEST_XDIST_WORKER_COUNT"])
        ports.AUTOMATIC_PORTS = share_of_ports(ports.AUTOMATIC_PORTS, process, count)
