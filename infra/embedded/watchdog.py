"""Kills the process groups of a supervisor that is gone, however it went.

Run as a script by `processes.Watchdog`. Standard input is a pipe that only the supervisor holds open: lines
`+GROUP` and `-GROUP` add and remove process groups; its end means that the supervisor is dead, and every group
that is left is killed. It uses the standard library alone and outlives everything it watches.
"""

import contextlib
import os
import signal
import sys


def main() -> None:
    """Read until the pipe ends, then kill the process groups that are left."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        group = int(line[1:])
        if line.startswith("+"):
            groups.add(group)
        else:
            groups.discard(group)
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
