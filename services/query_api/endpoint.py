"""How a product's endpoint is declared, and how it is served: who asks, how much, what, the answer, the reply.

A product gives pure functions: `compile` makes a question of a request, `render` a JSON value of the answer. Serving is
plain ASGI, since every layer in between would be paid on every hot read (docs/decisions/0003-web-framework.md).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Hashable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from time import perf_counter
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.types import Receive, Scope, Send

from services.query_api.cache import AnswerCache
from services.query_api.errors import ApiError, Header, NotFound, ReadsUnavailable
from services.query_api.fairness import Desk, Turns, answer_turns
from services.query_api.flights import Flights
from services.query_api.observability import CACHE, REQUEST_SECONDS, REQUESTS
from services.query_api.reads.keeping import kept, key_of
from services.query_api.reads.query import (
    ID,
    AccountHistory,
    AccountHistoryQuestion,
    Question,
    ReadModel,
)
from services.query_api.serving.auth import KeyRing
from services.query_api.serving.limits import RateLimiter
from services.query_api.serving.replies import JSON, LARGE_BYTES, ReaderStalled, Reply, send_problem
from services.query_api.serving.streams import Stream, send_stream
from services.runtime.clock import Clock

_NO_PARAMETERS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """What a product sees of a request.

    Attributes:
        workspace_id: the key's.
        path: parameters of the path.
        query: parameters of the query; of a repeated one the last.
        headers: names in lower case.
        now: ms.
    """

    workspace_id: str
    path: Mapping[str, str]
    query: Mapping[str, str]
    headers: tuple[Header, ...]
    now: int


@dataclass(frozen=True, slots=True)
class Parameter:
    """A documented parameter of the query or a header."""

    name: str
    description: str
    place: str = "query"
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    required: bool = False


@dataclass(frozen=True, slots=True)
class Read:
    """One GET endpoint of a product.

    Attributes:
        id: its name in generated clients, which a new release must not change.
        path: with `{names}`.
        compile: from request to question; raises Invalid for a bad parameter and NotFound for what can't exist.
        render: from question and answer to a JSON value with the keys in the document's order.
        sample: the document's own sample reply.
        schema: JSON schema of the reply.
        tag_of: from the JSON value to what its ETag is made of, where that is not all of it.
        series: the last name of the JSON value, a list, where an answer may be too long to be made whole: then it is
            sent a part at a time.
    """

    id: str
    path: str
    summary: str
    description: str
    compile: Callable[[ReadRequest], Question[Any]]
    render: Callable[[Any, Any], Any]
    sample: Any
    schema: Mapping[str, Any]
    tag_of: Callable[[Any], Any] | None = None
    parameters: tuple[Parameter, ...] = ()
    series: str = ""


@dataclass(frozen=True, slots=True)
class Dialect:
    """One product: a folder in `dialects/` whose `routes` module holds it as DIALECT."""

    name: str
    title: str
    description: str
    reads: tuple[Read, ...]


class ReadEndpoint:
    """Serves one `Read`.

    The order of refusals is the contract's: key, scope, limit, parameters, existence.

    Args:
        limiter: None is no limit.
        cache: None keeps nothing.
        silent_seconds: for how long what is held in memory has not been brought up to date; 0 while it is.
        answers: turns at answers that hold payloads.
        desk: where these are written.
    """

    def __init__(
        self,
        product: str,
        read: Read,
        *,
        keys: KeyRing,
        limiter: RateLimiter | None,
        read_model: ReadModel,
        clock: Clock,
        cache: AnswerCache[Reply] | None = None,
        silent_seconds: Callable[[], float] | None = None,
        answers: Turns | None = None,
        desk: Desk | None = None,
    ) -> None:
        self._answers = answers or answer_turns()
        self._desk = desk or Desk()
        self._read = read
        self._keys = keys
        self._limiter = limiter
        self._read_model = read_model
        self._clock = clock
        self._cache = cache
        self._silent_seconds = silent_seconds
        self._flights = Flights(linger_seconds=0)
        self._seconds = REQUEST_SECONDS.labels(product, read.path)
        self._requests = {status: REQUESTS.labels(product, read.path, str(status)) for status in (200, 304)}
        self._hits, self._misses, self._stale = (
            CACHE.labels(product, read.path, outcome) for outcome in ("hit", "miss", "stale")
        )
        self._product = product

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()
        more: tuple[Header, ...] = ()
        headers = scope["headers"]
        try:
            key = await self._keys.find(headers)
            now = self._clock.now()
            if self._limiter is not None:
                more = self._limiter.take((key.workspace_id, key.key_id), now)
            question = self._read.compile(
                ReadRequest(key.workspace_id, scope["path_params"], parameters(scope), headers, now)
            )
            if question.holds_payloads:
                status = await self._send_large(question, now, scope, receive, send, more)
            else:
                # Written out: a call more would be paid by every hot read.
                kept_by = key_of(question, now) if self._cache is not None else None
                if kept_by is None or self._cache is None:
                    reply, age = await self._make(question), 0.0
                else:
                    reply, age = await self._kept(self._cache, (self._read.path, kept_by), question, now)
                if self._silent_seconds is not None:
                    age = max(age, self._silent_seconds())
                if age >= 1:
                    more = (*more, (b"age", b"%d" % age))
                status = await reply.send(send, headers, more)
        except ApiError as error:
            REQUESTS.labels(self._product, self._read.path, str(error.status)).inc()
            await send_problem(send, error, more)
            return
        except ReaderStalled:
            return
        self._requests[status].inc()
        self._seconds.observe(perf_counter() - started)

    async def _reply(self, question: Question[Any], now: int) -> tuple[Reply, float]:
        """A reply with its age in seconds."""
        kept_by = key_of(question, now) if self._cache is not None else None
        if kept_by is not None and self._cache is not None:
            return await self._kept(self._cache, (self._read.path, kept_by), question, now)
        return await self._make(question), 0.0

    async def _make(self, question: Question[Any]) -> Reply:
        answer = await self._read_model.answer(question)
        if answer is None:
            raise NotFound
        return await self._written(question, answer)

    def _age(self, age: float) -> tuple[Header, ...]:
        if self._silent_seconds is not None:
            age = max(age, self._silent_seconds())
        return ((b"age", b"%d" % age),) if age >= 1 else ()

    async def _send_large(
        self, question: Question[Any], now: int, scope: Scope, receive: Receive, send: Send, more: tuple[Header, ...]
    ) -> int:
        """Answer with what may hold payloads, which takes a turn until it is sent; returns the status."""
        kept_by = key_of(question, now) if self._cache is not None else None
        held = self._cache.get((self._read.path, kept_by)) if self._cache is not None else None
        if held is not None and len(held.value.body) < LARGE_BYTES:
            reply, age = await self._reply(question, now)
            return await reply.send(send, scope["headers"], more + self._age(age))
        wanted = partial(self._answers.is_wanted, question.workspace_id)
        async with self._answers.turn(question.workspace_id):
            if isinstance(question, AccountHistoryQuestion):
                answer = await self._read_model.answer(question)
                if answer is None:
                    raise NotFound
                if answer.rest is not None:
                    stream = Stream(JSON, self._series(question, answer), is_wanted=wanted)
                    return await send_stream(stream, scope, receive, send, more + self._age(0.0))
                reply, age = await self._written(question, answer), 0.0
            else:
                reply, age = await self._reply(question, now)
            return await reply.send(send, scope["headers"], more + self._age(age), wanted)

    async def _series(self, question: AccountHistoryQuestion, answer: AccountHistory) -> AsyncIterator[bytes]:
        """The reply's text, in parts."""
        assert answer.rest is not None
        owner = question.workspace_id
        text = await self._desk.run(owner, self._text, question, replace(answer, rest=None))
        if not text.endswith(b"]}"):
            raise TypeError(f"{self._read.path}: the list is not the last of the reply")
        yield text[:-2]
        is_begun = bool(answer.snapshots)
        async with aclosing(answer.rest) as rest:
            async for snapshots in rest:
                items = await self._desk.run(owner, self._items, question, replace(answer, snapshots=snapshots))
                if items:
                    yield b"," + items if is_begun else items
                    is_begun = True
        yield b"]}"

    def _text(self, question: Question[Any], answer: Any) -> bytes:
        return orjson.dumps(self._read.render(question, answer))

    def _items(self, question: Question[Any], answer: AccountHistory) -> bytes:
        return orjson.dumps(self._read.render(question, replace(answer, rest=None))[self._read.series])[1:-1]

    async def _written(self, question: Question[Any], answer: Any) -> Reply:
        if question.holds_payloads:
            return await self._desk.run(question.workspace_id, self._render, question, answer)
        return self._render(question, answer)

    def _render(self, question: Question[Any], answer: Any) -> Reply:
        value = self._read.render(question, answer)
        tag_of = self._read.tag_of
        return Reply(orjson.dumps(value), None if tag_of is None else orjson.dumps(tag_of(value)))

    async def _kept(
        self, cache: AnswerCache[Reply], key: Hashable, question: Question[Any], now: int
    ) -> tuple[Reply, float]:
        """A reply that is held or made, with its age in seconds."""
        entry = cache.get(key)
        if entry is not None:
            self._hits.inc()
            return entry.value, cache.now() - entry.made_at
        self._misses.inc()
        try:
            return await self._flights.share(key, partial(self._fill, cache, key, question, now)), 0.0
        except ReadsUnavailable:
            last = cache.last_known(key)
            if last is None:
                raise
            self._stale.inc()
            return last.value, max(1.0, cache.now() - last.made_at)

    async def _fill(self, cache: AnswerCache[Reply], key: Hashable, question: Question[Any], now: int) -> Reply:
        began_at = cache.now()
        answer = await self._read_model.answer(question)
        if answer is None:
            raise NotFound
        reply = await self._written(question, answer)
        tags, seconds = kept(question, answer, now)
        cache.put(key, reply, tags=tags, size_bytes=reply.size_bytes, began_at=began_at, seconds=seconds)
        return reply


def parameters(scope: Scope) -> Mapping[str, str]:
    """The query's parameters; of a repeated one the last."""
    raw: bytes = scope["query_string"]
    if not raw:
        return _NO_PARAMETERS
    return dict(parse_qsl(raw.decode("latin-1"), keep_blank_values=True))


def path_id(request: ReadRequest, name: str) -> str:
    """An id of the path.

    Raises:
        NotFound: it is no id, so nothing has it.
    """
    value = request.path[name]
    if not ID.fullmatch(value):
        raise NotFound
    return value
