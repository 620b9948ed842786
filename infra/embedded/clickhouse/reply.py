"""Sending a reply while watching whether the client is still there.

In: headers and bytes. Out: ASGI messages. This module never looks into the bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from starlette.types import Message, Receive, Send

from infra.embedded.clickhouse.compression import Compressor
from infra.embedded.clickhouse.running import CANCEL_AFTER_SECONDS, MOST_CANCEL_AFTER_SECONDS

T = TypeVar("T")


class ClientGone(Exception):
    """The client closed the connection before its reply was complete; no error can be sent any more."""


class Reply:
    """One HTTP reply; the request's body must have been read to its end.

    Attributes:
        is_started: whether status and headers were sent, so that no other reply can be.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self._send_now = send
        self._idle_seconds: float | None = None
        self._cut_off: asyncio.TimerHandle | None = None
        self.is_started = False
        self._gone = asyncio.ensure_future(self._wait_until_gone(receive))

    @staticmethod
    async def _wait_until_gone(receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    def bound(self, *, idle_seconds: float, seconds: float) -> None:
        """Set time limits: past either of them the client counts as gone.

        Args:
            idle_seconds: how long the client may leave one piece unread.
            seconds: how long the whole reply may take.
        """
        self._idle_seconds = idle_seconds
        self._cut_off = asyncio.get_running_loop().call_later(seconds, self._gone.cancel)

    async def _send(self, message: Message) -> None:
        if self._idle_seconds is None:
            await self._send_now(message)
            return
        sending = asyncio.ensure_future(self._send_now(message))
        await asyncio.wait((sending, self._gone), timeout=self._idle_seconds, return_when=asyncio.FIRST_COMPLETED)
        if not sending.done():
            sending.cancel()
            self._gone.cancel()
            raise ClientGone
        await sending

    async def unless_gone(self, work: Awaitable[T], cancel: Callable[[], Awaitable[None]] | None) -> T:
        """Wait for engine work, and cancel the work when the client leaves first.

        Args:
            cancel: asks the engine to stop the work; called again and again until the work ends. None for work that
                is finished in any case.

        Raises:
            ClientGone: the client left and the work was cancelled; the work has ended.
        """
        task = asyncio.ensure_future(work)
        await asyncio.wait((task, self._gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done() and cancel is not None:
            # At the first call the engine may not know the statement yet, so cancel is repeated until the work ends.
            pause = CANCEL_AFTER_SECONDS
            while not task.done():
                await cancel()
                await asyncio.wait((task,), timeout=pause)
                pause = min(2 * pause, MOST_CANCEL_AFTER_SECONDS)
            task.exception()
            raise ClientGone
        return await task

    async def start(self, headers: dict[str, str], status: int = 200) -> None:
        """Send status and headers."""
        self.is_started = True
        encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": encoded})

    async def piece(self, content: bytes, *, last: bool = False) -> None:
        """Send a part of the body; waits while the client reads more slowly than this process writes.

        Raises:
            ClientGone: the client left, or a time limit of `bound` passed.
        """
        if self._gone.done():
            raise ClientGone
        if content or last:
            await self._send({"type": "http.response.body", "body": content, "more_body": not last})

    async def whole(self, headers: dict[str, str], content: bytes, status: int = 200) -> None:
        """Send a complete reply with its length."""
        await self.start({**headers, "Content-Length": str(len(content))}, status)
        await self._send({"type": "http.response.body", "body": content, "more_body": False})

    def close(self) -> None:
        """Stop watching the client."""
        if self._cut_off is not None:
            self._cut_off.cancel()
        self._gone.cancel()


def exception_block(message: str, tag: str, encoder: Compressor | None) -> bytes:
    """The end of a reply that failed after its headers were sent, in the form of servers since 25.11.

    Source: clickhouse-connect, `driver/transform.py`, `extract_exception_with_tag`.
    """
    text = message.rstrip("\n")
    block = f"\r\n__exception__\r\n{tag}\r\n{text}\n{len(text.encode()) + 1} {tag}\r\n__exception__\r\n".encode()
    return encoder.feed(block) + encoder.finish() if encoder else block
