"""What a run ran on, and what processes used of it."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil


def facts() -> dict[str, Any]:
    """The machine and how busy it is now; nothing that names it."""
    return {
        "cores": psutil.cpu_count() or 0,
        "cpu": _cpu_model(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_average_before": [round(load, 2) for load in os.getloadavg()],
        "system": platform.system(),
        "python": platform.python_version(),
    }


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@dataclass
class Usage:
    """Processor time of some processes from its making on, and the memory of each as it is noted.

    Args:
        pids: by the name that the figures carry.
    """

    pids: Mapping[str, int]
    resident: dict[str, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._processes = {name: psutil.Process(pid) for name, pid in self.pids.items()}
        self._before = self._seconds()
        self._machine_before = _busy_seconds()

    def _seconds(self) -> dict[str, float]:
        return {name: sum(process.cpu_times()[:2]) for name, process in self._processes.items()}

    def note_memory(self) -> None:
        """Take one sample of every process."""
        for name, process in self._processes.items():
            self.resident.setdefault(name, []).append(process.memory_info().rss)

    def cpu_seconds(self) -> dict[str, float]:
        """Used since the start, by name; `everything else` is the rest of the machine."""
        now = self._seconds()
        used = {name: now[name] - self._before[name] for name in now}
        rest = _busy_seconds() - self._machine_before - sum(used.values())
        return {**used, "everything else": max(0.0, rest)}


def disk_faults(pid: int) -> int:
    """How often a process has waited for a page of its memory, nearly all of them of files, to come from disk."""
    # The command's name may hold blanks; behind it, the tenth field is `majflt` (proc_pid_stat(5)).
    return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[9])


def _busy_seconds() -> float:
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0))
