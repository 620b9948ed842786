"""Serves one endpoint of Tidemark's own API: who asks, how much, what, then the reply, whole or streamed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from time import perf_counter
from typing import Any

import orjson
from pydantic import ValidationError
from starlette.types import Receive, Scope, Send

from services.query_api.admin.body import ClientGone, parsed, whole_body
from services.query_api.admin.models import describe
from services.query_api.auth import KeyRing
from services.query_api.cache import AnswerCache
from services.query_api.endpoint import parameters as query_parameters
from services.query_api.errors import ApiError, Header, Invalid, NotFound, ReadsUnavailable
from services.query_api.flights import Flights
from services.query_api.limits import RateLimiter
from services.query_api.observability import CACHE, REQUEST_SECONDS, REQUESTS
from services.query_api.query import ID
from services.query_api.replies import JSON, Reply, send_problem
from services.query_api.tidemark.endpoint import Answer, Endpoint, Parameters, Request, Sources, Stream
from services.runtime.clock import Clock
from services.runtime.logging import get_logger

log = get_logger(__name__)

PRODUCT = "tidemark"


class ServedEndpoint:
    """ASGI application of one `Endpoint`; the order of refusals is the contract's."""

    def __init__(
        self,
        endpoint: Endpoint,
        sources: Sources,
        *,
        keys: KeyRing,
        limiter: RateLimiter | None,
        clock: Clock,
        cache: AnswerCache[Reply] | None = None,
        silent_seconds: Callable[[], float] | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._sources = sources
        self._keys = keys
        self._limiter = limiter
        self._clock = clock
        self._cache = cache if endpoint.is_kept else None
        self._silent_seconds = silent_seconds
        self._flights = Flights(linger_seconds=0)
        self._seconds = REQUEST_SECONDS.labels(PRODUCT, endpoint.path)
        self._hits, self._misses, self._stale = (
            CACHE.labels(PRODUCT, endpoint.path, outcome) for outcome in ("hit", "miss", "stale")
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()
        more: tuple[Header, ...] = ()
        headers = scope["headers"]
        try:
            key = await self._keys.find(headers)
            now = self._clock.now()
            if self._limiter is not None:
                more = self._limiter.take((key.workspace_id, key.key_id), now)
            asked = await self._parameters(scope, receive)
            path: Mapping[str, str] = scope["path_params"]
            if not all(ID.fullmatch(value) for value in path.values()):
                raise NotFound
            request = Request(key.workspace_id, key.key_id, path, asked, headers, now)
            if self._cache is not None:
                reply, age = await self._kept(self._cache, request)
            else:
                made = await self._endpoint.answer(self._sources, request)
                if isinstance(made, Stream):
                    self._count(await _stream(made, scope, receive, send, more))
                    self._seconds.observe(perf_counter() - started)
                    return
                reply, age = self._reply(made), 0.0
        except ApiError as error:
            self._count(error.status)
            await send_problem(send, error, more)
            return
        except ClientGone:
            return
        if self._silent_seconds is not None:
            age = max(age, self._silent_seconds())
        if age >= 1:
            more = (*more, (b"age", b"%d" % age))
        self._count(await reply.send(send, headers, more))
        self._seconds.observe(perf_counter() - started)

    def _count(self, status: int) -> None:
        REQUESTS.labels(PRODUCT, self._endpoint.path, str(status)).inc()

    async def _parameters(self, scope: Scope, receive: Receive) -> Parameters:
        model = self._endpoint.parameters
        if self._endpoint.method == "POST":
            return parsed(model, await whole_body(scope, receive))
        try:
            return model.model_validate(query_parameters(scope))
        except ValidationError as error:
            raise Invalid(describe(error)) from None

    def _reply(self, answer: Answer) -> Reply:
        if answer.media_type != JSON:
            return Reply(answer.value, content_type=answer.media_type)
        tag_of = self._endpoint.tag_of
        return Reply(orjson.dumps(answer.value), None if tag_of is None else orjson.dumps(tag_of(answer.value)))

    async def _kept(self, cache: AnswerCache[Reply], request: Request[Any]) -> tuple[Reply, float]:
        """A reply that is held or made, with its age in seconds."""
        path = tuple(request.path.values())
        key = (self._endpoint.path, request.workspace_id, path, request.parameters)
        entry = cache.get(key)
        if entry is not None:
            self._hits.inc()
            return entry.value, cache.now() - entry.made_at
        self._misses.inc()
        try:
            return await self._flights.share(key, partial(self._fill, cache, key, request)), 0.0
        except ReadsUnavailable:
            last = cache.last_known(key)
            if last is None:
                raise
            self._stale.inc()
            return last.value, max(1.0, cache.now() - last.made_at)

    async def _fill(self, cache: AnswerCache[Reply], key: Hashable, request: Request[Any]) -> Reply:
        began_at = cache.now()
        answer = await self._endpoint.answer(self._sources, request)
        if isinstance(answer, Stream):
            raise TypeError(f"{self._endpoint.path}: a stream can't be kept")
        reply = self._reply(answer)
        if answer.seconds > 0:
            cache.put(
                key,
                reply,
                tags=answer.tags,
                size_bytes=reply.size_bytes,
                began_at=began_at,
                seconds=answer.seconds,
            )
        return reply


async def _stream(stream: Stream, scope: Scope, receive: Receive, send: Send, more: tuple[Header, ...]) -> int:
    """Send a stream until its end or until the caller goes away; returns the status.

    Raises:
        ApiError: before anything was sent.
    """
    sending = asyncio.ensure_future(_send_chunks(stream, scope, send, more))
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        # Nothing tells a sender that nobody listens any more, so that is waited for beside it.
        await asyncio.wait((sending, gone), return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            sending.result()
    finally:
        for task in (sending, gone):
            task.cancel()
        await asyncio.gather(sending, gone, return_exceptions=True)
    return 200


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_chunks(stream: Stream, scope: Scope, send: Send, more: tuple[Header, ...]) -> None:
    content_type = (b"content-type", stream.media_type.encode())
    start = {"type": "http.response.start", "status": 200, "headers": [content_type, *stream.headers, *more]}
    is_started = False
    try:
        if scope["method"] != "HEAD":
            async for chunk in stream.chunks:
                if not is_started:
                    is_started = True
                    await send(start)
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
    except Exception as error:
        if not is_started:
            raise
        # Without a last part the server breaks the connection, which is what tells the caller.
        log.warning("a stream broke off", error=type(error).__name__)
        return
    finally:
        close = getattr(stream.chunks, "aclose", None)
        if close is not None:
            await close()
    if not is_started:
        await send(start)
    await send({"type": "http.response.body", "body": b""})
