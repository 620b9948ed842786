"""How long a service may be silent on a machine that has too little processor time for all.

Comes in: the machine's load, and whether a process was stopped by a signal. Goes out: a factor for time limits. Killing
a starved service and starting it anew would take even more processor time, and starve the next service.
"""

from __future__ import annotations

import os

import psutil

# Runnable threads for each processor at which services still answer in time.
_CALM_THREADS = 4.0
MOST_PATIENCE = 5.0


def patience() -> float:
    """The factor by which time limits are stretched now: 1 on a machine that keeps up, 5 at most."""
    return patience_at(os.getloadavg()[0], os.cpu_count() or 1)


def patience_at(load: float, processors: int) -> float:
    """The factor by which time limits are stretched at a load.

    Args:
        load: how many threads want to run, as a mean over one minute.
    """
    return min(MOST_PATIENCE, max(1.0, load / processors / _CALM_THREADS))


def is_stopped(pid: int) -> bool:
    """Whether a signal stopped the process, so that waiting does not help."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    except psutil.Error:
        return False
