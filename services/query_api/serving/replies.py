"""Replies as bytes, which are made once and sent many times: whole, compressed, or as "not modified"."""

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
"""Headers of every reply and refusal for a key, so that no shared cache gives the reply to another caller."""
NOT_STORED: Header = (b"cache-control", b"no-store")
_GZIP: Header = (b"content-encoding", b"gzip")
# A reply is held in one compressed form only.
_CODINGS = (b"gzip",)
# Compressing a smaller reply saves no network packet.
_SMALLEST_PACKED_BYTES = 1_200
_GZIP_LEVEL = 5
LARGE_BYTES = 256 * 1024
"""Replies from this size on are compressed in a thread and sent in pieces."""
_PIECE_BYTES = 64 * 1024
# A reader that has not taken a piece within this time loses its place to a waiting caller.
_STALL_SECONDS = 2.0
_LONGEST_KNOWN_BYTES = 4_000
# Copied for each tag, which takes less than to make it anew.
_EMPTY = blake2b(digest_size=12)


class ReaderStalled(Exception):
    """The caller did not read its reply while others waited for its place; the connection is to be closed."""


class Reply:
    """One reply with an ETag.

    Args:
        body: the content, in the form that `content_type` names.
        tag_of: the bytes that the ETag is made of; None for the whole body.
        caching: the headers after content-type and ETag; those of a key's reply by default.
    """

    __slots__ = ("_packed", "body", "etag", "headers")

    def __init__(
        self,
        body: bytes,
        tag_of: bytes | None = None,
        content_type: str = JSON,
        caching: tuple[Header, ...] = OF_A_KEY,
    ) -> None:
        self.body = body
        digest = _EMPTY.copy()
        digest.update(body if tag_of is None else tag_of)
        # A weak tag: the compressed reply has the same tag, and so has a reply whose window moved by a second.
        self.etag = f'W/"{digest.hexdigest()}"'.encode()
        kind = _JSON if content_type is JSON else (b"content-type", content_type.encode())
        self.headers: tuple[Header, ...] = (kind, (b"etag", self.etag), *caching)
        self._packed: bytes | None = None

    @property
    def size_bytes(self) -> int:
        """The memory that the reply takes, compressed form included; estimated while that form is not made."""
        return len(self.body) + (len(self._packed) if self._packed is not None else len(self.body) // 3)

    def packed(self) -> bytes:
        """The body compressed with gzip; made at the first call."""
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
        """Send the reply in the form that the request asks for; returns the HTTP status.

        Args:
            more: further headers.
            is_wanted: see `send_pieces`.

        Raises:
            ReaderStalled: see `send_pieces`.
        """
        known = accepted = None
        for name, value in request_headers:
            if name == b"if-none-match":
                # Several lines mean the same as one line with commas.
                known = value if known is None else known + b"," + value
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
    """A reply without an ETag that is never compressed.

    Args:
        headers: all headers except content-length, which is added unless the status is 204.
    """

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, body: bytes, headers: tuple[Header, ...]) -> None:
        self.status = status
        self.body = body
        self.headers = headers

    @classmethod
    def of(cls, body: bytes, media_type: str, more: tuple[Header, ...] = (), status: int = 200) -> Plain:
        """A page, or a text for machines, with its media type."""
        return cls(status, body, ((b"content-type", media_type.encode()), *more))

    @classmethod
    def unstored(cls, status: int, body: bytes) -> Plain:
        """JSON that no cache may store."""
        return cls(status, body, (_JSON, NOT_STORED))

    @classmethod
    def empty(cls) -> Plain:
        """The reply 204, without a body."""
        return cls(204, b"", ())

    async def send(
        self,
        send: Send,
        request_headers: tuple[Header, ...],
        more: tuple[Header, ...] = (),
        is_wanted: Callable[[], bool] | None = None,
    ) -> int:
        """Send the reply; returns the HTTP status. Of the arguments of `Reply.send` only `more` counts."""
        length: tuple[Header, ...] = () if self.status == 204 else ((b"content-length", b"%d" % len(self.body)),)
        headers = [*self.headers, *length, *more]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})
        return self.status


async def send_pieces(
    send: Send, body: bytes, is_wanted: Callable[[], bool] | None, *, more_body: bool = False
) -> None:
    """Send a large body in pieces of 64 KiB, so that only as much waits in the connection as its reader takes.

    Args:
        is_wanted: returns whether another caller waits for the place that the sender holds.
        more_body: whether more parts of the reply follow the body.

    Raises:
        ReaderStalled: the reader took no piece for 2 seconds, and another caller waits.
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
    """Whether the tags of If-None-Match include the reply's tag; weak and strong tags compare as equal."""
    if len(known) > _LONGEST_KNOWN_BYTES:
        return False
    if known.strip() == b"*":
        return True
    return any(tag.strip().removeprefix(b"W/") == etag[2:] for tag in known.split(b","))


async def send_problem(send: Send, error: ApiError, headers: tuple[Header, ...] = ()) -> None:
    """Send an error as an RFC 9457 problem."""
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
