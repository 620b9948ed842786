"""Replies sent as they are read: to the end, until the caller goes away, or until somebody needs the place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from services.query_api.errors import Header
from services.query_api.serving.packing import coding_for, packed
from services.query_api.serving.replies import OF_A_KEY, send_pieces
from services.runtime.logging import get_logger

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer that is sent as it is read.

    Attributes:
        chunks: closed by whoever sends it, also when the caller goes away. An error before the first chunk is an error
            reply; one after it breaks the connection, so that no short file passes for a whole one.
        headers: besides content-type.
        is_wanted: whether somebody waits for what the stream holds; a reader that reads nothing is then cut off.
        keeps_turn: whether it is sent within the turn at large answers in which it was begun; any other stream has
            turns of its own.
    """

    media_type: str
    chunks: AsyncIterator[bytes]
    headers: tuple[Header, ...] = ()
    is_wanted: Callable[[], bool] | None = None
    keeps_turn: bool = False


async def send_stream(stream: Stream, scope: Scope, receive: Receive, send: Send, more: tuple[Header, ...]) -> int:
    """Send a stream until its end or until the caller goes away; returns the status.

    Raises:
        ApiError: before anything was sent.
    """
    sending = asyncio.ensure_future(_send_chunks(stream, scope, send, more))
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        # Nothing tells a sender that nobody listens any more, so that is waited for beside it.
        await asyncio.wait((sending, gone), return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            sending.result()
    finally:
        for task in (sending, gone):
            task.cancel()
        await asyncio.gather(sending, gone, return_exceptions=True)
    return 200


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_chunks(stream: Stream, scope: Scope, send: Send, more: tuple[Header, ...]) -> None:
    content_type = (b"content-type", stream.media_type.encode())
    coding = coding_for(stream.media_type, scope["headers"])
    if coding is not None:
        more = (*more, (b"content-encoding", coding))
    chunks = stream.chunks if coding is None else packed(stream.chunks, coding)
    start = {"type": "http.response.start", "status": 200, "headers": [content_type, *OF_A_KEY, *stream.headers, *more]}
    is_started = False
    try:
        if scope["method"] != "HEAD":
            async for chunk in chunks:
                if not is_started:
                    is_started = True
                    await send(start)
                await send_pieces(send, chunk, stream.is_wanted, more_body=True)
    except Exception as error:
        if not is_started:
            raise
        # Without a last part the server breaks the connection, which is what tells the caller.
        log.warning("a stream broke off", error=type(error).__name__)
        return
    finally:
        for opened in (chunks, stream.chunks):
            close = getattr(opened, "aclose", None)
            if close is not None:
                await close()
    if not is_started:
        await send(start)
    await send({"type": "http.response.body", "body": b""})
