"""Composition root: settings -> clients -> application -> server. Nothing else builds a client."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from contextlib import nullcontext

import uvicorn

from services.query_api.admin.catalog import Catalog
from services.query_api.admin.keys import Keys
from services.query_api.admin.routes import Admin
from services.query_api.admin.vault import TokenVault
from services.query_api.app import Parts, create_app
from services.query_api.auth import AdminKey, KeyRing
from services.query_api.cache import AnswerCache
from services.query_api.clickhouse import ClickHouse
from services.query_api.directory import Directory
from services.query_api.drops import DropFeed
from services.query_api.feed import CatalogFeed
from services.query_api.limits import RateLimiter
from services.query_api.live import LiveReads
from services.query_api.observability import CACHE_BYTES
from services.query_api.poller_link import PollerLink
from services.query_api.publisher import Codecs, KafkaPublisher
from services.query_api.read_model import ClickHouseReadModel, WindowRow
from services.query_api.replies import Reply
from services.query_api.settings import QueryApiSettings
from services.query_api.tidemark.endpoint import Sources
from services.runtime.clock import SystemClock
from services.runtime.logging import configure_logging, get_logger
from services.runtime.registry import Registry
from services.runtime.secrets import SecretsError, TokenCipher
from services.runtime.settings import exit_with, load_or_exit

log = get_logger(__name__)

# The supervisor gives a service 15 s to end; requests under way get most of it.
_GRACE_SECONDS = 8
_FORGET_SECONDS = 60
_BACKLOG = 2048
# Totals of windows are small: a part of what replies get is plenty.
_WINDOWS_SHARE = 8


def main() -> None:
    """Run the query API until SIGTERM or Ctrl-C."""
    if any(argument in ("-h", "--help") for argument in sys.argv[1:]):
        print("Answers the insight endpoints of all products; settings are read from TIDEMARK_* variables.")  # noqa: T201
        return
    settings = load_or_exit(QueryApiSettings)
    cipher: TokenCipher | None = None
    if settings.secret_keys:
        try:
            cipher = TokenCipher(settings.secret_keys)
        except SecretsError as error:
            exit_with(str(error))
    listener = _listen(settings)
    configure_logging("query_api", settings.log_level)
    with asyncio.Runner(loop_factory=_event_loop) as runner:
        runner.run(_serve(settings, cipher, listener))


def _event_loop() -> asyncio.AbstractEventLoop:
    import uvloop

    return uvloop.new_event_loop()


def _listen(settings: QueryApiSettings) -> socket.socket:
    """Take the port before anything else starts, so that a taken one is one clear line."""
    host, port = settings.query_api_host, settings.query_api_port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        # From here on connections wait for the server instead of being refused.
        listener.listen(_BACKLOG)
    except OSError as error:
        exit_with(
            f"TIDEMARK_QUERY_API_HOST={host} TIDEMARK_QUERY_API_PORT={port} can't be opened"
            f" ({error.strerror or error}); set another port, or 0 for a free one"
        )
    return listener


async def _serve(settings: QueryApiSettings, cipher: TokenCipher | None, listener: socket.socket) -> None:
    clock = SystemClock()
    keys, directory, vault = KeyRing(), Directory(), TokenVault()
    codecs = Codecs(Registry(settings, settings))
    publisher = KafkaPublisher(settings, codecs)
    feed = CatalogFeed(settings, codecs, (keys, directory, vault))
    clickhouse = ClickHouse(settings)
    link = PollerLink(settings, codecs, clock, deadline_seconds=settings.live_deadline_seconds)
    replies: AnswerCache[Reply] = AnswerCache(settings.answer_cache_bytes)
    windows: AnswerCache[WindowRow] = AnswerCache(settings.answer_cache_bytes // _WINDOWS_SHARE)
    drops = DropFeed(settings, (replies, windows))
    directory.on_change = drops.channel_changed
    CACHE_BYTES.set_function(lambda: replies.size_bytes + windows.size_bytes)
    catalog = Catalog(publisher, directory=directory, keys=keys, vault=vault, cipher=cipher, clock=clock)
    limiter = RateLimiter(settings.rate_limit) if settings.rate_limit else None

    async def readiness() -> str | None:
        if feed.missing is not None:
            return feed.missing
        return None if await clickhouse.answers() else "ClickHouse does not answer, or lacks the tables"

    app = create_app(
        Parts(
            keys=keys,
            sources=Sources(
                clickhouse,
                directory,
                LiveReads(ClickHouseReadModel(clickhouse, directory, windows), link, directory, clock),
                settings.poll_speed,
            ),
            admin=Admin(
                AdminKey(settings.admin_key.get_secret_value() if settings.admin_key else None),
                catalog,
                Keys(catalog, keys, clock),
            ),
            limiter=limiter,
            clock=clock,
            readiness=readiness,
            cache=replies,
            silent_seconds=lambda: drops.silent_seconds,
        )
    )
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
    )
    publisher.start()
    feed.start()
    link.start()
    drops.start()
    forgetting = asyncio.create_task(_forget(limiter, clock)) if limiter is not None else None
    log.info("listening", address=f"http://{settings.query_api_host}:{listener.getsockname()[1]}")
    try:
        await _run_until_signal(server, listener)
    finally:
        if forgetting is not None:
            forgetting.cancel()
        await asyncio.gather(
            feed.stop(), drops.stop(), link.stop(), publisher.stop(), clickhouse.close(), return_exceptions=True
        )
        log.info("stopped")


async def _forget(limiter: RateLimiter, clock: SystemClock) -> None:
    while True:
        await asyncio.sleep(_FORGET_SECONDS)
        limiter.forget_old(clock.now())


async def _run_until_signal(server: uvicorn.Server, listener: socket.socket) -> None:
    """Serve until a signal; a clean stop is exit code 0, which uvicorn's own signal handling would not give."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    # `serve` would put handlers of its own in place and raise the signal again at the end.
    server.capture_signals = nullcontext  # type: ignore[method-assign, assignment]  # takes no arguments, as here
    await server.serve([listener])


if __name__ == "__main__":
    main()
