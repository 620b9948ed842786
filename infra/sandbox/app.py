"""The sandbox's ASGI application: finds the platform by the path, then token, limit and fault, then answers.

The platforms' paths are matched here, not by a router, because they are told apart by their form alone; Starlette
serves the control API under `/_sandbox/`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl

from infra.sandbox.control import PREFIX, control_app
from infra.sandbox.exchange import JSON_TYPE, TOKEN_FAULTS, Ask, Endpoint, Reply, Routes
from infra.sandbox.routes import all_routes
from infra.sandbox.state import Fault, State
from infra.sandbox.switches import answered

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_BODY_MAX_BYTES = 1024 * 1024
# The longest silence; callers wait for less.
_SILENT_SECONDS = 120.0
_SECRET_PARAMETERS = frozenset({"access_token", "refresh_token", "client_secret", "key"})


OWN = "sandbox-"
"""How tokens of the sandbox's own channels begin."""

NOT_OWN = (
    "This is Tidemark's built-in sandbox, whose figures are made up: it answers only for access tokens that begin with "
    "sandbox-. Start tidemark up with --no-sandbox to ask the platform itself."
)


class ConnectionReset(Exception):
    """Raised in the middle of an answer, so that the server drops the connection."""


def masked(token: str) -> str:
    """A token as the list of calls shows it: its first word."""
    word, dash, _ = token.partition("-")
    return f"{word}-***" if dash else "***" if token else ""


def find(path: str, query: dict[str, str], method: str) -> tuple[Routes, Endpoint, re.Match[str]] | None:
    """The endpoint that a call belongs to: by its path, and by its query where platforms share a path."""
    found: list[tuple[int, Routes, Endpoint, re.Match[str]]] = []
    for routes in all_routes():
        for endpoint in routes.endpoints:
            match = endpoint.pattern.fullmatch(path)
            if match is not None and (endpoint.claims is None or endpoint.claims(query)):
                rank = 2 * (endpoint.method != method) + (endpoint.claims is None)
                found.append((rank, routes, endpoint, match))
    return min(found, key=lambda candidate: candidate[0])[1:] if found else None


def _platform_of(ask: Ask) -> str:
    """Whose a part of a batch is."""
    found = find(ask.path, dict(ask.query), ask.method)
    return "" if found is None else found[0].platform


