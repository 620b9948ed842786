"""Cross-origin requests: tells browsers which pages' scripts may call this API. Used only if origins are configured.

A script sends its key in a header, never in a cookie. So credentials are never allowed, and `*` gives nothing away.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from starlette.datastructures import MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ALLOWED = ("Authorization", "x-api-key", "X-Workspace-Id", "Content-Type", "If-None-Match", "Last-Event-ID")
_EXPOSED = ("ETag", "Age", "Retry-After", "RateLimit", "RateLimit-Policy", "Content-Disposition")
_PREFLIGHT_SECONDS = 600


class Cors:
    """Answers preflight requests, which carry no key, and adds CORS headers to every other reply, errors included.

    Args:
        origins: `*`, or the allowed origins, each as scheme, host and port.
        methods: the methods of the application's endpoints.
    """

    def __init__(self, app: ASGIApp, origins: Sequence[str], methods: Collection[str]) -> None:
        self._varies = "*" not in origins
        self._app = CORSMiddleware(
            app,
            allow_origins=origins,
            allow_methods=sorted(methods),
            allow_headers=_ALLOWED,
            expose_headers=_EXPOSED,
            max_age=_PREFLIGHT_SECONDS,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._varies:
            await self._app(scope, receive, send)
            return

        async def send_varying(message: Message) -> None:
            # Added to replies to other origins and to requests without one, too: a cache must not give such a reply,
            # which lacks the CORS headers, to a page of an allowed origin.
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if "origin" not in headers.get("vary", "").lower().replace(" ", "").split(","):
                    headers.add_vary_header("Origin")
            await send(message)

        await self._app(scope, receive, send_varying)
