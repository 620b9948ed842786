"""How a product's endpoint is declared, and how it is served: who asks, how much, what, the answer, the reply.

A product gives pure functions: `compile` makes a question of a request, `render` a JSON value of the answer. Serving is
plain ASGI, since every layer in between would be paid on every hot read (docs/decisions/0003-web-framework.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.types import Receive, Scope, Send

from services.query_api.auth import KeyRing
from services.query_api.errors import ApiError, Header, NotFound
from services.query_api.limits import RateLimiter
from services.query_api.observability import REQUEST_SECONDS, REQUESTS
from services.query_api.query import ID, Question, ReadModel
from services.runtime.clock import Clock

_JSON: Header = (b"content-type", b"application/json")
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
        path: with `{names}`.
        compile: from request to question; raises Invalid for a bad parameter and NotFound for what can't exist.
        render: from question and answer to a JSON value with the keys in the document's order.
        sample: the document's own sample reply.
    """

    path: str
    summary: str
    description: str
    compile: Callable[[ReadRequest], Question]
    render: Callable[[Any, Any], Any]
    sample: Any
    parameters: tuple[Parameter, ...] = ()


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
    ) -> None:
        self._read = read
        self._keys = keys
        self._limiter = limiter
        self._read_model = read_model
        self._clock = clock
        self._seconds = REQUEST_SECONDS.labels(product, read.path)
        self._answered = REQUESTS.labels(product, read.path, "200")
        self._product = product

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()
        limit_headers: tuple[Header, ...] = ()
        headers = scope["headers"]
        try:
            key = self._keys.authenticate(headers)
            now = self._clock.now()
            if self._limiter is not None:
                limit_headers = self._limiter.take((key.workspace_id, key.key_id), now)
            question = self._read.compile(
                ReadRequest(key.workspace_id, scope["path_params"], parameters(scope), headers, now)
            )
            answer = await self._read_model.answer(question)
            if answer is None:
                raise NotFound
            body = orjson.dumps(self._read.render(question, answer))
        except ApiError as error:
            REQUESTS.labels(self._product, self._read.path, str(error.status)).inc()
            await send_problem(send, error, limit_headers)
            return
        await send_json(send, 200, body, limit_headers)
        self._answered.inc()
        self._seconds.observe(perf_counter() - started)


def parameters(scope: Scope) -> Mapping[str, str]:
    """The query's parameters; of a repeated one the last."""
    raw: bytes = scope["query_string"]
    if not raw:
        return _NO_PARAMETERS
    return dict(parse_qsl(raw.decode("latin-1"), keep_blank_values=True))


async def send_json(send: Send, status: int, body: bytes, headers: tuple[Header, ...] = ()) -> None:
    """Send a whole JSON reply."""
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [_JSON, length, *headers]})
    await send({"type": "http.response.body", "body": body})


async def send_problem(send: Send, error: ApiError, headers: tuple[Header, ...] = ()) -> None:
    """Send an error as RFC 9457 has it."""
    body = error.body()
    start: list[Header] = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", b"%d" % len(body)),
        *headers,
        *error.headers,
    ]
    await send({"type": "http.response.start", "status": error.status, "headers": start})
    await send({"type": "http.response.body", "body": body})


def path_id(request: ReadRequest, name: str) -> str:
    """An id of the path.

    Raises:
        NotFound: it is no id, so nothing has it.
    """
    value = request.path[name]
    if not ID.fullmatch(value):
        raise NotFound
    return value
