"""The application: mounts every product found, the admin API, health and documentation; turns errors into replies."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from services.query_api.admin.routes import OPERATIONS, Admin, AdminEndpoint, Operation
from services.query_api.cache import AnswerCache
from services.query_api.dialects import all_dialects
from services.query_api.endpoint import ReadEndpoint
from services.query_api.errors import ApiError, InternalError, route_error
from services.query_api.observability import exposition
from services.query_api.serving.auth import AdminKey, KeyRing
from services.query_api.serving.cors import Cors
from services.query_api.serving.limits import RateLimiter
from services.query_api.serving.openapi import openapi_json
from services.query_api.serving.pages import PAGE_HEADERS, documentation_page, front, front_page, origin_of, wants_page
from services.query_api.serving.replies import Reply, send_problem
from services.query_api.serving.routing import PathTable
from services.query_api.tidemark import all_endpoints
from services.query_api.tidemark.endpoint import Sources
from services.query_api.tidemark.serving import ServedEndpoint
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
        cors_origins: of pages whose scripts may call; see `cors`.
    """

    keys: KeyRing
    sources: Sources
    admin: Admin
    limiter: RateLimiter | None
    clock: Clock
    readiness: Readiness
    cache: AnswerCache[Reply] | None = None
    silent_seconds: Callable[[], float] | None = None
    cors_origins: tuple[str, ...] = ()


class QueryApi:
    """The ASGI application: the routes and the one place where errors become replies.

    Args:
        reads: endpoints by path template; GET is looked up there first.
        routes: of everything, the reads included, so that wrong methods are told from unknown paths.
    """

    def __init__(self, reads: Mapping[str, ASGIApp], routes: Sequence[Route]) -> None:
        self._reads = PathTable(reads)
        # No redirects: a path with a slash at its end is answered as the one without.
        self._router = Router(routes, redirect_slashes=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        # With it Starlette raises for unknown paths and methods, instead of sending plain text.
        scope["app"] = self
        try:
            if scope["path"].endswith("/"):
                scope["path"] = _without_slash(scope)
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
            # Nothing was sent yet: replies are sent whole, after all that can fail, and streams end by themselves.
            await send_problem(send, InternalError())


def _without_slash(scope: Scope) -> str:
    """The path without one slash at its end, unless that was `%2F`, which belongs to a name."""
    path: str = scope["path"]
    is_part_of_a_name = scope.get("raw_path", b"/").partition(b"?")[0][-1:] != b"/"
    return path if path == "/" or is_part_of_a_name else path[:-1]


def create_app(parts: Parts) -> ASGIApp:
    """The application with every product found in `dialects/`, and Tidemark's own endpoints."""
    reads: dict[str, ASGIApp] = {
        read.path: ReadEndpoint(
            dialect.name,
            read,
            keys=parts.keys,
            limiter=parts.limiter,
            read_model=parts.sources.read_model,
            clock=parts.clock,
            cache=parts.cache,
            silent_seconds=parts.silent_seconds,
            answers=parts.sources.answers,
            desk=parts.sources.desk,
        )
        for dialect in all_dialects()
        for read in dialect.reads
    }
    served = [
        (
            endpoint,
            ServedEndpoint(
                endpoint,
                parts.sources,
                keys=parts.keys,
                limiter=parts.limiter,
                clock=parts.clock,
                cache=parts.cache,
                silent_seconds=parts.silent_seconds,
            ),
        )
        for endpoint in all_endpoints()
    ]
    reads |= {endpoint.path: app for endpoint, app in served if endpoint.method == "GET"}
    routes = [Route(path, endpoint, methods=["GET"]) for path, endpoint in reads.items()]
    routes += [Route(endpoint.path, app, methods=["POST"]) for endpoint, app in served if endpoint.method == "POST"]
    by_path: dict[str, dict[str, Operation]] = {}
    for operation in OPERATIONS:
        by_path.setdefault(operation.path, {})[operation.method] = operation
    routes += [Route(path, AdminEndpoint(parts.admin, operations)) for path, operations in by_path.items()]
    app = QueryApi(reads, [*routes, *_service_routes(parts.readiness, parts.admin.key)])
    return Cors(app, parts.cors_origins) if parts.cors_origins else app


def _service_routes(readiness: Readiness, admin_key: AdminKey) -> list[Route]:
    description = openapi_json(all_dialects(), all_endpoints(), OPERATIONS)
    page = documentation_page(all_dialects(), all_endpoints(), OPERATIONS)

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        missing = await readiness()
        return PlainTextResponse("ready\n") if missing is None else PlainTextResponse(missing + "\n", status_code=503)

    async def metrics(request: Request) -> Response:
        # What they tell of all tenants is for operators, who have a port of their own, too.
        admin_key.check(request.scope["headers"])
        return Response(exposition(), media_type=CONTENT_TYPE_LATEST, headers={"cache-control": "no-store"})

    async def openapi(_: Request) -> Response:
        return Response(description, media_type="application/json")

    async def docs(_: Request) -> Response:
        return HTMLResponse(page, headers=PAGE_HEADERS)

    async def start(request: Request) -> Response:
        origin = origin_of(request.url.scheme, request.headers.get("host", ""))
        headers = {"vary": "accept", "cache-control": "no-store"}
        if wants_page(request.headers.get("accept", "")):
            return HTMLResponse(front_page(all_dialects(), origin), headers={**PAGE_HEADERS, **headers})
        return JSONResponse(front(all_dialects(), origin), headers=headers)

    return [
        Route("/", start),
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/metrics", metrics),
        Route("/openapi.json", openapi),
        Route("/docs", docs),
    ]