class Sandbox:
    """The application.

    Args:
        state: what it remembers; the caller may keep hold of it.
    """

    def __init__(self, state: State | None = None) -> None:
        self.state = state or State()
        self._control = control_app(self.state)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI connection; see the module for the order of checks."""
        if scope["type"] != "http" or scope["path"].startswith(PREFIX):
            await self._control(scope, receive, send)
            return
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        found = find(scope["path"], dict(query), scope["method"])
        if found is None:
            await _send(send, 404, b'{"error":"no platform of this sandbox has such a path"}', {})
            return
        routes, endpoint, match = found
        if scope.get("client"):
            self.state.callers.add(tuple(scope["client"]))
        ask = self._ask(scope, query, routes.platform, match)
        ask.body = await _body(receive)
        ask.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        ask.query_text = scope["query_string"].decode("latin-1")
        reply, fault = self._answer(routes, endpoint, ask)
        if ask.method != endpoint.method:
            reply = Reply(405, {"error": f"only {endpoint.method} is answered here"})
        self._remember(endpoint, ask, reply, fault)
        if reply.is_silent:
            await _gone(receive)
        else:
            await _reply(send, reply, fault)

    def _ask(self, scope: Scope, query: list[tuple[str, str]], platform: str, match: re.Match[str]) -> Ask:
        scheme, _, token = next(
            (value.decode("latin-1") for name, value in scope["headers"] if name == b"authorization"), ""
        ).partition(" ")
        if scheme.lower() not in ("bearer", "oauth") or not token.strip():
            token = next((value for name, value in query if name == "access_token"), "")
        clock = self.state.clock
        ids = tuple(group for group in match.groups() if group is not None)
        return Ask(
            self.state, platform, scope["path"], query, token.strip(), clock.now(), clock.wall(), ids, scope["method"]
        )

    def _answer(self, routes: Routes, endpoint: Endpoint, ask: Ask) -> tuple[Reply, Fault | None]:
        if self.state.own_tokens and ask.token and not (endpoint.renews or ask.token.startswith(OWN)):
            return Reply(503, {"error": "platform_unavailable", "message": NOT_OWN}), None
        fault = self.state.strike(ask.platform, endpoint.name, ask.token)
        kind = fault.kind if fault is not None else ""
        if not ask.token and endpoint.token_needed:
            return routes.failure("token_missing", ask, 0), None
        token_fault = TOKEN_FAULTS.get(ask.token_kind)
        if token_fault is not None:
            return routes.failure(token_fault, ask, 1), None
        caller = ask.token if endpoint.limit_by == "token" else ""
        within, remaining, ends_at = self.state.limits.take(
            f"{ask.platform} {endpoint.name}", caller, endpoint.limit, endpoint.window_seconds, ask.wall
        )
        headers = routes.limit_headers(endpoint, ask, remaining, ends_at)
        if fault is not None and kind not in ("slow", "half_body", "reset"):
            reply = routes.failure(kind, ask, fault.retry_after_seconds)
        elif not within:
            reply = routes.failure(endpoint.over_limit, ask, max(1, -(-(ends_at - ask.wall) // 1000)))
        else:
            reply = answered(ask, endpoint.answer, _platform_of)
        if reply.status != 401:
            reply.headers = {**headers, **reply.headers}
        return reply, fault

    def _remember(self, endpoint: Endpoint, ask: Ask, reply: Reply, fault: Fault | None) -> None:
        self.state.call_counts[(ask.platform, endpoint.name, reply.status)] += 1
        self.state.calls.append(
            {
                "at": ask.wall,
                "platform": ask.platform,
                "endpoint": endpoint.name,
                "path": ask.path,
                "query": [[name, "***" if name in _SECRET_PARAMETERS else value] for name, value in ask.query],
                "token": masked(ask.token),
                "status": reply.status,
                "fault": fault.kind if fault is not None else None,
            }
        )


async def _body(receive: Receive) -> bytes:
    """The body of a call; bytes over the limit are not kept."""
    received = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return bytes(received)
        received += message.get("body", b"")[: _BODY_MAX_BYTES - len(received)]
        if not message.get("more_body", False):
            return bytes(received)


async def _gone(receive: Receive) -> None:
    """Wait until the caller has had enough."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_SILENT_SECONDS):
            while (await receive())["type"] != "http.disconnect":
                pass


async def _reply(send: Send, reply: Reply, fault: Fault | None) -> None:
    if fault is not None and fault.kind == "slow":
        await asyncio.sleep(fault.delay_seconds)
    body = reply.encoded()
    if fault is not None and fault.kind == "reset":
        # ASGI has no message for this: uvicorn's own connection, where `send` belongs to one.
        transport = getattr(getattr(send, "__self__", None), "transport", None)
        if transport is None:
            raise ConnectionReset
        transport.abort()
        return
    if fault is not None and fault.kind == "half_body":
        await _start(send, reply.status, reply.headers, len(body))
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        raise ConnectionReset
    await _send(send, reply.status, body, reply.headers)


async def _start(send: Send, status: int, headers: dict[str, str], length: int) -> None:
    typed = {"content-type": JSON_TYPE, **headers}
    pairs = [(name.encode(), value.encode()) for name, value in typed.items()]
    pairs += [(b"content-length", str(length).encode())]
    await send({"type": "http.response.start", "status": status, "headers": pairs})


async def _send(send: Send, status: int, body: bytes, headers: dict[str, str]) -> None:
    await _start(send, status, headers, len(body))
    await send({"type": "http.response.body", "body": body})
