"""Serves one endpoint of Tidemark's own API: who asks, how much, what, then the reply, whole or streamed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from functools import partial
from time import perf_counter
from typing import Any

import orjson
from pydantic import ValidationError
from starlette.types import Receive, Scope, Send

from services.query_api.admin.parameters import describe
from services.query_api.cache import AnswerCache
from services.query_api.endpoint import parameters as query_parameters
from services.query_api.errors import ApiError, Header, Invalid, NotFound, ReadsUnavailable
from services.query_api.flights import Flights
from services.query_api.observability import CACHE, REQUEST_SECONDS, REQUESTS
from services.query_api.reads.query import ID
from services.query_api.serving.auth import KeyRing
from services.query_api.serving.bodies import ClientGone, parsed, whole_body
from services.query_api.serving.limits import RateLimiter
from services.query_api.serving.replies import JSON, ReaderStalled, Reply, send_problem
from services.query_api.serving.streams import Stream, send_stream
from services.query_api.tidemark.endpoint import Answer, Endpoint, Parameters, Request, Sources
from services.runtime.clock import Clock

PRODUCT = "tidemark"
# Hundreds of ids; every tenant may send it, so it is short enough to be read on the event loop.
_BODY_LIMIT_BYTES = 256 * 1024


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
                self._count(await reply.send(send, headers, (*more, *self._age(age))))
            else:
                self._count(await self._make(request, scope, receive, send, more))
        except ApiError as error:
            self._count(error.status)
            await send_problem(send, error, more)
            return
        except (ClientGone, ReaderStalled):
            return
        self._seconds.observe(perf_counter() - started)

    def _age(self, age: float) -> tuple[Header, ...]:
        if self._silent_seconds is not None:
            age = max(age, self._silent_seconds())
        return ((b"age", b"%d" % age),) if age >= 1 else ()

    async def _make(
        self, request: Request[Any], scope: Scope, receive: Receive, send: Send, more: tuple[Header, ...]
    ) -> int:
        """Answer with what is not kept; returns the status."""
        answers = self._sources.answers
        async with answers.turn(request.workspace_id):
            made = await self._endpoint.answer(self._sources, request)
            if not isinstance(made, Stream):
                reply = await self._sources.desk.run(request.workspace_id, self._reply, made)
                wanted = partial(answers.is_wanted, request.workspace_id)
                return await reply.send(send, request.headers, (*more, *self._age(0.0)), wanted)
        # A stream is made as it is sent, and has turns of its own.
        return await send_stream(made, scope, receive, send, more)

    def _count(self, status: int) -> None:
        REQUESTS.labels(PRODUCT, self._endpoint.path, str(status)).inc()

    async def _parameters(self, scope: Scope, receive: Receive) -> Parameters:
        model = self._endpoint.parameters
        if self._endpoint.method == "POST":
            return parsed(model, await whole_body(scope, receive, _BODY_LIMIT_BYTES))
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
            # The key holds what was asked: up to hundreds of ids, which are as long as the reply or longer.
            asked_bytes = len(repr(request.parameters)) + sum(map(len, answer.tags))
            cache.put(
                key,
                reply,
                tags=answer.tags,
                size_bytes=reply.size_bytes + 2 * asked_bytes,
                began_at=began_at,
                seconds=answer.seconds,
            )
        return reply
