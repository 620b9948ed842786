"""Child processes that never outlive their parent: spawn, signal a whole process group, and the watchdog.

Each child leads its own session. So Ctrl-C at the terminal reaches the parent alone, and a signal to the child's group
reaches everything that the child started. Two ties end a child with its parent, and either is enough: the kernel's
parent-death signal (Linux), and a watchdog process that reads a pipe (any system; it ends grandchildren too).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

LAUNCHER = Path(__file__).with_name("launch.py")
WATCHDOG = Path(__file__).with_name("watchdog.py")
POLL_SECONDS = 0.02


def tied(argv: Sequence[str]) -> list[str]:
    """A command that runs `argv` tied to the calling thread: on Linux the kernel kills the program with the thread."""
    return [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), *argv]


class Watchdog:
    """A process that kills the registered process groups when this process dies; a context manager."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter and a file beside this one
            [sys.executable, "-I", "-S", str(WATCHDOG)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill the groups that are still registered, and end the watchdog."""
        if self._process is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.communicate()

    @property
    def pid(self) -> int:
        """The process id of the watchdog."""
        assert self._process is not None
        return self._process.pid

    def add(self, group: int) -> None:
        """Have the watchdog kill a process group when this process dies."""
        self._send(f"+{group}\n")

    def remove(self, group: int) -> None:
        """Have the watchdog forget a process group that has ended."""
        self._send(f"-{group}\n")

    def _send(self, line: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with self._lock, contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()


def _opened(log: Path) -> BinaryIO:
    """The log, opened for appending; the null device when a full disk has no space for one more file."""
    try:
        return log.open("ab")
    except OSError:
        return open(os.devnull, "ab")


class Child:
    """A running program that leads its own session and process group.

    The kernel ties a child to the thread that spawned it, so children are spawned from the main thread only.
    """

    def __init__(self, process: subprocess.Popen[bytes], watchdog: Watchdog) -> None:
        self._process = process
        self._watchdog = watchdog
        self._registered = True

    @classmethod
    def spawn(
        cls,
        argv: Sequence[str],
        *,
        watchdog: Watchdog,
        log: Path,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> Child:
        """Start a program; its output is appended to `log`.

        Args:
            environment: the whole environment; None passes this process's own down.
            folder: its working folder; None keeps this process's own.
        """
        command = list(argv)
        if threading.current_thread() is threading.main_thread():
            command = tied(command)
        with _opened(log) as output:
            process = subprocess.Popen(  # noqa: S603 - what to run is the caller's business; no shell
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=None if environment is None else dict(environment),
                cwd=folder,
                start_new_session=True,
            )
        watchdog.add(process.pid)
        return cls(process, watchdog)

    @property
    def pid(self) -> int:
        """The program's process id, which is also the id of its process group."""
        return self._process.pid

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while the program runs.

        When the program has ended, processes that it left in its group are killed.
        """
        code = self._process.poll()
        if code is not None and self._registered:
            self._registered = False
            self.signal_group(signal.SIGKILL)
            self._watchdog.remove(self.pid)
        return code

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to every process of the program's group; does nothing when all have ended."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def stop(self, timeout_seconds: float) -> int:
        """Ask the program to end, and kill its group after `timeout_seconds`; returns the exit code; blocks."""
        if (code := self.poll()) is not None:
            return code
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        deadline = time.monotonic() + timeout_seconds
        while (code := self.poll()) is None and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        if code is None:
            self.signal_group(signal.SIGKILL)
            self._process.wait()
            code = self.poll()
        assert code is not None
        return code

    def terminate(self) -> None:
        """Ask the program, and not its whole group, to end: the program stops its own children."""
        if self._process.poll() is None:
            self._process.terminate()
