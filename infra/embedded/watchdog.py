"""Kills the process groups of a supervisor that is gone, whatever ended it.

Run as a script by `processes.Watchdog`. Standard input is a pipe that only the supervisor holds open: lines
`+GROUP` and `-GROUP` add and remove process groups. The end of the pipe means that the supervisor is dead; then every
group that is left is killed. The script uses the standard library alone and outlives every process that it watches.
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
