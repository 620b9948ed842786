"""Serves an endpoint: checks the key, the limit and the parameters, then sends a kept, a new or a streamed reply.

Serving is plain ASGI, since every layer in between would cost time on every kept read
(docs/decisions/0003-web-framework.md). Refusals come in the contract's order: key, scope, limit, parameters, existence.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from time import perf_counter
from typing import Any, Generic, NoReturn
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError
from starlette.types import Receive, Scope, Send

from schemas.ids import is_id
from services.query_api.cache import AnswerCache, making
from services.query_api.errors import ApiError, Header, Invalid, MethodNotAllowed, NotFound, ReadsUnavailable
from services.query_api.fairness import Desk, Turns, answer_turns
from services.query_api.flights import Flights
from services.query_api.observability import Tally
from services.query_api.serving.auth import AdminKey, KeyRing
from services.query_api.serving.bodies import ClientGone, lines, parsed, whole_body
from services.query_api.serving.endpoint import (
    Answer,
    Api,
    Body,
    Context,
    Endpoint,
    Key,
    Lines,
    Question,
    Request,
    Value,
)
from services.query_api.serving.limits import RateLimiter
from services.query_api.serving.parameters import describe, is_without_parameters
from services.query_api.serving.replies import LARGE_BYTES, Plain, ReaderStalled, Reply, send_problem
from services.query_api.serving.streams import Stream, send_stream
from services.runtime.clock import Clock

# Checked queries are remembered. They are texts of callers, so both their number and their length are bounded.
_MOST_KNOWN_QUERIES = 256
_LONGEST_KNOWN_BYTES = 200
BAD_ID = "must be 1 to 128 characters of A-Z, a-z, 0-9 and . _ : -"


@dataclass(frozen=True, slots=True)
class Shared:
    """Parts that all servers of one process share.

    Attributes:
        keys: knows the workspaces' keys.
        admin_key: opens the endpoints that need the admin key.
        limiter: limits requests; None for no limit.
        cache: keeps replies; None for no kept replies.
        silent_seconds: returns for how long kept replies have not been brought up to date, 0 while they are up to date;
            None when no changes are followed.
        answers: turns at large answers; a caller holds its turn until its answer is sent.
        desk: runs the writing of large answers in threads.
    """

    keys: KeyRing
    admin_key: AdminKey
    clock: Clock
    limiter: RateLimiter | None = None
    cache: AnswerCache[Reply] | None = None
    silent_seconds: Callable[[], float] | None = None
    answers: Turns = field(default_factory=answer_turns)
    desk: Desk = field(default_factory=Desk)


class EndpointServer(Generic[Context, Question, Value]):
    """ASGI application of one `Endpoint`.

    Args:
        api: the name of the endpoint's API, for metrics.
        context: the object that the endpoint's action works with.
    """

    def __init__(
        self, api: str, endpoint: Endpoint[Context, Question, Value], context: Context, shared: Shared
    ) -> None:
        self.endpoint = endpoint
        self._path = endpoint.path
        self._action = action = endpoint.action
        self._ask = action.ask
        self._key_of = action.key
        self._context = context
        self._shared = shared
        self._is_of_workspace = endpoint.key is Key.WORKSPACE
        self._keys = shared.keys
        self._limiter = shared.limiter if self._is_of_workspace else None
        self._clock = shared.clock
        self._cache = shared.cache if action.is_read else None
        self._silent_seconds = shared.silent_seconds if action.is_read else None
        self._nothing_asked = action.parameters() if is_without_parameters(action.parameters) else None
        # A condition is one of GET and HEAD alone; other methods send their reply whole.
        self._is_conditional = endpoint.method == "GET"
        self._has_body = isinstance(endpoint.body, Body)
        self._takes_lines = isinstance(endpoint.body, Lines)
        # The same few queries come again and again, and checked parameters are frozen.
        self._known_query = lru_cache(_MOST_KNOWN_QUERIES)(self._checked)
        self._flights = Flights(linger_seconds=0)
        self._tally = Tally(api, endpoint.path)
        if action.is_read:
            for status in (action.status, 304):
                self._tally.declare(status)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()
        more: tuple[Header, ...] = ()
        headers = scope["headers"]
        if not self._is_conditional:
            headers = [header for header in headers if header[0] != b"if-none-match"]
        try:
            # Written out here, like the look-up of a kept reply: further calls would cost time on every kept read.
            path = scope["path_params"]
            if self._is_of_workspace:
                key = await self._keys.find(headers, self.endpoint.scope)
                workspace_id, key_id = key.workspace_id, key.key_id
                now = self._clock.now()
                if self._limiter is not None:
                    more = self._limiter.take((workspace_id, key_id), now)
                asked = self._nothing_asked
                if asked is None:
                    if not self._has_body:
                        asked = self._of_query(scope)
                    elif scope["query_string"]:
                        raise Invalid("This endpoint takes its parameters in the body, and none in the query.")
                    else:
                        asked = await self._of_body(receive, headers)
                scheme = scope.get("scheme", "http")
                request: Request[Any] = Request(workspace_id, key_id, path, asked, headers, now, scheme)
            else:
                request = await self._open_request(scope, receive)
                now = request.now
            if self._takes_lines:
                request = request._replace(lines=lines(receive))
            question = self._ask(request)
            for value in path.values():
                if not is_id(value):
                    raise NotFound
            cache = self._cache
            kept_by: Hashable | None = None
            if cache is not None and (kept_by := self._key_of(question, now)) is not None:
                kept_by = (self._path, kept_by)
                held = cache.get(kept_by)
                if held is not None and (len(held.value.body) < LARGE_BYTES or not self._action.is_large(question)):
                    self._tally.hits += 1
                    age = cache.now() - held.made_at
                    if self._silent_seconds is not None:
                        age = max(age, self._silent_seconds())
                    if age >= 1:
                        more = (*more, (b"age", b"%d" % age))
                    status = await held.value.send(send, headers, more)
                    self._tally.count(status)
                    self._tally.time(perf_counter() - started)
                    return
            if self._action.is_large(question):
                status = await self._send_large(question, request, kept_by, scope, receive, send, more)
            elif kept_by is not None:
                reply, age = self._made_at_once(question, request, kept_by), 0.0
                if reply is None:
                    reply, age = await self._made(question, request, kept_by, is_large=False)
                status = await reply.send(send, headers, (*more, *self._age(age)))
            else:
                answer = self._action.at_once(self._context, question) or await self._action.answer(
                    self._context, question
                )
                more = (*more, *self._age(0.0))
                if isinstance(answer, Stream):
                    status = await send_stream(answer, scope, receive, send, more)
                else:
                    status = await self._action.reply(answer).send(send, headers, more)
        except ApiError as error:
            self._count(error.status)
            await send_problem(send, error, more)
            return
        except (ClientGone, ReaderStalled):
            return
        self._count(status)
        if self._action.is_read and self._action.is_timed:
            self._tally.time(perf_counter() - started)

    def refuse_method(self, headers: tuple[Header, ...], allowed: bytes) -> NoReturn:
        """Refuse a method that the endpoint's path does not have.

        Raises:
            Unauthorized: the endpoint needs the admin key, and the request lacks it; such a caller learns nothing more.
            MethodNotAllowed: carries the allowed methods.
        """
        try:
            if self.endpoint.key is Key.ADMIN:
                self._shared.admin_key.check(headers)
            raise MethodNotAllowed(headers=((b"allow", allowed),))
        except ApiError as error:
            if self.endpoint.key is Key.ADMIN:
                self._count(error.status)
            raise

    async def _open_request(self, scope: Scope, receive: Receive) -> Request[Any]:
        """Check a request to an endpoint that no workspace's key opens.

        Raises:
            Unauthorized: the endpoint needs the admin key, and the request lacks it.
            Invalid: a parameter is bad; the message names it.
        """
        # Checked before the body is read, so that nobody can upload without the key.
        if self.endpoint.key is Key.ADMIN:
            self._shared.admin_key.check(scope["headers"])
        path = scope["path_params"]
        for name, value in path.items():
            if not is_id(value):
                raise Invalid(f"{name}: {BAD_ID}")
        asked = self._nothing_asked
        if asked is None:
            asked = await self._of_body(receive, scope["headers"]) if self._has_body else self._of_query(scope)
        return Request("", "", path, asked, scope["headers"], self._clock.now(), scope.get("scheme", "http"))

    async def _of_body(self, receive: Receive, headers: tuple[Header, ...]) -> BaseModel:
        """The checked parameters in the body.

        Raises:
            Invalid: a field is bad; the message names the first one.
            BodyTooLarge: the body is larger than the endpoint's limit.
            ClientGone: the body stopped arriving.
        """
        body = self.endpoint.body
        assert isinstance(body, Body)
        return parsed(self._action.parameters, await whole_body(headers, receive, body.limit_bytes))

    def _of_query(self, scope: Scope) -> BaseModel:
        """The checked parameters in the query.

        Raises:
            Invalid: a parameter is bad; the message names the first one.
        """
        query: bytes = scope["query_string"]
        return self._known_query(query) if len(query) <= _LONGEST_KNOWN_BYTES else self._checked(query)

    def _checked(self, query: bytes) -> BaseModel:
        model = self._action.parameters
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
        # The last value of a repeated parameter, which products' documents leave open.
        values = dict(pairs)
        try:
            asked = model.model_validate(values, by_alias=True, by_name=False)
        except ValidationError as error:
            raise Invalid(describe(error)) from None
        if len(values) != len(pairs) and model.model_config.get("extra") == "forbid":
            repeated = next(name for name in values if [held for held, _ in pairs].count(name) > 1)
            raise Invalid(f"{repeated}: must be given once; several values of a list are separated by commas")
        return asked

    def _count(self, status: int) -> None:
        if self._action.is_counted:
            self._tally.count(status)

    def _age(self, seconds: float) -> tuple[Header, ...]:
        if self._silent_seconds is not None:
            seconds = max(seconds, self._silent_seconds())
        return ((b"age", b"%d" % seconds),) if seconds >= 1 else ()

    async def _send_large(
        self,
        question: Question,
        request: Request[Any],
        kept_by: Hashable | None,
        scope: Scope,
        receive: Receive,
        send: Send,
        more: tuple[Header, ...],
    ) -> int:
        """Answer with a reply that may have megabytes, holding a turn until it is sent; returns the HTTP status."""
        turns, owner = self._shared.answers, request.workspace_id
        wanted = partial(turns.is_wanted, owner)
        async with turns.turn(owner):
            if kept_by is not None:
                reply, age = self._made_meanwhile(kept_by) or await self._made(
                    question, request, kept_by, is_large=True
                )
                return await reply.send(send, request.headers, (*more, *self._age(age)), wanted)
            answer = await self._action.answer(self._context, question)
            if not isinstance(answer, Stream):
                made = await self._shared.desk.run(owner, self._action.reply, answer)
                return await made.send(send, request.headers, (*more, *self._age(0.0)), wanted)
            if answer.keeps_turn:
                return await send_stream(answer, scope, receive, send, (*more, *self._age(0.0)))
        # This stream is made while it is sent, and waits for turns of its own.
        return await send_stream(answer, scope, receive, send, (*more, *self._age(0.0)))

    def _made_at_once(self, question: Question, request: Request[Any], key: Hashable) -> Reply | None:
        """A new reply where it can be had without waiting, so that nobody else can ask meanwhile; None where it can't.

        Raises:
            NotFound: what is asked for is known not to be there.
        """
        cache = self._cache
        assert cache is not None
        self._tally.misses += 1
        began_at = cache.now()
        answer = self._action.at_once(self._context, question)
        if answer is None:
            return None
        reply = self._checked_reply(self._action.reply(answer))
        # To keep it takes as long as to look it up: what is asked for once is not kept.
        if cache.is_asked_again(key):
            self._keep(cache, key, question, request, answer, reply, began_at)
        return reply

    def _made_meanwhile(self, key: Hashable) -> tuple[Reply, float] | None:
        """The reply that another caller made while this one waited for its turn, with its age in seconds."""
        cache = self._cache
        assert cache is not None
        entry = cache.get(key)
        if entry is None:
            self._tally.misses += 1
            return None
        self._tally.hits += 1
        return entry.value, cache.now() - entry.made_at

    async def _made(
        self, question: Question, request: Request[Any], key: Hashable, *, is_large: bool
    ) -> tuple[Reply, float]:
        """A new reply, made once for all who ask meanwhile, or the last one that is known; with its age in seconds.

        Raises:
            ReadsUnavailable: no new reply can be made, and no old one is known.
        """
        cache = self._cache
        assert cache is not None
        try:
            return await self._flights.share(key, partial(self._fill, cache, key, question, request, is_large)), 0.0
        except ReadsUnavailable:
            last = cache.last_known(key)
            if last is None:
                raise
            self._tally.stale += 1
            return last.value, max(1.0, cache.now() - last.made_at)

    async def _fill(
        self, cache: AnswerCache[Reply], key: Hashable, question: Question, request: Request[Any], is_large: bool
    ) -> Reply:
        """Make a reply, and keep it."""
        action = self._action
        with making(cache.now()) as made_of:
            answer = await action.answer(self._context, question)
        if isinstance(answer, Stream):
            raise TypeError(f"{self._path}: a stream can't be kept")
        owner = request.workspace_id
        made = await self._shared.desk.run(owner, action.reply, answer) if is_large else action.reply(answer)
        reply = self._checked_reply(made)
        self._keep(cache, key, question, request, answer, reply, made_of.began_at)
        return reply

    def _checked_reply(self, reply: Reply | Plain) -> Reply:
        if isinstance(reply, Plain):
            raise TypeError(f"{self._path}: only reads are kept")
        return reply

    def _keep(
        self,
        cache: AnswerCache[Reply],
        key: Hashable,
        question: Question,
        request: Request[Any],
        answer: Answer[Value],
        reply: Reply,
        began_at: float,
    ) -> None:
        tags, seconds = self._action.kept(question, answer, request.now)
        if seconds > 0:
            # The key holds the parameters: hundreds of ids may be longer than the reply.
            size = reply.size_bytes + (0 if self._nothing_asked is not None else 2 * len(repr(request.parameters)))
            cache.put(key, reply, tags=tags, size_bytes=size, began_at=began_at, seconds=seconds)


def servers_of(api: Api[Context], context: Context, shared: Shared) -> list[EndpointServer[Context, Any, Any]]:
    """The servers of an API, one for each endpoint."""
    return [EndpointServer(api.name, endpoint, context, shared) for endpoint in api.endpoints]
