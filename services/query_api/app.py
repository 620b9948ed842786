"""The application: a server for each declared endpoint, and the replies to requests without an endpoint and to bugs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

from starlette.types import ASGIApp, Receive, Scope, Send

from services.query_api.admin.routes import API as ADMIN_API
from services.query_api.admin.routes import Admin
from services.query_api.apis import all_apis, product_apis, read_apis
from services.query_api.cache import AnswerCache
from services.query_api.errors import ApiError, InternalError, NotFound
from services.query_api.pages.routes import PAGES, Pages
from services.query_api.reads.sources import Sources
from services.query_api.serving.auth import AdminKey, KeyRing
from services.query_api.serving.cors import Cors
from services.query_api.serving.limits import RateLimiter
from services.query_api.serving.replies import Reply, send_problem
from services.query_api.serving.routing import MethodTable, path_of
from services.query_api.serving.server import EndpointServer, Shared, servers_of
from services.query_api.site.routes import SITE, Readiness, Site
from services.runtime.clock import Clock
from services.runtime.logging import get_logger

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of the application, real or fake.

    Attributes:
        limiter: counts requests for each key; None means no limit.
        cache: keeps replies; None keeps none.
        silent_seconds: see `server.Shared`.
        note: the second line of `/readyz`, see `site.routes.Site`.
        cors_origins: origins of pages whose scripts may call the API; see `cors`.
        topic_prefix: stands before the topics' names; for their description.
        partitions: how many each topic has; likewise.
    """

    keys: KeyRing
    admin_key: AdminKey
    sources: Sources
    admin: Admin
    limiter: RateLimiter | None
    clock: Clock
    readiness: Readiness
    cache: AnswerCache[Reply] | None = None
    silent_seconds: Callable[[], float] | None = None
    cors_origins: tuple[str, ...] = ()
    topic_prefix: str = ""
    partitions: int = 1
    note: Callable[[], str | None] = lambda: None


class QueryApi:
    """The ASGI application: finds the server for method and path, and answers requests that have no server."""

    def __init__(self, servers: Iterable[EndpointServer[Any, Any, Any]]) -> None:
        self._table = MethodTable((server.endpoint.method, server.endpoint.path, server) for server in servers)

    @property
    def methods(self) -> frozenset[str]:
        """The methods that some path is served with."""
        return self._table.methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            # No redirects: a path with a slash at its end is answered like the path without.
            path: str = scope["path"]
            if path.endswith("/"):
                path = path_of(path, scope.get("raw_path", b"/"))
            found = self._table.find(scope["method"], path)
            if found is None:
                self._refuse(scope, path)
            server, scope["path_params"] = found
            await server(scope, receive, send)
        except ApiError as error:
            await send_problem(send, error)
        except Exception:
            log.exception("unexpected error", method=scope["method"])
            # Nothing was sent yet, since replies are sent whole after everything that can fail; streams end by
            # themselves.
            await send_problem(send, InternalError())

    def _refuse(self, scope: Scope, path: str) -> NoReturn:
        """Refuse a request that has no endpoint.

        Raises:
            NotFound: no endpoint has the path.
            Unauthorized: the path is the admin API's, and the admin key is missing.
            MethodNotAllowed: the path has other methods.
        """
        servers = self._table.methods_of(path)
        if not servers:
            raise NotFound
        next(iter(servers.values())).refuse_method(scope["headers"], ", ".join(sorted(servers)).encode())


def create_app(parts: Parts) -> ASGIApp:
    """The application with every product found in `dialects/`, Tidemark's own API, the admin API, site and pages."""
    shared = Shared(
        keys=parts.keys,
        admin_key=parts.admin_key,
        clock=parts.clock,
        limiter=parts.limiter,
        cache=parts.cache,
        silent_seconds=parts.silent_seconds,
        answers=parts.sources.answers,
        desk=parts.sources.desk,
    )
    site = Site(parts.readiness, all_apis(), product_apis(), parts.topic_prefix, parts.partitions, parts.note)
    app = QueryApi(
        [
            *(server for api in read_apis() for server in servers_of(api, parts.sources, shared)),
            *servers_of(ADMIN_API, parts.admin, shared),
            *servers_of(SITE, site, shared),
            *servers_of(PAGES, Pages(), shared),
        ]
    )
    return Cors(app, parts.cors_origins, app.methods) if parts.cors_origins else app
