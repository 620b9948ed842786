"""`python -m infra.embedded.clickhouse`: ClickHouse's HTTP interface on the embedded engine.

Passwords come from TIDEMARK_EMBEDDED_CLICKHOUSE_PASSWORD (user default; empty means none is asked for) and
TIDEMARK_EMBEDDED_CLICKHOUSE_ANALYST_PASSWORD (user analyst; without it there is no such user).
Exit code 0 after SIGTERM or SIGINT, 2 when it cannot start, with one line on stderr that says why.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import os
import resource
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import uvicorn
import uvloop

from infra.embedded.clickhouse.access import Users
from infra.embedded.clickhouse.app import Server
from infra.embedded.clickhouse.config import Settings, write_engine_config
from infra.embedded.clickhouse.disk import DiskGuard
from infra.embedded.clickhouse.engine import Engine, quoted_identifier
from infra.embedded.clickhouse.errors import StartError
from infra.embedded.clickhouse.lock import DirectoryLock

_STATEMENTS_MAY_FINISH_SECONDS = 8.0
_CANCELLED_MAY_FINISH_SECONDS = 2.0


class _HttpServer(uvicorn.Server):
    """uvicorn without its signal handling, which would end the process by the signal instead of with 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def parse_settings(arguments: list[str]) -> Settings:
    """Settings from the command line and the environment."""
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
    parser.add_argument("--memory-mb", type=int, default=1536, help="limit of all statements together")
    parser.add_argument("--handles", type=int, default=16, help="statements that may run at once")
    parser.add_argument("--insert-mb", type=int, default=1024, help="limit of one INSERT's data (default: %(default)s)")
    parser.add_argument(
        "--keep-free-mb",
        type=int,
        default=256,
        help="of the disk; with less, nothing is written (default: %(default)s)",
    )
    given = parser.parse_args(arguments)
    return Settings(
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
    )


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


async def serve(settings: Settings, engine: Engine, guard: DiskGuard, listener: socket.socket) -> None:
    """Serves until SIGTERM or SIGINT, then lets running statements finish for a while."""
    server = Server(
        engine, Users(settings), spool=settings.spool_path, default_database=settings.database,
        insert_bytes=settings.insert_bytes, guard=guard,
    )  # fmt: skip
    http = _HttpServer(
        uvicorn.Config(
            server.app(), loop="uvloop", http="httptools", ws="none", lifespan="off", log_level="critical",
            access_log=False, server_header=False, timeout_keep_alive=600, backlog=1024,
        )
    )  # fmt: skip
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    serving = asyncio.create_task(http.serve(sockets=[listener]))
    host, port = listener.getsockname()[:2]
    sys.stdout.write(f"clickhouse: ready on http://{host}:{port}, chDB {engine.version}, data in {settings.path}\n")
    sys.stdout.flush()
    await asyncio.wait({serving, asyncio.create_task(stopped.wait())}, return_when=asyncio.FIRST_COMPLETED)
    http.should_exit = True
    await asyncio.wait({serving}, timeout=_STATEMENTS_MAY_FINISH_SECONDS)
    if not serving.done():
        await server.cancel_all()
        await asyncio.wait({serving}, timeout=_CANCELLED_MAY_FINISH_SECONDS)


def raise_open_files_limit() -> None:
    """Lets this process open as many files as it may: each of the engine's threads and column files takes some."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main(arguments: list[str]) -> int:
    """Runs the process and returns its exit code."""
    settings = parse_settings(arguments)
    raise_open_files_limit()
    try:
        listener = bound_socket(settings.host, settings.port)
        lock = DirectoryLock(settings.path)
        shutil.rmtree(settings.spool_path, ignore_errors=True)
        settings.spool_path.mkdir()
        config = write_engine_config(settings)
        engine = Engine(str(settings.engine_path.resolve()), str(config.resolve()), handles=settings.handles)
        engine.control(f"CREATE DATABASE IF NOT EXISTS {quoted_identifier(settings.database)}")
        guard = DiskGuard(settings.path, settings.keep_free_bytes, engine)
    except StartError as error:
        sys.stderr.write(f"clickhouse: {error}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"clickhouse: cannot write {error.filename or settings.path} ({error.strerror})\n")
        return 2
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings, engine, guard, listener))
    guard.close()
    engine.close()
    del lock
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # Everything is closed and durable by now; the engine's own teardown of static objects is skipped, since
    # threads of a statement that would not stop may still be in it.
    os._exit(code)
