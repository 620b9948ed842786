"""Becomes a supervised program: ties its life to the supervisor's, then replaces itself with it (same pid).

Run as a script, not imported: `python -I -S launch.py SUPERVISOR_PID PROGRAM ARGUMENT...`. The tie has to be made in
the child process, and Python code between fork and exec is not safe in a process with threads; hence a program of its
own. This tie is Linux's own; on other systems the watchdog process alone ends the children.
"""

import os
import sys

PR_SET_PDEATHSIG = 1
SIGKILL = 9


def main(arguments: list[str]) -> None:
    """Tie, check that the supervisor is still there, exec; never returns normally."""
    supervisor_pid, program = int(arguments[0]), arguments[1:]
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, SIGKILL)
        if os.getppid() != supervisor_pid:
            raise SystemExit(f"the supervisor {supervisor_pid} is gone")
    try:
        os.execvp(program[0], program)  # noqa: S606 - the purpose of this script
    except OSError as error:
        raise SystemExit(f"cannot run {program[0]}: {error.strerror}") from None


if __name__ == "__main__":
    main(sys.argv[1:])
