"""Sends replies while they are read, until the end, until the caller leaves, or until another needs the place."""

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
    """An answer that is sent while it is read.

    Attributes:
        chunks: the content; the sender closes the iterator, also when the caller leaves. An error before the first
            chunk becomes an error reply. A later error breaks the connection, so that no short file passes for a whole
            one.
        headers: further headers besides content-type.
        is_wanted: returns whether another caller waits for the place of this stream; a reader that takes nothing then
            loses its connection.
        keeps_turn: whether the stream is sent within the turn at large answers in which it began; other streams wait
            for turns of their own.
    """

    media_type: str
    chunks: AsyncIterator[bytes]
    headers: tuple[Header, ...] = ()
    is_wanted: Callable[[], bool] | None = None
    keeps_turn: bool = False


async def send_stream(stream: Stream, scope: Scope, receive: Receive, send: Send, more: tuple[Header, ...]) -> int:
    """Send a stream until its end or until the caller leaves; returns the HTTP status.

    Raises:
        ApiError: the stream failed before anything was sent.
        ReaderStalled: the reader took no piece for a while, and another caller waits.
    """
    sending = asyncio.ensure_future(_send_chunks(stream, scope, send, more))
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        # Sending does not fail when the caller has left, so the disconnect is waited for at the same time.
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
        # Without a last part the server breaks the connection, so that the caller notices the failure.
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
