"""The wire to platforms, without a network: answers from a function, and remembers what was asked."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx

Answer = Callable[[httpx.Request], httpx.Response | Awaitable[httpx.Response]]


class Chunks(httpx.AsyncByteStream):
    """A body in pieces, as it comes from a socket."""

    def __init__(self, body: bytes, size: int = 65_536, fails: Exception | None = None) -> None:
        self._body = body
        self._size = size
        self._fails = fails
        self.sent = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._body), self._size):
            chunk = self._body[start : start + self._size]
            self.sent += len(chunk)
            yield chunk
        if self._fails is not None:
            raise self._fails


class PlatformTransport(httpx.AsyncBaseTransport):
    """Answers each request by `answer`, which may be replaced at any time, take its time, and raise httpx errors."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx."""
        # What httpcore does: the target stands for the URL's path and query.
        target = request.extensions.get("target")
        if target is not None:
            request.url = request.url.copy_with(raw_path=target)
        self.requests.append(request)
        answer = self.answer(request)
        return await answer if inspect.isawaitable(answer) else answer


def json_answer(status: int, body: bytes, **headers: str) -> httpx.Response:
    """An answer with a body of this JSON text."""
    return httpx.Response(
        status,
        headers={
            "content-type": "application/json",
            **{name.replace("_", "-"): text for name, text in headers.items()},
        },
        stream=Chunks(body),
    )
