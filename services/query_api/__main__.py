"""Composition root: settings -> listening socket -> one process that serves, or several."""

from __future__ import annotations

import asyncio
import resource
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import uvicorn

from services.query_api.operators import OperatorsDoor
from services.query_api.service import Service
from services.query_api.settings import QueryApiSettings
from services.query_api.workers import run_workers
from services.runtime.heaps import share_heaps
from services.runtime.http_limits import HttpLimits, limited_protocol
from services.runtime.logging import configure_logging, get_logger
from services.runtime.neighbours import refuse_or_wait
from services.runtime.secrets import SecretsError, TokenCipher
from services.runtime.settings import exit_with, load_or_exit

log = get_logger(__name__)

# The supervisor gives a service 15 s to end; running requests get most of that time.
_GRACE_SECONDS = 8
_BACKLOG = 2048
# Open files of one process besides its callers' connections: Kafka, ClickHouse, the registry, logs.
_OTHER_FILES = 200
# How long a thread that parses a large payload may keep the interpreter from the event loop. The loop needs the
# interpreter after each wait, several times a request, so Python's own 5 ms would be too long.
_SWITCH_SECONDS = 0.0005
_SERVER_OPTIONS: dict[str, Any] = {
    "ws": "none",
    "loop": "uvloop",
    "log_config": None,
    "access_log": False,
    "server_header": False,
    "timeout_graceful_shutdown": _GRACE_SECONDS,
}


def main() -> None:
    """Run the query API until SIGTERM or Ctrl-C."""
    if any(argument in ("-h", "--help") for argument in sys.argv[1:]):
        print("Answers the insight endpoints of all products; settings are read from TIDEMARK_* variables.")  # noqa: T201
        return
    share_heaps()
    settings = load_or_exit(QueryApiSettings)
    cipher: TokenCipher | None = None
    if settings.secret_keys:
        try:
            cipher = TokenCipher(settings.secret_keys, unbound=settings.unbound_tokens)
        except SecretsError as error:
            exit_with(str(error))
    listener = _listen(settings)
    configure_logging("query_api", settings.log_level)
    sys.setswitchinterval(_SWITCH_SECONDS)
    for line in refuse_or_wait(settings, "query-api"):
        log.warning("a neighbour is waited for", problem=line)
    if settings.admin_key is None:
        log.warning("the admin API is closed: TIDEMARK_ADMIN_KEY is not set")
    if cipher is None:
        log.warning("channels with tokens can't be written: TIDEMARK_SECRET_KEYS is not set")
    address = f"http://{settings.query_api_host}:{listener.getsockname()[1]}"
    log.info("listening", address=address, workers=settings.query_api_workers)
    _open_door(settings, listener)
    options = _server_options(settings)
    if settings.query_api_workers > 1:
        code = run_workers(settings, listener, options)
        log.info("stopped")
        sys.exit(code)
    with asyncio.Runner(loop_factory=_event_loop) as runner:
        runner.run(_serve(settings, cipher, listener, options))
    log.info("stopped")


def _event_loop() -> asyncio.AbstractEventLoop:
    import uvloop

    return uvloop.new_event_loop()


def _listen(settings: QueryApiSettings) -> socket.socket:
    """Take the port before anything else starts, so that a taken port ends the start with one clear line."""
    host, port = settings.query_api_host, settings.query_api_port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        # From here on connections wait for the server, and are not refused.
        listener.listen(_BACKLOG)
    except OSError as error:
        exit_with(
            f"TIDEMARK_QUERY_API_HOST={host} TIDEMARK_QUERY_API_PORT={port} can't be opened"
            f" ({error.strerror or error}); set another port, or 0 for a free one"
        )
    return listener


def _server_options(settings: QueryApiSettings) -> dict[str, Any]:
    limits = HttpLimits.of(settings)
    _may_open(limits.connections + _OTHER_FILES)
    return {
        **_SERVER_OPTIONS,
        "http": limited_protocol(limits),
        "timeout_keep_alive": settings.http_keep_alive_seconds,
    }


def _may_open(files: int) -> None:
    """Raise this process's limit of open files to `files`; where that is impossible, name the setting to lower."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < files:
        if hard != resource.RLIM_INFINITY and hard < files:
            exit_with(
                f"TIDEMARK_HTTP_CONNECTIONS: this process may open {hard} files, and {files} are needed;"
                " lower the setting, or raise the system's limit (ulimit -n)"
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))


def _open_door(settings: QueryApiSettings, listener: socket.socket) -> None:
    host = settings.query_api_host
    origin = (host if host not in ("0.0.0.0", "::") else "localhost", listener.getsockname()[1])  # noqa: S104 - compared
    try:
        port = OperatorsDoor(settings.metrics_host, settings.metrics_port, origin).start()
    except OSError as error:
        exit_with(
            f"TIDEMARK_METRICS_HOST={settings.metrics_host} TIDEMARK_METRICS_PORT={settings.metrics_port}"
            f" can't be opened ({error}); set another port, or 0 for a free one"
        )
    log.info("answering operators", metrics=f"http://{settings.metrics_host}:{port}/metrics")


async def _serve(
    settings: QueryApiSettings, cipher: TokenCipher | None, listener: socket.socket, options: dict[str, Any]
) -> None:
    service = Service(settings, cipher)
    server = uvicorn.Server(uvicorn.Config(service.app, lifespan="off", **options))
    service.start()
    service.reloading.at_signal()
    try:
        await _run_until_signal(server, listener, service.end_streams)
    finally:
        await service.stop()


async def _run_until_signal(server: uvicorn.Server, listener: socket.socket, end_streams: Callable[[], None]) -> None:
    """Serve until a signal, which ends streams as well.

    A clean stop gives exit code 0, which uvicorn's own signal handling would not give.
    """
    loop = asyncio.get_running_loop()

    def stop() -> None:
        server.should_exit = True
        end_streams()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    # uvicorn's `serve` would install handlers of its own and raise the signal again at the end.
    server.capture_signals = nullcontext  # type: ignore[method-assign, assignment]  # takes no arguments, as here
    await server.serve([listener])


if __name__ == "__main__":
    main()
