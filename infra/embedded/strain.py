"""How long a service may be silent on a machine that has too little processor time for all.

Comes in: the machine's load, and whether a process was stopped by a signal. Goes out: a factor for time limits. To kill
a starved service and start it anew takes even more processor time, and then the next service starves.
"""

from __future__ import annotations

import os

import psutil

# Threads that want to run, a processor: with these a service still answers.
_CALM_THREADS = 4.0
MOST_PATIENCE = 5.0


def patience() -> float:
    """By how much time limits are stretched now: 1 on a machine that keeps up, 5 at most."""
    return patience_at(os.getloadavg()[0], os.cpu_count() or 1)


def patience_at(load: float, processors: int) -> float:
    """By how much time limits are stretched at a load.

    Args:
        load: how many threads want to run, in the mean of a minute.
    """
    return min(MOST_PATIENCE, max(1.0, load / processors / _CALM_THREADS))


def is_stopped(pid: int) -> bool:
    """Whether a signal stopped the process, so that no processor time helps it."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    except psutil.Error:
        return False
