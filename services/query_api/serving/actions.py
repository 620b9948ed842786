"""The four things that an endpoint can do: ask a question, read, write, show a page."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Hashable
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Generic, TypeVar

import orjson
from pydantic import BaseModel

from services.query_api.errors import NotFound
from services.query_api.reads import keeping
from services.query_api.reads.at_once import NotAtOnce
from services.query_api.reads.query import Question
from services.query_api.reads.sources import Sources
from services.query_api.serving.endpoint import Action, Answer, Endpoint, Key, Request, never
from services.query_api.serving.parameters import AnyParameters
from services.query_api.serving.replies import JSON, Plain, Reply
from services.query_api.serving.streams import Stream

Asked = TypeVar("Asked", bound=BaseModel)
Answered = TypeVar("Answered")
Shown = TypeVar("Shown")
Context = TypeVar("Context")


@dataclass(frozen=True, slots=True)
class Series(Generic[Answered]):
    """How an answer that may be too long to be made whole is sent in parts.

    Attributes:
        name: the last name of the JSON value; its value is the list that is sent in parts.
        parts_after: the parts after a first answer, as answers whose lists continue the list; None where the answer
            is whole.
    """

    name: str
    parts_after: Callable[[Answered], AsyncGenerator[Answered, None] | None]


@dataclass(frozen=True, slots=True)
class Asks(Action[Sources, Question[Answered], Answered], Generic[Asked, Answered, Shown]):
    """Asks the read model one question, and shows its answer; replies are kept by the question, see `keeping`.

    Attributes:
        ask: pure; raises Invalid for a bad parameter, and NotFound for an id that can't exist.
        render: pure; from the answer to a JSON value, with the keys in the order of the product's document.
        tag_of: from the JSON value to the part that its ETag is made of, where that is not the whole value.
    """

    parameters: type[Asked]
    ask: Callable[[Request[Asked]], Question[Answered]]
    render: Callable[[Answered], Shown]
    tag_of: Callable[[Shown], object] | None = None
    series: Series[Answered] | None = None
    key: Callable[[Question[Answered], int], Hashable | None] = field(default=keeping.key_of, init=False)

    def is_large(self, question: Question[Answered]) -> bool:
        """Whether the answer holds payloads."""
        return question.holds_payloads

    def at_once(self, context: Sources, question: Question[Answered]) -> Answer[Answered] | None:
        """The answer where it can be had without waiting; None where it can't.

        Raises:
            NotFound: it is known not to be there.
        """
        if context.at_once is None:
            return None
        try:
            found = context.at_once.answer(question)
        except NotAtOnce:
            return None
        if found is None:
            raise NotFound
        return Answer(found)

    async def answer(self, context: Sources, question: Question[Answered]) -> Answer[Answered] | Stream:
        """The read model's answer, not rendered yet; or a stream, for a series too long to be made whole."""
        found = await context.read_model.answer(question)
        if found is None:
            raise NotFound
        if self.series is not None and (parts := self.series.parts_after(found)) is not None:
            owner = question.workspace_id
            text = self._text_in_parts(context, owner, self.series.name, found, parts)
            return Stream(JSON, text, is_wanted=partial(context.answers.is_wanted, owner), keeps_turn=True)
        return Answer(found)

    def kept(self, question: Question[Answered], answer: Answer[Answered], now: int) -> keeping.Kept:
        """The tags and the time for keeping the reply, which follow from the question (see `keeping`)."""
        return keeping.kept(question, answer.value, now)

    def reply(self, answer: Answer[Answered]) -> Reply:
        """The answer rendered and written."""
        shown = self.render(answer.value)
        return Reply(orjson.dumps(shown), None if self.tag_of is None else orjson.dumps(self.tag_of(shown)))

    async def _text_in_parts(
        self, context: Sources, owner: str, name: str, first: Answered, parts: AsyncGenerator[Answered, None]
    ) -> AsyncIterator[bytes]:
        """The reply's text: its beginning with the first part's items, then each further part's items, then its end."""
        async with aclosing(parts):
            text = await context.desk.run(owner, self._text, first)
            if not text.endswith(b"]}"):
                raise TypeError(f"{name} is not the last of the reply, or no list")
            yield text[:-2]
            is_begun = not text.endswith(b"[]}")
            async for part in parts:
                items = await context.desk.run(owner, self._items, name, part)
                if items:
                    yield b"," + items if is_begun else items
                    is_begun = True
        yield b"]}"

    def _text(self, answer: Answered) -> bytes:
        return orjson.dumps(self.render(answer))

    def _items(self, name: str, answer: Answered) -> bytes:
        shown: Any = self.render(answer)
        return orjson.dumps(shown[name])[1:-1]


def _itself(request: Request[Asked]) -> Request[Asked]:
    return request


def _request_key(request: Request[Any], now: int) -> Hashable:
    return request.workspace_id, tuple(request.path.values()), request.parameters


