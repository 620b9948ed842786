"""Serves a service's `/healthz`, `/readyz` and `/metrics` to operators, on a port of its own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from services.runtime.http_limits import HttpLimits, limited_protocol

# The only callers are a supervisor, Prometheus and operators.
_LIMITS = HttpLimits(body_bytes=64 * 1024, connections=200, connections_by_address=100)

Readiness = Callable[[], str | None]
"""Returns None when the service is ready, else one line that says what is missing."""


def operations_app(readiness: Readiness, exposition: Callable[[], bytes] = generate_latest) -> Starlette:
    """An ASGI application with `/healthz`, `/readyz` and `/metrics`."""

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        missing = readiness()
        return PlainTextResponse("ready\n") if missing is None else PlainTextResponse(missing + "\n", status_code=503)

    async def metrics(_: Request) -> Response:
        return Response(exposition(), media_type=CONTENT_TYPE_LATEST)

    return Starlette(routes=[Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)])


class OperationsServer:
    """Serves `operations_app` in the running event loop.

    Args:
        port: 0 takes a free one.
        exposition: makes the metrics' text; by default the metrics of this process.
        listener: a listening socket to use instead of host and port.
    """

    def __init__(
        self,
        host: str,
        port: int,
        readiness: Readiness,
        exposition: Callable[[], bytes] = generate_latest,
        listener: socket.socket | None = None,
    ) -> None:
        self._listeners = [listener] if listener is not None else None
        config = uvicorn.Config(
            operations_app(readiness, exposition),
            host=host,
            port=port,
            http=limited_protocol(_LIMITS),
            ws="none",
            log_config=None,
            access_log=False,
            lifespan="off",
        )
        self._server = _Server(config)
        # The service's own shutdown handles signals, so uvicorn must not.
        self._server.capture_signals = _no_signals  # type: ignore[method-assign, assignment]  # documented hook
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin serving; returns once the port answers.

        Raises:
            OSError: the port is taken.
        """
        self._task = asyncio.create_task(self._server.serve(self._listeners))
        is_up = asyncio.create_task(self._server.is_up.wait())
        try:
            await asyncio.wait((is_up, self._task), return_when=asyncio.FIRST_COMPLETED)
        finally:
            is_up.cancel()
        if not self._server.started:
            raise OSError("the operations port can't be opened; set TIDEMARK_METRICS_PORT to a free one")

    async def stop(self) -> None:
        """Stop serving, and wait until the server has ended."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task


class _Server(uvicorn.Server):
    """uvicorn's server with an event that is set once it serves."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_up.set()


class _NoSignals:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def _no_signals() -> _NoSignals:
    return _NoSignals()
