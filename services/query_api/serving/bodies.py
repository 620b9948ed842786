"""Reads request bodies within bounds: as a whole, or line by line as they arrive."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.types import Message, Receive

from services.query_api.errors import BodyTooLarge, Header, Invalid
from services.query_api.serving.parameters import describe

# Enough for a post with 500 targets of several thousand characters each, and well below the limit of a Kafka message.
BODY_LIMIT_BYTES = 4 * 1024 * 1024
LINE_LIMIT_BYTES = BODY_LIMIT_BYTES
# The longest number in any body has 19 digits.
_MOST_DIGITS = 40

Model = TypeVar("Model", bound=BaseModel)


class ClientGone(Exception):
    """The client closed the connection before its body was whole; no answer can be sent."""


async def chunks(receive: Receive) -> AsyncIterator[bytes]:
    """The body as it arrives.

    Raises:
        ClientGone: the client closed the connection.
    """
    while True:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        yield message.get("body", b"")
        if not message.get("more_body", False):
            return


async def whole_body(headers: Iterable[Header], receive: Receive, limit_bytes: int = BODY_LIMIT_BYTES) -> bytes:
    """The body in one piece.

    Raises:
        BodyTooLarge: the body is over the limit; the rest is not read.
        ClientGone: see `chunks`.
    """
    for name, value in headers:
        if name == b"content-length" and value.isdigit() and (len(value) > 15 or int(value) > limit_bytes):
            raise BodyTooLarge
    body = bytearray()
    async for chunk in chunks(receive):
        body += chunk
        if len(body) > limit_bytes:
            raise BodyTooLarge
    return bytes(body)


def parsed(model: type[Model], body: bytes) -> Model:
    """Parse a body to a model.

    Raises:
        Invalid: a field is bad; the message names the first one.
    """
    check_json(body)
    try:
        return model.model_validate_json(body, by_alias=True, by_name=False)
    except ValidationError as error:
        raise Invalid(describe(error), code="invalid_body") from None


def check_json(text: bytes) -> None:
    """Refuse JSON that two readers could understand differently, or that is costly to read.

    Raises:
        Invalid: the text is no JSON, a name occurs twice in one object, or the nesting or a number is over its bound.
    """
    try:
        json.loads(text, object_pairs_hook=_no_name_twice, parse_int=_number, parse_float=_number, parse_constant=_no)
    except RecursionError:
        raise Invalid("The body is nested too deep.", code="invalid_body") from None
    except ValueError:
        raise Invalid("The body is not valid JSON.", code="invalid_body") from None


def _no_name_twice(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise Invalid("A name occurs twice in one object.", code="invalid_body")


def _number(text: str) -> None:
    if len(text) > _MOST_DIGITS:
        raise Invalid(f"A number has more than {_MOST_DIGITS} characters.", code="invalid_body")


def _no(_: str) -> NoReturn:
    raise ValueError("no number of JSON")


async def lines(receive: Receive) -> AsyncIterator[bytes | None]:
    """The body's lines as they arrive, without line ends; None stands for a line over the limit.

    Raises:
        ClientGone: see `chunks`.
    """
    held = bytearray()
    is_skipping = False
    async for chunk in chunks(receive):
        held += chunk
        first = 0
        while (end := held.find(b"\n", first)) >= 0:
            line = bytes(held[first:end])
            first = end + 1
            yield None if is_skipping or len(line) > LINE_LIMIT_BYTES else line.removesuffix(b"\r")
            is_skipping = False
        del held[:first]
        if len(held) > LINE_LIMIT_BYTES:
            held.clear()
            is_skipping = True
    if held or is_skipping:
        yield None if is_skipping else bytes(held)
