"""How an endpoint of Tidemark's own API is declared: what is asked, with what it is answered, and what comes back."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from services.query_api.directory import Directory
from services.query_api.errors import Header
from services.query_api.fairness import Desk, Turns, answer_turns
from services.query_api.reads.query import ReadModel
from services.query_api.serving.streams import Stream

PREFIX = "/tidemark/v1"


class Parameters(BaseModel):
    """Base of what may be asked: fields of the query, or of a POST's JSON body.

    Instances are compared and hashed, since kept answers are found by them; a name that is not known is refused.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class NoParameters(Parameters):
    """Nothing may be asked."""


P = TypeVar("P", bound=Parameters)


@dataclass(frozen=True, slots=True)
class Request(Generic[P]):
    """What an endpoint sees of a request.

    Attributes:
        workspace_id: the key's.
        key_id: the key's own id, unique within the workspace.
        path: parameters of the path; each looks like an id.
        parameters: checked.
        headers: names in lower case.
        now: ms.
    """

    workspace_id: str
    key_id: str
    path: Mapping[str, str]
    parameters: P
    headers: tuple[Header, ...]
    now: int


class Store(Protocol):
    """Whoever runs queries: `clickhouse.ClickHouse`, or a fake."""

    async def rows(self, name: str, sql: str, parameters: dict[str, Any], seconds: float = 5.0) -> list[list[Any]]:
        """See `clickhouse.ClickHouse.rows`."""

    def stream(
        self, name: str, sql: str, parameters: dict[str, Any], fmt: str, settings: Mapping[str, Any] | None = None
    ) -> AsyncGenerator[bytes, None]:
        """See `clickhouse.ClickHouse.stream`."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What answers are made from.

    Attributes:
        poll_speed: what poll intervals are divided by.
        answers: turns at answers that are made anew: held until they are sent.
        desk: where payloads are read and large replies are written.
    """

    store: Store
    directory: Directory
    read_model: ReadModel
    poll_speed: float = 1.0
    answers: Turns = field(default_factory=answer_turns)
    desk: Desk = field(default_factory=Desk)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer.

    Attributes:
        value: a JSON value; bytes where `media_type` is another than JSON.
        tags: what it is made of, see `cache`.
        seconds: for how long it may be kept if nothing of that changes; 0 is not at all.
    """

    value: Any
    tags: tuple[bytes, ...] = ()
    seconds: float = 0.0
    media_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path.

    Attributes:
        id: its name in generated clients, which a new release must not change.
        path: with `{names}`.
        answer: raises Invalid for parameters that don't fit together, and NotFound.
        sample: of the reply, a JSON value.
        parameters: of the query, or of the JSON body of a POST.
        schema: JSON schema of the reply.
        is_kept: whether replies may be kept and shared; then `answer` never gives a Stream.
        tag_of: from the JSON value to what its ETag is made of, where that is not all of it.
        media_types: of the reply.
        path_values: the values that a parameter of the path can have, where they are not ids.
        text_samples: of replies that are no JSON, by media type.
    """

    id: str
    path: str
    summary: str
    description: str
    answer: Callable[[Sources, Request[Any]], Awaitable[Answer | Stream]]
    sample: Any
    method: str = "GET"
    parameters: type[Parameters] = NoParameters
    schema: Mapping[str, Any] = field(default_factory=dict)
    is_kept: bool = False
    tag_of: Callable[[Any], Any] | None = None
    media_types: tuple[str, ...] = ("application/json",)
    path_values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    text_samples: Mapping[str, str] = field(default_factory=dict)
