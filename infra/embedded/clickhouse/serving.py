"""The life of the process once it is confined: opens the engine, serves requests, and ends both in order.

In: settings and a listening socket. Out: replies, until a signal. Importing this module loads the engine.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import uvicorn
import uvloop

from infra.embedded.clickhouse.access import Users
from infra.embedded.clickhouse.app import Server
from infra.embedded.clickhouse.config import Settings
from infra.embedded.clickhouse.disk import DiskGuard
from infra.embedded.clickhouse.engine import Engine, quoted_identifier
from infra.embedded.clickhouse.grammar import EngineGrammar
from infra.embedded.clickhouse.guests import Guests
from infra.embedded.clickhouse.named import NamedUsers
from infra.embedded.clickhouse.rights import Rights
from services.runtime.http_limits import HttpLimits, limited_protocol

_STATEMENTS_MAY_FINISH_SECONDS = 8.0
_CANCELLED_MAY_FINISH_SECONDS = 2.0
_MOST_CONNECTIONS = 1000
# Statements may come in the address.
_ADDRESS_BYTES = 64 * 1024
# `request` refuses shorter heads already, with ClickHouse's own error.
_HEAD_BYTES = 256 * 1024
_MOST_HEADERS = 1000
# Allowance for a form's parts around an INSERT's data.
_FORM_BYTES = 8 * 1024 * 1024
# `request` gives a body up earlier, with ClickHouse's own error.
_BODY_SECONDS = 60.0
# The query API reads as slowly as its own callers do. Guests' replies have a shorter limit of their own.
_UNREAD_SECONDS = 120.0


class _HttpServer(uvicorn.Server):
    """uvicorn without its signal handling, which would end the process by the signal instead of with exit code 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _serve(
    settings: Settings,
    engine: Engine,
    guard: DiskGuard,
    listener: socket.socket,
    named: NamedUsers | None,
    tls: ssl.SSLContext | None,
) -> None:
    """Serve until SIGTERM or SIGINT, then give running statements some time to finish."""
    users = Users(settings, named)
    grammar = EngineGrammar(engine)
    limits_by_name = {"analyst": settings.analyst_limits, "builder": settings.builder_limits}
    guests = {name: Guests(name, users, grammar, limits) for name, limits in limits_by_name.items()}
    server = Server(
        engine, users, guests, spool=settings.spool_path, default_database=settings.database,
        insert_bytes=settings.insert_bytes, guard=guard,
        rights=None if named is None else Rights(settings, named, engine, grammar),
    )  # fmt: skip
    limits = HttpLimits(
        target_bytes=_ADDRESS_BYTES, head_bytes=_HEAD_BYTES, headers=_MOST_HEADERS,
        body_bytes=settings.insert_bytes + _FORM_BYTES, body_seconds=_BODY_SECONDS,
        unread_seconds=_UNREAD_SECONDS, connections=_MOST_CONNECTIONS, connections_by_address=_MOST_CONNECTIONS,
    )  # fmt: skip
    config = uvicorn.Config(
        server.app(), loop="uvloop", http=limited_protocol(limits), ws="none", lifespan="off", log_level="critical",
        access_log=False, server_header=False, timeout_keep_alive=600, backlog=1024,
    )  # fmt: skip
    config.load()
    # Made before the process was confined: it may not read the certificate any more.
    config.ssl = tls
    http = _HttpServer(config)
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    serving = asyncio.create_task(http.serve(sockets=[listener]))
    host, port = listener.getsockname()[:2]
    origin = f"{'http' if tls is None else 'https'}://{host}:{port}"
    sys.stdout.write(f"clickhouse: ready on {origin}, chDB {engine.version}, data in {settings.path}\n")
    sys.stdout.flush()
    await asyncio.wait({serving, asyncio.create_task(stopped.wait())}, return_when=asyncio.FIRST_COMPLETED)
    http.should_exit = True
    await asyncio.wait({serving}, timeout=_STATEMENTS_MAY_FINISH_SECONDS)
    if not serving.done():
        await server.cancel_all()
        await asyncio.wait({serving}, timeout=_CANCELLED_MAY_FINISH_SECONDS)
    server.close()


def run(
    settings: Settings,
    config: Path,
    listener: socket.socket,
    named: NamedUsers | None = None,
    tls: ssl.SSLContext | None = None,
) -> None:
    """Open the engine and serve until SIGTERM or SIGINT.

    Args:
        named: the operator's users; None where there can be none.
        tls: with it the interface speaks https alone.

    Raises:
        StartError: the engine cannot open its data.
    """
    engine = Engine(
        str(settings.engine_path.resolve()),
        str(config.resolve()),
        handles=settings.handles,
        guests=settings.analyst_limits.slots + settings.builder_limits.slots,
    )
    engine.control(f"CREATE DATABASE IF NOT EXISTS {quoted_identifier(settings.database)}")
    if settings.builder_password is not None:
        engine.control(f"CREATE DATABASE IF NOT EXISTS {quoted_identifier(settings.builder_database)}")
    guard = DiskGuard(settings.path, settings.keep_free_bytes, engine)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, engine, guard, listener, named, tls))
    guard.close()
    engine.close()
