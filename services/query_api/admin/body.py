"""Request bodies within bounds: whole ones, and lines as they arrive."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.types import Message, Receive, Scope

from services.query_api.admin.models import describe
from services.query_api.errors import BodyTooLarge, Invalid

# A post with 500 targets of some thousand characters each; well under what a Kafka message may hold.
BODY_LIMIT_BYTES = 4 * 1024 * 1024
LINE_LIMIT_BYTES = BODY_LIMIT_BYTES

Model = TypeVar("Model", bound=BaseModel)


class ClientGone(Exception):
    """The client closed the connection before its body was whole; there is nobody to answer."""


async def chunks(receive: Receive) -> AsyncIterator[bytes]:
    """The body as it arrives.

    Raises:
        ClientGone: it stopped arriving.
    """
    while True:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        yield message.get("body", b"")
        if not message.get("more_body", False):
            return


async def whole_body(scope: Scope, receive: Receive) -> bytes:
    """The body in one piece.

    Raises:
        BodyTooLarge: it is over the limit; the rest is not read.
        ClientGone: see `chunks`.
    """
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > BODY_LIMIT_BYTES:
            raise BodyTooLarge
    body = bytearray()
    async for chunk in chunks(receive):
        body += chunk
        if len(body) > BODY_LIMIT_BYTES:
            raise BodyTooLarge
    return bytes(body)


def parsed(model: type[Model], body: bytes) -> Model:
    """A body as a model.

    Raises:
        Invalid: names the first bad field.
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise Invalid(describe(error), code="invalid_body") from None


async def lines(receive: Receive) -> AsyncIterator[bytes | None]:
    """The body's lines as they arrive, without their ends; None stands for one over the limit.

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
