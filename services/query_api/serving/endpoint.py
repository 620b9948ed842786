"""Declares an endpoint: its path, the key that opens it, its parameters, its action, and its reply.

One `Endpoint` is one method of one path. `server` serves the endpoint and `openapi` describes it, and both know only
its declaration. An endpoint's action is one of the four kinds in `actions`.
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
    """The kind of key that opens an endpoint."""

    WORKSPACE = "workspace"
    """A workspace's API key with the endpoint's scope; the rate limit counts its requests."""
    ADMIN = "admin"
    """The admin key."""
    NONE = "none"
    """No key: the endpoint is open to everybody."""


class Request(NamedTuple, Generic[Asked]):
    """A request in the form that an endpoint's action receives.

    Attributes:
        workspace_id: the workspace of the key; empty for endpoints that no workspace's key opens.
        key_id: the key's own id, unique within the workspace; empty for endpoints that no workspace's key opens.
        path: parameters of the path; the server refuses a parameter that is no valid id.
        parameters: the checked parameters of the query, or of the body for endpoints with a body.
        headers: the request's headers, with names in lower case.
        now: ms.
        scheme: `http` or `https`.
        lines: the body's lines as they arrive, for endpoints with `Lines`; None in place of a line that is too long.
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
    """A documented parameter.

    Attributes:
        place: `query`, `header` or `body`.
        schema: the parameter's JSON schema.
    """

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
        limit_bytes: a longer body is refused. The default fits hundreds of ids, and is small enough to be read on the
            event loop, since every tenant may send such a body.
    """

    example: Any
    limit_bytes: int = 256 * 1024


@dataclass(frozen=True, slots=True)
class Lines:
    """NDJSON as the request's body, which is read a line at a time.

    Attributes:
        example: an example of one line, a JSON value.
        name: the name of a line's schema in the description.
        models: the models of the kinds of lines.
    """

    example: Any
    name: str
    models: tuple[type[BaseModel], ...]


class Answer(NamedTuple, Generic[Value]):
    """A whole answer.

    Attributes:
        value: the content that the endpoint's action makes a reply of: a JSON value, or bytes of another media type.
        tags: the data that the answer was made of; a change of it drops the kept reply (see `cache`).
        seconds: how long the reply may be kept while the data does not change; 0 for a reply that is not kept.
        media_type: the reply's media type.
    """

    value: Value
    tags: tuple[bytes, ...] = ()
    seconds: float = 0.0
    media_type: str = JSON


class Action(ABC, Generic[Context_contra, Question, Value]):
    """The work of an endpoint: makes a question of a request, an answer of the question, and a reply of the answer.

    Attributes:
        parameters: the model of the request's parameters.
        ask: makes the question of a request; raises Invalid for parameters that don't fit together, and NotFound for
            ids that can't exist.
        key: returns the key under which the reply to a question, asked at an instant in ms, is kept; None for a reply
            that is not kept.
        status: the HTTP status of a reply that is no refusal.
        is_read: whether replies have an ETag and an age, and are timed; False for writes and pages.
        is_counted: whether requests are counted in the metrics.
        is_timed: whether the metrics say how long replies took; False where a reply waits for something to happen.
    """

    parameters: type[BaseModel]
    ask: Callable[[Request[Any]], Question]
    key: Callable[[Question, int], Hashable | None]
    status: int = 200
    is_read: ClassVar[bool] = True
    is_counted: ClassVar[bool] = True
    is_timed: bool = True

    def is_large(self, question: Question) -> bool:
        """Whether the reply may have megabytes, so that callers take turns at making and sending such replies."""
        return False

    def at_once(self, context: Context_contra, question: Question) -> Answer[Value] | None:
        """The answer where it can be had without waiting; None where it can't.

        Raises:
            NotFound: what is asked for is known not to be there.
        """
        return None

    @abstractmethod
    async def answer(self, context: Context_contra, question: Question) -> Answer[Value] | Stream:
        """Answer the question.

        Raises:
            NotFound: the thing asked for does not exist, is deleted, or belongs to another workspace.
            ApiError: any other refusal.
        """

    def kept(self, question: Question, answer: Answer[Value], now: int) -> Kept:
        """The tags and the time for keeping the reply to a question that was asked at `now` (ms)."""
        return Kept(answer.tags, answer.seconds)

    @abstractmethod
    def reply(self, answer: Answer[Value]) -> Reply | Plain:
        """Write the answer as the bytes of a reply."""


def never(question: object, now: int) -> None:
    """The `key` of actions whose replies are not kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint(Generic[Context_contra, Question, Value]):
    """One method of one path.

    Attributes:
        id: the endpoint's name in generated clients, which a new release must not change.
        path: the path, with each parameter as a `{name}` that stands for one segment.
        action: the endpoint's work.
        key: the kind of key that opens the endpoint.
        scope: the scope that a workspace's key must have.
        body: the kind of body of a request; None for requests without a body.
        headers: request headers that the action reads, for the description.
        path_values: the values of those path parameters that are not ids.
        sample: a sample reply, a JSON value; None for replies that are no JSON.
        schema: the JSON schema of the reply; of a stream of events, that of an event's data.
        media_types: the reply's possible media types.
        text_samples: sample replies that are no JSON, by media type.
        errors: errors of this endpoint, besides the errors of all endpoints with such a key.
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
        name: the API's name in metrics.
        title: the heading in the description.
    """

    name: str
    title: str
    description: str
    endpoints: tuple[Endpoint[Context_contra, Any, Any], ...]
