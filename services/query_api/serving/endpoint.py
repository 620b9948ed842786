"""How an endpoint is declared: where it is, whose key opens it, what may be asked, what it does, and what comes back.

One `Endpoint` is one method of one path. `server` serves it and `openapi` describes it, and neither knows anything of
an endpoint that its declaration does not say. What an endpoint does is one of the four actions of `actions`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Hashable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from pydantic import BaseModel

from services.query_api.errors import ApiError, Header
from services.query_api.reads.keeping import Kept
from services.query_api.serving.auth import READ_SCOPE
from services.query_api.serving.replies import JSON, Plain, Reply
from services.query_api.serving.streams import Stream

Asked = TypeVar("Asked", bound=BaseModel)
Question = TypeVar("Question")
Value = TypeVar("Value")
Context = TypeVar("Context")
Context_contra = TypeVar("Context_contra", contravariant=True)


class Key(Enum):
    """Whose key opens an endpoint."""

    WORKSPACE = "workspace"
    """An API key of a workspace, which has the endpoint's scope; its requests are counted by the rate limit."""
    ADMIN = "admin"
    """The admin key."""
    NONE = "none"
    """Nobody's: the endpoint is open."""


class Request(NamedTuple, Generic[Asked]):
    """What an endpoint sees of a request.

    Attributes:
        workspace_id: the key's; empty where no workspace's key is needed.
        key_id: the key's own id, unique within the workspace; empty likewise.
        path: parameters of the path; a question with one that is no id is never answered.
        parameters: of the query, or of the body where the endpoint takes one; checked.
        headers: names in lower case.
        now: ms.
        scheme: `http` or `https`.
        lines: of the body as they arrive, where the endpoint takes `Lines`; None stands for one that is too long.
    """

    workspace_id: str
    key_id: str
    path: Mapping[str, str]
    parameters: Asked
    headers: tuple[Header, ...]
    now: int
    scheme: str = "http"
    lines: AsyncIterator[bytes | None] | None = None


@dataclass(frozen=True, slots=True)
class Parameter:
    """A documented parameter of the query, a header, or the body."""

    name: str
    description: str
    place: str = "query"
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    required: bool = False


@dataclass(frozen=True, slots=True)
class Body:
    """One JSON value as the request's body: the endpoint's parameters.

    Attributes:
        example: a JSON value.
        limit_bytes: a longer body is refused. By default hundreds of ids; every tenant may send them, so they are few
            enough to be read on the event loop.
    """

    example: Any
    limit_bytes: int = 256 * 1024


@dataclass(frozen=True, slots=True)
class Lines:
    """NDJSON as the request's body, which is read a line at a time.

    Attributes:
        example: of one line, a JSON value.
        name: of a line's schema in the description.
        models: what a line can be.
    """

    example: Any
    name: str
    models: tuple[type[BaseModel], ...]


class Answer(NamedTuple, Generic[Value]):
    """A whole answer.

    Attributes:
        value: what the endpoint's action makes a reply of: a JSON value, or bytes where `media_type` is another.
        tags: what it is made of, see `cache`.
        seconds: for how long it may be kept if nothing of that changes; 0 is not at all.
    """

    value: Value
    tags: tuple[bytes, ...] = ()
    seconds: float = 0.0
    media_type: str = JSON


class Action(ABC, Generic[Context_contra, Question, Value]):
    """What an endpoint does: from a request to a question, from the question to an answer, from that to a reply.

    Attributes:
        parameters: a model of what may be asked.
        ask: the question of a request; raises Invalid for parameters that don't fit together, and NotFound for what
            can't exist.
        key: what a reply to a question, asked at an instant in ms, is kept by; gives None where it is not kept.
        status: of a reply that is no refusal.
        is_read: whether replies have an ETag, tell their age, and are timed; writes and pages are none.
        is_counted: whether requests are counted in the metrics.
    """

    parameters: type[BaseModel]
    ask: Callable[[Request[Any]], Question]
    key: Callable[[Question, int], Hashable | None]
    status: int = 200
    is_read: ClassVar[bool] = True
    is_counted: ClassVar[bool] = True

    def is_large(self, question: Question) -> bool:
        """Whether the reply may be megabytes, so that it is made and sent by turns."""
        return False

    def at_once(self, context: Context_contra, question: Question) -> Answer[Value] | None:
        """The answer where it can be had without waiting; None where it can't.

        Raises:
            NotFound: what is asked for is known not to be there.
        """
        return None

    @abstractmethod
    async def answer(self, context: Context_contra, question: Question) -> Answer[Value] | Stream:
        """The answer.

        Raises:
            NotFound: what is asked for is not there, deleted, or another workspace's.
            ApiError: any other refusal.
        """

    def kept(self, question: Question, answer: Answer[Value], now: int) -> Kept:
        """How an answer is kept; `now` as for `key`."""
        return Kept(answer.tags, answer.seconds)

    @abstractmethod
    def reply(self, answer: Answer[Value]) -> Reply | Plain:
        """The answer as bytes."""


def never(question: object, now: int) -> None:
    """The `key` of what is not kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint(Generic[Context_contra, Question, Value]):
    """One method of one path.

    Attributes:
        id: its name in generated clients, which a new release must not change.
        path: with `{names}`, each one segment.
        action: what it does.
        key: whose key opens it.
        scope: that a workspace's key has to have.
        body: what a request's body holds; None where there is none.
        headers: request headers that count, for the description; the action reads them.
        path_values: the values that a parameter of the path can have, where they are not ids.
        sample: of the reply, a JSON value; None where there is none.
        schema: JSON schema of the reply.
        media_types: of the reply.
        text_samples: of replies that are no JSON, by media type.
        errors: that it may answer with, besides those of all endpoints with such a key.
    """

    id: str
    path: str
    summary: str
    description: str
    action: Action[Context_contra, Question, Value]
    method: str = "GET"
    key: Key = Key.WORKSPACE
    scope: str = READ_SCOPE
    body: Body | Lines | None = None
    headers: tuple[Parameter, ...] = ()
    path_values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sample: Any = None
    schema: Mapping[str, Any] = field(default_factory=dict)
    media_types: tuple[str, ...] = (JSON,)
    text_samples: Mapping[str, str] = field(default_factory=dict)
    errors: tuple[type[ApiError], ...] = ()


@dataclass(frozen=True, slots=True)
class Api(Generic[Context_contra]):
    """Endpoints under one heading: a product, Tidemark's own API, the admin API.

    Attributes:
        name: in metrics.
        title: in the description.
    """

    name: str
    title: str
    description: str
    endpoints: tuple[Endpoint[Context_contra, Any, Any], ...]
