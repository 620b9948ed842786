"""Replies as bytes: made once, sent many times, whole, packed, or as "not modified". No I/O but the sending."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from hashlib import blake2b

from starlette.types import Message, Send

from services.query_api.errors import ApiError, Header
from services.query_api.serving.accept import coding_among

JSON = "application/json"

_JSON: Header = (b"content-type", JSON.encode())
OF_A_KEY: tuple[Header, ...] = (
    (b"cache-control", b"private"),
    (b"vary", b"authorization, x-api-key, x-workspace-id, accept, accept-encoding"),
)
"""On everything that a key may open, and on its refusals: no shared cache may give it to anybody else."""
NOT_STORED: Header = (b"cache-control", b"no-store")
_GZIP: Header = (b"content-encoding", b"gzip")
# What is made once and sent many times is held in one packed form.
_CODINGS = (b"gzip",)
# Below this a packed reply saves no packet.
_SMALLEST_PACKED_BYTES = 1_200
_GZIP_LEVEL = 5
LARGE_BYTES = 256 * 1024
"""Replies from this size on are packed beside the event loop and sent in pieces."""
_PIECE_BYTES = 64 * 1024
# A reader that has not taken one piece in this time gives way to whoever waits.
_STALL_SECONDS = 2.0
_LONGEST_KNOWN_BYTES = 4_000
_TAG_BYTES = 12


class ReaderStalled(Exception):
    """The caller did not read its reply while others waited for its place."""


class Reply:
    """One reply.

    Args:
        body: the JSON text, or what `content_type` says.
        tag_of: what the reply's tag is made of, where that is less than the body.
    """

    __slots__ = ("_packed", "body", "etag", "headers")

    def __init__(self, body: bytes, tag_of: bytes | None = None, content_type: str = JSON) -> None:
        self.body = body
        digest = blake2b(body if tag_of is None else tag_of, digest_size=_TAG_BYTES).hexdigest()
        # Weak: the packed reply has the same, and so has one whose window moved by a second.
        self.etag = f'W/"{digest}"'.encode()
        self.headers: tuple[Header, ...] = ((b"content-type", content_type.encode()), (b"etag", self.etag), *OF_A_KEY)
        self._packed: bytes | None = None

    @property
    def size_bytes(self) -> int:
        """What holding it costs, the packed form included."""
        return len(self.body) + (len(self._packed) if self._packed is not None else len(self.body) // 3)

    def packed(self) -> bytes:
        """The body in gzip."""
        if self._packed is None:
            packer = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, 31)
            self._packed = packer.compress(self.body) + packer.flush()
        return self._packed

    async def send(
        self,
        send: Send,
        request_headers: tuple[Header, ...],
        more: tuple[Header, ...] = (),
        is_wanted: Callable[[], bool] | None = None,
    ) -> int:
        """Send it in the form that was asked for; returns the status.

        Args:
            is_wanted: see `send_pieces`.

        Raises:
            ReaderStalled: likewise.
        """
        known = accepted = None
        for name, value in request_headers:
            if name == b"if-none-match":
                known = value
            elif name == b"accept-encoding":
                accepted = value
        if known is not None and _matches(known, self.etag):
            await send({"type": "http.response.start", "status": 304, "headers": [*self.headers[1:], *more]})
            await send({"type": "http.response.body", "body": b""})
            return 304
        body, headers = self.body, self.headers + more
        if accepted is not None and len(body) >= _SMALLEST_PACKED_BYTES and coding_among(accepted, _CODINGS):
            body = self.packed() if len(body) < LARGE_BYTES else await asyncio.to_thread(self.packed)
            headers = (*headers, _GZIP)
        length = (b"content-length", b"%d" % len(body))
        await send({"type": "http.response.start", "status": 200, "headers": [*headers, length]})
        if len(body) < LARGE_BYTES:
            await send({"type": "http.response.body", "body": body})
        else:
            await send_pieces(send, body, is_wanted)
        return 200


class Plain:
    """A reply that is sent as it is: without a tag, and never packed.

    Args:
        headers: all but content-length; no length is told where there is no body at all.
    """

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, body: bytes, headers: tuple[Header, ...]) -> None:
        self.status = status
        self.body = body
        self.headers = headers

    @classmethod
    def of(cls, body: bytes, media_type: str, more: tuple[Header, ...] = (), status: int = 200) -> Plain:
        """A page, or a text for machines."""
        return cls(status, body, ((b"content-type", media_type.encode()), *more))

    @classmethod
    def unstored(cls, status: int, body: bytes) -> Plain:
        """JSON that no cache may store."""
        return cls(status, body, (_JSON, NOT_STORED))

    @classmethod
    def empty(cls) -> Plain:
        """Done, and nothing to tell."""
        return cls(204, b"", ())

    async def send(
        self,
        send: Send,
        request_headers: tuple[Header, ...],
        more: tuple[Header, ...] = (),
        is_wanted: Callable[[], bool] | None = None,
    ) -> int:
        """Send it; returns the status. Arguments as of `Reply.send`."""
        length: tuple[Header, ...] = () if self.status == 204 else ((b"content-length", b"%d" % len(self.body)),)
        headers = [*self.headers, *length, *more]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})
        return self.status


async def send_pieces(
    send: Send, body: bytes, is_wanted: Callable[[], bool] | None, *, more_body: bool = False
) -> None:
    """Send a large body so that no more of it waits in the connection than its reader takes.

    Args:
        is_wanted: whether somebody waits for what the sender holds.
        more_body: whether more comes after it.

    Raises:
        ReaderStalled: it was not read for a while, and somebody waits.
    """
    for first in range(0, len(body), _PIECE_BYTES):
        is_last = first + _PIECE_BYTES >= len(body)
        piece = body[first : first + _PIECE_BYTES]
        message = {"type": "http.response.body", "body": piece, "more_body": more_body or not is_last}
        if is_wanted is None:
            await send(message)
        else:
            await _send_while_unwanted(send, message, is_wanted)


async def _send_while_unwanted(send: Send, message: Message, is_wanted: Callable[[], bool]) -> None:
    sending = asyncio.ensure_future(send(message))
    try:
        while not (await asyncio.wait((sending,), timeout=_STALL_SECONDS))[0]:
            if is_wanted():
                raise ReaderStalled
        sending.result()
    finally:
        sending.cancel()


def _matches(known: bytes, etag: bytes) -> bool:
    """Whether one of the tags that a caller knows is this one, compared weakly."""
    if len(known) > _LONGEST_KNOWN_BYTES:
        return False
    if known.strip() == b"*":
        return True
    return any(tag.strip().removeprefix(b"W/") == etag[2:] for tag in known.split(b","))


async def send_problem(send: Send, error: ApiError, headers: tuple[Header, ...] = ()) -> None:
    """Send an error as RFC 9457 has it."""
    body = error.body()
    start: list[Header] = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", b"%d" % len(body)),
        *OF_A_KEY,
        *headers,
        *error.headers,
    ]
    await send({"type": "http.response.start", "status": error.status, "headers": start})
    await send({"type": "http.response.body", "body": body})