@dataclass(frozen=True, slots=True)
class Reads(Action[Context, Request[Asked], object], Generic[Context, Asked]):
    """Reads from the sources itself, and returns a JSON value, bytes, or a stream.

    Attributes:
        read: raises Invalid for parameters that don't fit together, and NotFound.
        is_kept: whether replies may be kept and shared; then `read` never returns a Stream, and parameters are
            hashable.
        tag_of: from the JSON value to the part that its ETag is made of, where that is not the whole value.
        by_turns: whether replies that are not kept may have megabytes, so that they are made and sent by turns. Must
            be False for a function that waits for something, since it would hold its turn meanwhile.
        is_timed: see `Action`.
    """

    parameters: type[Asked]
    read: Callable[[Context, Request[Asked]], Awaitable[Answer[object] | Stream]]
    is_kept: bool = False
    tag_of: Callable[[Any], object] | None = None
    by_turns: bool = True
    is_timed: bool = True
    ask: Callable[[Request[Asked]], Request[Asked]] = field(default=_itself, init=False)
    key: Callable[[Request[Asked], int], Hashable | None] = field(default=never, init=False)

    def __post_init__(self) -> None:
        if self.is_kept:
            object.__setattr__(self, "key", _request_key)

    def is_large(self, question: Request[Asked]) -> bool:
        """Whether the reply may be large: it is not kept, and the endpoint is declared `by_turns`."""
        return self.by_turns and not self.is_kept

    async def answer(self, context: Context, question: Request[Asked]) -> Answer[object] | Stream:
        """What the endpoint's function reads for the request."""
        return await self.read(context, question)

    def reply(self, answer: Answer[object]) -> Reply:
        """The value written as JSON, or the bytes that it is."""
        if isinstance(answer.value, bytes):
            return Reply(answer.value, content_type=answer.media_type)
        tag = None if self.tag_of is None else orjson.dumps(self.tag_of(answer.value))
        return Reply(orjson.dumps(answer.value), tag)


@dataclass(frozen=True, slots=True)
class Writes(Action[Context, Request[Asked], object], Generic[Context, Asked]):
    """Changes something, or reads data that no cache may store: replies are JSON, and are kept nowhere.

    Attributes:
        write: returns a JSON value, which is not sent for status 204.
        status: the reply's status.
    """

    is_read: ClassVar[bool] = False

    parameters: type[Asked]
    write: Callable[[Context, Request[Asked]], Awaitable[object]]
    status: int = 200
    ask: Callable[[Request[Asked]], Request[Asked]] = field(default=_itself, init=False)
    key: Callable[[Request[Asked], int], Hashable | None] = field(default=never, init=False)

    async def answer(self, context: Context, question: Request[Asked]) -> Answer[object]:
        """What the write gave."""
        return Answer(await self.write(context, question))

    def reply(self, answer: Answer[object]) -> Plain:
        """The value written as JSON; nothing for status 204."""
        return Plain.empty() if self.status == 204 else Plain.unstored(self.status, orjson.dumps(answer.value))


@dataclass(frozen=True, slots=True)
class Shows(Action[Context, Request[Asked], Plain | Reply], Generic[Context, Asked]):
    """Shows a page, a file, or a text for machines, with headers of its own; the metrics do not count such requests."""

    is_read: ClassVar[bool] = False
    is_counted: ClassVar[bool] = False

    parameters: type[Asked]
    show: Callable[[Context, Request[Asked]], Awaitable[Plain | Reply]]
    ask: Callable[[Request[Asked]], Request[Asked]] = field(default=_itself, init=False)
    key: Callable[[Request[Asked], int], Hashable | None] = field(default=never, init=False)

    async def answer(self, context: Context, question: Request[Asked]) -> Answer[Plain | Reply]:
        """What the endpoint's function shows for the request."""
        return Answer(await self.show(context, question))

    def reply(self, answer: Answer[Plain | Reply]) -> Plain | Reply:
        """The page as it is."""
        return answer.value


# Endpoints are declared with these functions. An endpoint forgets its action's types, so mypy checks an action's parts
# against each other only here, where one function receives all of them.


def asks(
    parameters: type[Asked],
    ask: Callable[[Request[Asked]], Question[Answered]],
    render: Callable[[Answered], Shown],
    *,
    tag_of: Callable[[Shown], object] | None = None,
    series: Series[Answered] | None = None,
) -> Action[Sources, Any, Any]:
    """Make an `Asks`, its types checked against each other."""
    return Asks(parameters, ask, render, tag_of, series)


def reads(
    parameters: type[Asked],
    read: Callable[[Context, Request[Asked]], Awaitable[Answer[object] | Stream]],
    *,
    is_kept: bool = False,
    tag_of: Callable[[Any], object] | None = None,
    by_turns: bool = True,
    is_timed: bool = True,
) -> Action[Context, Any, Any]:
    """Make a `Reads`, its types checked against each other."""
    return Reads(parameters, read, is_kept, tag_of, by_turns, is_timed)


def writes(
    parameters: type[Asked], write: Callable[[Context, Request[Asked]], Awaitable[object]], *, status: int = 200
) -> Action[Context, Any, Any]:
    """Make a `Writes`, its types checked against each other."""
    return Writes(parameters, write, status)


def shows(
    parameters: type[Asked], show: Callable[[Context, Request[Asked]], Awaitable[Plain | Reply]]
) -> Action[Context, Any, Any]:
    """Make a `Shows`, its types checked against each other."""
    return Shows(parameters, show)


def page(
    name: str,
    path: str,
    summary: str,
    show: Callable[[Context, Request[AnyParameters]], Awaitable[Plain | Reply]],
    key: Key = Key.NONE,
) -> Endpoint[Context, Any, Any]:
    """Declare an address that shows a page, a file or a text, and that the description for clients leaves out."""
    return Endpoint(id=name, path=path, summary=summary, description="", action=shows(AnyParameters, show), key=key)
