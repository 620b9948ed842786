"""The application: mounts every product found, the admin API, health and documentation; turns errors into replies."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from services.query_api.admin.routes import OPERATIONS, Admin, AdminEndpoint, Operation
from services.query_api.auth import KeyRing
from services.query_api.cache import AnswerCache
from services.query_api.dialects import all_dialects
from services.query_api.endpoint import ReadEndpoint
from services.query_api.errors import ApiError, InternalError, route_error
from services.query_api.limits import RateLimiter
from services.query_api.openapi import documentation_page, openapi_json
from services.query_api.query import ReadModel
from services.query_api.replies import Reply, send_problem
from services.query_api.routing import PathTable
from services.runtime.clock import Clock
from services.runtime.logging import get_logger

log = get_logger(__name__)

Readiness = Callable[[], Awaitable[str | None]]
"""None when ready, else one line that says what is missing."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the application is made of; real or fake.

    Attributes:
        cache: keeps replies; None keeps none.
        silent_seconds: see `ReadEndpoint`.
    """

    keys: KeyRing
    read_model: ReadModel
    admin: Admin
    limiter: RateLimiter | None
    clock: Clock
    readiness: Readiness
    cache: AnswerCache[Reply] | None = None
    silent_seconds: Callable[[], float] | None = None


class QueryApi:
    """The ASGI application: the routes and the one place where errors become replies.

    Args:
        reads: the products' endpoints by path template; GET is looked up there first.
        routes: of everything, the reads included, so that wrong methods are told from unknown paths.
    """

    def __init__(self, reads: Mapping[str, ReadEndpoint], routes: list[Route]) -> None:
        self._reads = PathTable(reads)
        # No redirects to paths with or without a slash: an unknown path is an unknown path.
        self._router = Router(routes, redirect_slashes=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        # With it Starlette raises for unknown paths and methods, instead of sending plain text.
        scope["app"] = self
        try:
            found = self._reads.find(scope["path"]) if scope["method"] == "GET" else None
            if found is not None:
                endpoint, scope["path_params"] = found
                await endpoint(scope, receive, send)
            else:
                await self._router(scope, receive, send)
        except HTTPException as error:
            headers = tuple((name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items())
            await send_problem(send, route_error(error.status_code, headers))
        except ApiError as error:
            await send_problem(send, error)
        except Exception:
            log.exception("unexpected error", method=scope["method"])
            # Replies are sent whole, after all that can fail; so nothing was sent yet.
            await send_problem(send, InternalError())


def create_app(parts: Parts) -> QueryApi:
    """The application with every product found in `dialects/`."""
    reads = {
        read.path: ReadEndpoint(
            dialect.name,
            read,
            keys=parts.keys,
            limiter=parts.limiter,
            read_model=parts.read_model,
            clock=parts.clock,
            cache=parts.cache,
            silent_seconds=parts.silent_seconds,
        )
        for dialect in all_dialects()
        for read in dialect.reads
    }
    routes = [Route(path, endpoint, methods=["GET"]) for path, endpoint in reads.items()]
    by_path: dict[str, dict[str, Operation]] = {}
    for operation in OPERATIONS:
        by_path.setdefault(operation.path, {})[operation.method] = operation
    routes += [Route(path, AdminEndpoint(parts.admin, operations)) for path, operations in by_path.items()]
    return QueryApi(reads, [*routes, *_service_routes(parts.readiness)])


def _service_routes(readiness: Readiness) -> list[Route]:
    description = openapi_json(all_dialects(), OPERATIONS)
    page = documentation_page(all_dialects(), OPERATIONS)

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        missing = await readiness()
        return PlainTextResponse("ready\n") if missing is None else PlainTextResponse(missing + "\n", status_code=503)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    async def openapi(_: Request) -> Response:
        return Response(description, media_type="application/json")

    async def docs(_: Request) -> Response:
        return HTMLResponse(page)

    return [
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/metrics", metrics),
        Route("/openapi.json", openapi),
        Route("/docs", docs),
    ]
