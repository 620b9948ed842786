"""Cross-origin reads: which pages' scripts may call this API, told to their browsers. Built only where it is set.

Keys go in headers that a script sets, never in cookies, so credentials are never allowed, and `*` gives nothing away.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")
_ALLOWED = ("Authorization", "x-api-key", "X-Workspace-Id", "Content-Type", "If-None-Match", "Last-Event-ID")
_EXPOSED = ("ETag", "Age", "Retry-After", "RateLimit", "RateLimit-Policy", "Content-Disposition")
_PREFLIGHT_SECONDS = 600


class Cors:
    """Answers preflights, which come without a key, and marks every other reply, errors included.

    Args:
        origins: `*`, or scheme, host and port of each.
    """

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        self._varies = "*" not in origins
        self._app = CORSMiddleware(
            app,
            allow_origins=origins,
            allow_methods=_METHODS,
            allow_headers=_ALLOWED,
            expose_headers=_EXPOSED,
            max_age=_PREFLIGHT_SECONDS,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._varies:
            await self._app(scope, receive, send)
            return

        async def send_varying(message: Message) -> None:
            # Also where no Origin came or another's: a cache must not give that reply to a page that may read it.
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if "origin" not in headers.get("vary", "").lower().replace(" ", "").split(","):
                    headers.add_vary_header("Origin")
            await send(message)

        await self._app(scope, receive, send_varying)
