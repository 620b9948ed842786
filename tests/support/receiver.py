"""A receiver of webhooks on 127.0.0.1 that behaves as its paths say: takes, fails, hangs, redirects, closes, is slow.

It listens in the test's own event loop and keeps every request whose body it has read.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import NamedTuple

_HELD = 20.0


class Request(NamedTuple):
    """One request.

    Attributes:
        at: seconds of a clock that only goes forward.
        answered: the status; 0 where no whole answer was given.
    """

    path: str
    headers: dict[str, str]
    body: bytes
    at: float
    answered: int


class Receiver:
    """What came.

    Attributes:
        decide: from a path to the behaviour; by default the path's own name.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._by_path: dict[str, list[Request]] = {}
        self.decide: Callable[[str], str] = lambda path: path.split("?")[0].split("/")[1]
        self.port = 0
        self._open: set[asyncio.Task[None]] = set()

    def url(self, path: str) -> str:
        """The address of a path."""
        return f"http://127.0.0.1:{self.port}/{path}"

    def of(self, path: str) -> list[Request]:
        """The requests to a path, in their order."""
        return list(self._by_path.get(f"/{path}", ()))

    def taken(self, path: str) -> list[Request]:
        """Those that were answered with success."""
        return [request for request in self.of(path) if 200 <= request.answered < 300]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            while await self._answer(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(task)
            with contextlib.suppress(ConnectionError):
                writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        path = head[0].split(" ")[1]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        behaviour = self.decide(path)
        status = (
            int(behaviour)
            if behaviour.isdigit()
            else {"ok": 200, "slow": 200, "big": 200, "redirect": 302}.get(behaviour, 0)
        )
        request = Request(path, headers, body, time.monotonic(), status)
        self.requests.append(request)
        self._by_path.setdefault(path, []).append(request)
        match behaviour:
            case "hang":
                await asyncio.sleep(_HELD)
                return False
            case "close":
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
                await writer.drain()
                return False
            case "reset":
                writer.transport.abort()
                return False
            case "rubbish":
                writer.write(b"this is no HTTP\r\n\r\n")
                await writer.drain()
                return False
            case "slow":
                await asyncio.sleep(0.3)
            case "big":
                writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                with contextlib.suppress(ConnectionError):
                    for _ in range(1_000):
                        writer.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")
                        await writer.drain()
                return False
        more = f"location: {self.url('ok/redirected')}\r\n" if status == 302 else ""
        text = b"taken" if status == 200 else b"refused <b>here</b>"
        writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: {len(text)}\r\n{more}\r\n".encode() + text)
        await writer.drain()
        return True

    def end(self) -> None:
        """Break every connection."""
        for task in list(self._open):
            task.cancel()


@contextmanager
def receiving_in_a_thread() -> Iterator[Receiver]:
    """A receiver with an event loop of its own, for tests without one."""
    started: queue.Queue[tuple[Receiver, asyncio.AbstractEventLoop, asyncio.Event]] = queue.Queue()

    async def serve() -> None:
        async with receiving() as receiver:
            ended = asyncio.Event()
            started.put((receiver, asyncio.get_running_loop(), ended))
            await ended.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    receiver, loop, ended = started.get(timeout=10)
    try:
        yield receiver
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(10)


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver, until the block ends."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        receiver.end()
