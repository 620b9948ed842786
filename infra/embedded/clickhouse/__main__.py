"""`python -m infra.embedded.clickhouse`: ClickHouse's HTTP interface on the embedded engine.

Passwords come from TIDEMARK_EMBEDDED_CLICKHOUSE_PASSWORD (user default; an empty one means that no password is asked
for), TIDEMARK_EMBEDDED_CLICKHOUSE_ANALYST_PASSWORD and TIDEMARK_EMBEDDED_CLICKHOUSE_BUILDER_PASSWORD (users analyst and
builder; each exists only with its password).
Exit code 0 after SIGTERM or SIGINT; 2 when the process cannot start, with one line on stderr that gives the reason.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import faulthandler
import os
import resource
import shutil
import socket
import ssl
import sys
from pathlib import Path

from infra.embedded.clickhouse.config import Settings, write_engine_config
from infra.embedded.clickhouse.confinement import confine, needed_to_read
from infra.embedded.clickhouse.errors import StartError
from infra.embedded.clickhouse.limits import Limits
from infra.embedded.clickhouse.lock import DirectoryLock
from infra.embedded.clickhouse.named import NamedUsers


def parse_settings(arguments: list[str]) -> tuple[Settings, bool]:
    """The settings from command line and environment, and whether the process may run as root unconfined."""
    parser = argparse.ArgumentParser(prog="python -m infra.embedded.clickhouse", description=__doc__)
    parser.add_argument("--path", type=Path, required=True, help="data directory; created where needed")
    parser.add_argument("--port", type=int, required=True, help="HTTP port; 0 takes a free one")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--database", default="tidemark", help="database of requests that name none; created at start")
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
        help="database that the user builder may change, besides databases named NAME_*; created at start where there"
        " is a user builder (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--analyst-slots", type=int, default=4, help="statements of the analyst that may run at once")
    parser.add_argument("--memory-mb", type=int, default=1536, help="memory limit of all statements together, in MiB")
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
        help="free space of the disk, in MiB, below which no statement may write (default: %(default)s)",
    )
    parser.add_argument(
        "--named-users", action="store_true", help="let user default make users by CREATE USER and GRANT"
    )
    parser.add_argument("--certificate", type=Path, help="PEM file; with it and --key the interface speaks https alone")
    parser.add_argument("--key", type=Path, help="PEM file of the certificate's key")
    given = parser.parse_args(arguments)
    if (given.certificate is None) != (given.key is None):
        parser.error("--certificate and --key belong together")
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
        has_named_users=given.named_users,
        certificate=given.certificate,
        key=given.key,
    )
    return settings, given.allow_root


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket that listens on the address; clients that connect before the engine is open wait.

    Raises:
        StartError: the port is taken, or the address is none of this machine's.
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
    """Raise the limit of open files to the most allowed: each of the engine's threads and column files needs some."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def root_refusal(standing: list[str], *, root: bool, allowed: bool) -> str | None:
    """The reason why this process must not go on as root; None where it may go on.

    Args:
        standing: the walls around the process, as `confine` returns them.
        allowed: whether the operator allows running as root without these walls.
    """
    if not root or allowed or "landlock" in standing:
        return None
    return (
        "runs as root, and this kernel has no Landlock to keep the process in its data folder;"
        " run it as another user, or allow root with --allow-root (TIDEMARK_EMBEDDED_CLICKHOUSE_ALLOW_ROOT=1)"
    )


def _confine(settings: Settings, *, allow_root: bool) -> None:
    """Confine the process, and write a line to stderr for each wall that this system lacks.

    Raises:
        StartError: the process would run as root and unconfined.
    """
    # The engine makes folders in the system's temporary folder when it is loaded.
    settings.temporary_path.mkdir(parents=True, exist_ok=True)
    os.environ["TMPDIR"] = str(settings.temporary_path.resolve())
    folders = [settings.engine_path, settings.spool_path, settings.temporary_path]
    if settings.has_named_users:
        folders.append(settings.users_path)
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


def _tls(settings: Settings) -> ssl.SSLContext | None:
    """What the listener needs for https; None for http.

    Raises:
        StartError: certificate and key can't be used.
    """
    if settings.certificate is None:
        return None
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        made.load_cert_chain(settings.certificate, settings.key)
    except OSError as error:
        raise StartError(f"certificate {settings.certificate} or its key can't be used: {error}") from error
    return made


def main(arguments: list[str]) -> int:
    """Run the process until a signal stops it, and return its exit code."""
    settings, allow_root = parse_settings(arguments)
    # Should the engine's code crash, the log says in which call.
    faulthandler.enable()
    raise_open_files_limit()
    try:
        listener = bound_socket(settings.host, settings.port)
        lock = DirectoryLock(settings.path)
        shutil.rmtree(settings.spool_path, ignore_errors=True)
        shutil.rmtree(settings.temporary_path, ignore_errors=True)
        tls = _tls(settings)
        settings.users_path.mkdir(parents=True, exist_ok=True)
        named = NamedUsers(settings.users_path / "users.json") if settings.has_named_users else None
        config = write_engine_config(settings, None if named is None else named.grants)
        _confine(settings, allow_root=allow_root)
        # Imported only now: the engine starts threads when it is loaded, and a thread is confined only if it starts
        # after the process is confined.
        from infra.embedded.clickhouse.serving import run

        run(settings, config, listener, named, tls)
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
