"""Class archives: what a Java engine loads at its start, as it lies in memory afterwards, kept beside its files.

Comes in: names of engines. Goes out: the archives that are missing, made by `python -m infra.embedded.class_archives
kafka registry`; `jvm.archive_options` starts an engine with its own. Kafka is then ready with half of the processor
time, the registry with three quarters. An archive is of one JVM and of these very jars, which its name says and the JVM
checks; one that is damaged or of something else is passed over, so no start depends on any.
Source: docs/decisions/0026-class-archives.md.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from filelock import FileLock, Timeout

from infra.embedded import artifacts, jvm
from infra.embedded.errors import EmbeddedError
from infra.embedded.kafka import single_broker
from infra.embedded.ports import free_ports
from infra.embedded.processes import tied
from infra.embedded.registry import Registry

ROOT = Path(__file__).parents[2]
MINIMUM_FREE_BYTES = 1024 * 1024 * 1024
READY_SECONDS = 120.0
STOP_SECONDS = 20.0
DUMP_SECONDS = 300.0
POLL_SECONDS = 0.2
OLD_SECONDS = 30 * 24 * 60 * 60.0
_LOWEST_PRIORITY = 19
_SCRATCH = ".archive-"
_LOCK = "class-archives.lock"


class Engine(Protocol):
    """An engine that can be started to see what it loads."""

    def prepare(self) -> None:
        """Make its folder ready for a start."""

    def command(self) -> list[str]:
        """Runs it in the foreground."""

    def answers(self) -> bool:
        """Whether it is ready."""


class Making:
    """A process that makes the missing archives, and ends with the context if it has not done so before.

    Args:
        environment: its whole environment.
    """

    def __init__(self, engines: Sequence[str], environment: Mapping[str, str]) -> None:
        self._engines = engines
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def begin(self) -> None:
        """Start it, unless nothing is missing; to be called once the engines run, since it takes a minute."""
        if names := missing(self._engines):
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter and this module
                tied([sys.executable, "-m", __name__, *names]), env=dict(self._environment), cwd=ROOT,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            # Its engine is in its group.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def missing(engines: Iterable[str]) -> list[str]:
    """Those of some engines that have no archive yet."""
    return [name for name in engines if not jvm.archive_of(_folder(name)).exists()]


def make(name: str) -> bool:
    """Start an engine on an empty folder, write down what it loads, and make the archive of it; blocks for a while.

    Returns:
        Whether the archive is there now. It appears by one rename.
    """
    target = jvm.archive_of(_folder(name))
    with _scratch(target.parent) as scratch:
        classes, made = scratch / "classes", scratch / target.name
        engine = _engine(name, scratch)
        engine.prepare()
        command = engine.command()
        if not _listed([command[0], f"-XX:DumpLoadedClassList={classes}", *command[1:]], engine, classes):
            return False
        dump = ["-Xshare:dump", f"-XX:SharedClassListFile={classes}", f"-XX:SharedArchiveFile={made}"]
        with suppress(subprocess.TimeoutExpired):
            subprocess.run(  # noqa: S603 - a fixed command, no shell
                tied(jvm.java_command(jvm.ARCHIVING_HEAP_MEBIBYTES, scratch, *dump, "-cp", _class_path(name))),
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=DUMP_SECONDS, check=False,
            )  # fmt: skip
        if not made.exists():
            return False
        made.chmod(0o600)
        made.replace(target)
        _remove_old(target)
    return True


def _engine(name: str, scratch: Path) -> Engine:
    if name == artifacts.KAFKA:
        return single_broker(scratch / name, *free_ports(2))
    return Registry(scratch / name, free_ports(1)[0])


def _folder(name: str) -> Path:
    return artifacts.ensure(name)[name]


def _class_path(name: str) -> str:
    """As the engine's own command has it: the JVM compares them."""
    folder = _folder(name)
    return f"{folder}/*" if name == artifacts.KAFKA else str(folder / "quarkus-run.jar")


def _listed(command: Sequence[str], engine: Engine, classes: Path) -> bool:
    """Run an engine until it answers; whether the list of its classes was written, which its end completes."""
    process = subprocess.Popen(  # noqa: S603 - the engine's own command
        tied(command), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + READY_SECONDS
    is_ready = False
    while process.poll() is None and time.monotonic() < deadline and not is_ready:
        time.sleep(POLL_SECONDS)
        is_ready = engine.answers()
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    return is_ready and classes.exists()


@contextmanager
def _scratch(root: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=root, prefix=_SCRATCH, ignore_cleanup_errors=True) as name:
        yield Path(name)


def _remove_old(target: Path) -> None:
    """Archives of an engine for other JVMs; one that is still in use somewhere is made again by its next start."""
    engine = target.name.partition("-")[0]
    for path in target.parent.glob(f"{engine}-*{target.suffix}"):
        if path != target and time.time() - path.stat().st_mtime > OLD_SECONDS:
            path.unlink(missing_ok=True)


def main(engines: Sequence[str]) -> int:
    """Make what is missing, at the lowest priority, unless another process does or the disk is nearly full.

    Returns:
        0 when nothing is missing any more, or another process is at it.
    """
    os.nice(_LOWEST_PRIORITY)
    root = artifacts.cache_dir()
    try:
        with FileLock(root / _LOCK, timeout=0):
            # Of processes that were killed: whoever holds the lock is alone.
            for abandoned in root.glob(f"{_SCRATCH}*"):
                shutil.rmtree(abandoned, ignore_errors=True)
            for name in missing(engines):
                if shutil.disk_usage(root).free < MINIMUM_FREE_BYTES:
                    return 1
                make(name)
            return 1 if missing(engines) else 0
    except Timeout:
        return 0
    except (EmbeddedError, OSError):
        return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
