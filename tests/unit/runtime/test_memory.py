"""How much memory there is, by the machine and by control groups of both versions."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from services.runtime.memory import room_bytes

MB = 1 << 20


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    class Machine:
        available = 1_000 * MB

    monkeypatch.setattr(psutil, "virtual_memory", Machine)


def groups(tmp_path: Path, own: str, limits: dict[str, str]) -> tuple[Path, Path]:
    for name, limit in limits.items():
        path = tmp_path / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{limit}\n")
    told = tmp_path / "own"
    told.write_text(own, encoding="utf-8", errors="surrogateescape")
    return tmp_path / "groups", told


@pytest.mark.parametrize(
    ("own", "limits", "room"),
    [
        ("0::/\n", {}, 1_000 * MB),
        ("0::/\n", {"memory.max": "max"}, 1_000 * MB),
        ("0::/\n", {"memory.max": str(512 * MB)}, 512 * MB),
        ("0::/a/b\n", {"a/memory.max": str(300 * MB), "a/b/memory.max": "max"}, 300 * MB),
        ("0::/a\n", {"a/memory.max": str(300 * MB), "a/memory.high": str(200 * MB)}, 200 * MB),
        # Another group's is not ours.
        ("0::/a\n", {"b/memory.max": str(300 * MB)}, 1_000 * MB),
        ("0::/a\n", {"a/memory.max": str(5_000 * MB)}, 1_000 * MB),
        ("5:cpu:/a\n4:memory:/a/b\n0::/\n", {"memory/a/memory.limit_in_bytes": str(400 * MB)}, 400 * MB),
        ("4:hugetlb,memory:/a\n", {"memory/a/memory.limit_in_bytes": str(400 * MB)}, 400 * MB),
        # A container sees the machine's path, and its own group as the root.
        ("4:memory:/docker/123\n", {"memory/memory.limit_in_bytes": str(256 * MB)}, 256 * MB),
        ("4:memory:/\n", {"memory/memory.limit_in_bytes": "9223372036854771712"}, 1_000 * MB),
        # What processes hold is not left; pages of files are.
        (
            "0::/a\n",
            {
                "a/memory.max": str(500 * MB),
                "a/memory.current": str(400 * MB),
                "a/memory.stat": f"anon {150 * MB}\nactive_file {100 * MB}\ninactive_file {140 * MB}\n",
            },
            340 * MB,
        ),
        (
            "4:memory:/a\n",
            {
                "memory/a/memory.limit_in_bytes": str(500 * MB),
                "memory/a/memory.usage_in_bytes": str(400 * MB),
                "memory/a/memory.stat": f"active_file 1\ntotal_active_file {MB}\ntotal_inactive_file {MB}\n",
            },
            102 * MB,
        ),
        ("0::/a\n", {"a/memory.max": str(5 * MB), "a/memory.current": str(9 * MB), "a/memory.stat": ""}, 5 * MB),
        (
            "0::/a\n",
            {
                "a/memory.high": str(5 * MB),
                "a/memory.current": str(9 * MB),
                "a/memory.stat": "active_file 0\ninactive_file 0\n",
            },
            0,
        ),
        ("0::/a\udcff\n", {"a/memory.max": str(5 * MB)}, 1_000 * MB),
        ("0::/../a:b\n", {"memory.max": str(100 * MB)}, 100 * MB),
        ("", {}, 1_000 * MB),
        ("strange\n", {}, 1_000 * MB),
    ],
)
def test_the_lowest_limit_counts(tmp_path: Path, own: str, limits: dict[str, str], room: int) -> None:
    assert room_bytes(*groups(tmp_path, own, limits)) == room


def test_without_control_groups_the_machine_counts(tmp_path: Path) -> None:
    assert room_bytes(tmp_path / "none", tmp_path / "no file") == 1_000 * MB
