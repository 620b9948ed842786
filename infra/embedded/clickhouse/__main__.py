"""`python -m infra.embedded.clickhouse`: ClickHouse's HTTP interface on the embedded engine.

Passwords come from TIDEMARK_EMBEDDED_CLICKHOUSE_PASSWORD (user default; empty means none is asked for),
TIDEMARK_EMBEDDED_CLICKHOUSE_ANALYST_PASSWORD (user analyst; without it there is no such user) and
TIDEMARK_EMBEDDED_CLICKHOUSE_BUILDER_PASSWORD (user builder, likewise).
Exit code 0 after SIGTERM or SIGINT, 2 when it cannot start, with one line on stderr that says why.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import resource
import shutil
import socket
import sys
from pathlib import Path

from infra.embedded.clickhouse.config import Settings, write_engine_config
from infra.embedded.clickhouse.confinement import confine, needed_to_read
from infra.embedded.clickhouse.errors import StartError
from infra.embedded.clickhouse.limits import Limits
from infra.embedded.clickhouse.lock import DirectoryLock


def parse_settings(arguments: list[str]) -> tuple[Settings, bool]:
    """Settings from the command line and the environment, and whether it may run as root unconfined."""
    parser = argparse.ArgumentParser(prog="python -m infra.embedded.clickhouse", description=__doc__)
    parser.add_argument("--path", type=Path, required=True, help="data directory; created where needed")
    parser.add_argument("--port", type=int, required=True, help="HTTP port; 0 takes a free one")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--database", default="tidemark", help="created at start; for requests that name none")
    parser.add_argument(
        "--analyst-database", action="append", default=[], metavar="NAME",
        help="a database that the analyst may read besides --database; repeatable; NAME* stands for a prefix",
    )  # fmt: skip
    parser.add_argument(
        "--analyst-hide", action="append", default=[], metavar="PATTERN",
        help="tables that the analyst may not name, besides those beginning with _; repeatable; * and ? match",
    )  # fmt: skip
    parser.add_argument(
        "--builder-database", default="analytics", metavar="NAME",
        help="created at start where there is a user builder, who may change it and databases named NAME_*"
        " (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--analyst-slots", type=int, default=4, help="statements of the analyst that may run at once")
    parser.add_argument("--memory-mb", type=int, default=1536, help="limit of all statements together")
    parser.add_argument("--handles", type=int, default=16, help="statements that may run at once")
    parser.add_argument(
        "--allow-root", action="store_true",
        default=os.environ.get("TIDEMARK_EMBEDDED_CLICKHOUSE_ALLOW_ROOT", "") not in ("", "0", "false"),
        help="run as root even where the kernel cannot confine the process to its folder",
    )  # fmt: skip
    parser.add_argument("--insert-mb", type=int, default=1024, help="limit of one INSERT's data (default: %(default)s)")
    parser.add_argument(
        "--keep-free-mb",
        type=int,
        default=256,
        help="of the disk; with less, nothing is written (default: %(default)s)",
    )
    given = parser.parse_args(arguments)
    settings = Settings(
        path=given.path,
        port=given.port,
        host=given.host,
        database=given.database,
        analyst_databases=tuple(given.analyst_database),
        analyst_hidden=("_*", *given.analyst_hide),
        memory_bytes=given.memory_mb * 1024 * 1024,
        handles=given.handles,
        insert_bytes=given.insert_mb * 1024 * 1024,
        keep_free_bytes=given.keep_free_mb * 1024 * 1024,
        password=os.environ.get("TIDEMARK_EMBEDDED_CLICKHOUSE_PASSWORD", ""),
        analyst_password=os.environ.get("TIDEMARK_EMBEDDED_CLICKHOUSE_ANALYST_PASSWORD"),
        analyst_limits=Limits(slots=given.analyst_slots, memory_bytes=given.memory_mb * 1024 * 1024 // 8),
        builder_password=os.environ.get("TIDEMARK_EMBEDDED_CLICKHOUSE_BUILDER_PASSWORD"),
        builder_database=given.builder_database,
        builder_limits=Limits(slots=2, seconds=300, memory_bytes=given.memory_mb * 1024 * 1024 // 4),
    )
    return settings, given.allow_root


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket that listens on the address; who connects before the engine is open waits for it.

    Raises:
        StartError: the address is taken or not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(1024)
    except (OSError, OverflowError) as error:
        listener.close()
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            reason = "is taken; stop what uses it or choose another with --port (0 takes a free one)"
        else:
            reason = f"cannot be used ({error}); choose another with --host and --port"
        raise StartError(f"port {port} on {host} {reason}") from error
    return listener


def raise_open_files_limit() -> None:
    """Lets this process open as many files as it may: each of the engine's threads and column files takes some."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def root_refusal(standing: list[str], *, root: bool, allowed: bool) -> str | None:
    """Why this process must not go on as root; None where it may.

    Args:
        standing: the walls around it, as `confine` gives them.
        allowed: whether somebody said that it may run as root without them.
    """
    if not root or allowed or "landlock" in standing:
        return None
    return (
        "runs as root, and this kernel has no Landlock to keep it in its data folder;"
        " run it as another user, or allow it with --allow-root (TIDEMARK_EMBEDDED_CLICKHOUSE_ALLOW_ROOT=1)"
    )


def _confine(settings: Settings, *, allow_root: bool) -> None:
    """Gives up what the process does not need, and writes a line where that is not all that it could be.

    Raises:
        StartError: it would run as root and unconfined.
    """
    # The engine makes folders in the system's temporary folder when it is loaded.
    settings.temporary_path.mkdir(parents=True, exist_ok=True)
    os.environ["TMPDIR"] = str(settings.temporary_path.resolve())
    folders = [settings.engine_path, settings.spool_path, settings.temporary_path]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    standing = confine(write=folders, read=[*needed_to_read(), settings.path])
    root = os.geteuid() == 0
    refused = root_refusal(standing, root=root, allowed=allow_root)
    if refused is not None:
        raise StartError(refused)
    missing = sorted({"landlock", "seccomp"} - set(standing))
    if missing:
        sys.stderr.write(
            f"clickhouse: this system has no {' and no '.join(missing)}: only the judging of statements keeps user"
            " analyst from files and connections\n"
        )
    elif root:
        sys.stderr.write("clickhouse: runs as root, confined to its data folder and without root's powers\n")


def main(arguments: list[str]) -> int:
    """Runs the process and returns its exit code."""
    settings, allow_root = parse_settings(arguments)
    raise_open_files_limit()
    try:
        listener = bound_socket(settings.host, settings.port)
        lock = DirectoryLock(settings.path)
        shutil.rmtree(settings.spool_path, ignore_errors=True)
        shutil.rmtree(settings.temporary_path, ignore_errors=True)
        config = write_engine_config(settings)
        _confine(settings, allow_root=allow_root)
        # Not before: the engine starts threads as soon as it is loaded, and a thread is confined from its start.
        from infra.embedded.clickhouse.serving import run

        run(settings, config, listener)
    except StartError as error:
        sys.stderr.write(f"clickhouse: {error}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"clickhouse: cannot write {error.filename or settings.path} ({error.strerror})\n")
        return 2
    del lock
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # Everything is closed and durable by now; the engine's own teardown of static objects is skipped, since
    # threads of a statement that would not stop may still be in it.
    os._exit(code)
