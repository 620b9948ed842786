"""One HTTP connection pool with a key: translates errors, and tries calls again that may be repeated."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from secrets import SystemRandom
from time import monotonic
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx
from httpx_sse import ServerSentEvent, SSEError, connect_sse
from pydantic import BaseModel, SecretStr, ValidationError
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from tidemark_client.errors import TidemarkError

ATTEMPTS = 4
# A single call is not tried again where the server asks for a longer pause: the caller may have better things to do.
LONGEST_WAIT_SECONDS = 30.0
# Of calls that are made until they succeed, whatever the server asks for.
LONGEST_PAUSE_SECONDS = 600.0
# Longer than the 15 s between comments of a stream: a connection that is silent for longer is lost.
SILENT_SECONDS = 40.0
_Answer = TypeVar("_Answer", bound=BaseModel)
_VISIBLE = re.compile(r"[!-~]+")
_random = SystemRandom()
_backoff = wait_random_exponential(multiplier=0.2, max=5)


def quoted(thing_id: str) -> str:
    """An id as one segment of a path, whatever characters the id holds."""
    # As they are, the segments "." and ".." are taken out of a path before it is sent (RFC 3986, 5.2.4).
    return thing_id.replace(".", "%2E") if thing_id in (".", "..") else quote(thing_id, safe=":")


def parsed(model: type[_Answer], reply: httpx.Response) -> _Answer:
    """A reply by its model.

    Raises:
        TidemarkError: the reply is not Tidemark's own. Its text is not repeated: it may hold a new key.
    """
    try:
        return model.model_validate_json(reply.content)
    except ValidationError:
        raise TidemarkError.of_strange_reply(reply.status_code) from None


def _sendable(key: str | SecretStr) -> SecretStr:
    text = (key if isinstance(key, str) else key.get_secret_value()).strip()
    if not _VISIBLE.fullmatch(text):
        raise ValueError("the key is empty, or has spaces or characters that a header can't hold")
    return SecretStr(text)


class _Bearer(httpx.Auth):
    """Puts the key into each request, and keeps the key out of default headers, which a log may show."""

    def __init__(self, key: SecretStr) -> None:
        self._key = key

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["authorization"] = f"Bearer {self._key.get_secret_value()}"
        yield request


class Transport:
    """Base of the clients.

    Args:
        url: origin of the query API.
        key: the API key; never shown, logged or part of an error.
        timeout_seconds: limit for connecting, and for each wait for bytes.
        transport: replaces the network in tests.
        sleep: replaces waiting (seconds) between calls in tests.
        clock: replaces the monotonic clock (seconds) in tests.

    Raises:
        ValueError: the address is none, or a header can't hold the key. The message repeats neither.
    """

    def __init__(
        self,
        url: str,
        key: str | SecretStr,
        *,
        timeout_seconds: float = 30.0,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], object] | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._url = url.rstrip("/")
        self._closed = threading.Event()
        self._sleep = self._closed.wait if sleep is None else sleep
        self._clock = clock
        try:
            address = httpx.URL(self._url)
        except httpx.InvalidURL:
            raise ValueError("the address is no http(s) origin, such as https://analytics.example.com") from None
        self._shown = str(address.copy_with(userinfo=b""))
        self._http = httpx.Client(
            base_url=address, auth=_Bearer(_sendable(key)), timeout=timeout_seconds, transport=transport
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._shown!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections to the API; no other call may follow. A call that waits to be made again ends."""
        self._closed.set()
        self._http.close()

    def _call(
        self,
        method: str,
        path: str,
        *,
        repeatable: bool,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        content: bytes | None = None,
    ) -> httpx.Response:
        """Make a call and return its whole reply.

        Args:
            repeatable: whether the call may be made twice, so that it is tried again where that may help.
            params: query parameters; those that are None are left out.

        Raises:
            TidemarkError: no reply came, or the reply is an error.
        """
        given = {name: value for name, value in (params or {}).items() if value is not None}

        def once() -> httpx.Response:
            try:
                reply = self._http.request(method, path, params=given, json=json, content=content)
            except httpx.HTTPError as error:
                raise TidemarkError.of_transport(error) from error
            if not reply.is_success:
                raise TidemarkError.of_reply(reply)
            return reply

        if not repeatable:
            return once()
        return Retrying(
            sleep=self._pause,
            stop=stop_after_attempt(ATTEMPTS),
            wait=_wait,
            retry=retry_if_exception(_may_help),
            reraise=True,
        )(once)

    def _read(self, model: type[_Answer], path: str, params: Mapping[str, Any] | None = None) -> _Answer:
        """The reply of a GET, by its model; raises as `_call` does."""
        return parsed(model, self._call("GET", path, params=params, repeatable=True))

    def _pause(self, seconds: float) -> None:
        """Wait between two calls.

        Raises:
            TidemarkError: the client was closed meanwhile.
        """
        self._sleep(seconds)
        if self._closed.is_set():
            raise TidemarkError.of_closing()

    @contextmanager
    def _stream(self, path: str, params: Mapping[str, Any]) -> Iterator[Iterator[bytes]]:
        """A reply in chunks; the call is not tried again, since the caller may have used some chunks already."""
        given = {name: value for name, value in params.items() if value is not None}
        try:
            with self._http.stream("GET", path, params=given) as reply:
                if not reply.is_success:
                    reply.read()
                    raise TidemarkError.of_reply(reply)
                yield reply.iter_bytes()
        except httpx.HTTPError as error:
            raise TidemarkError.of_transport(error) from error

    def _events(
        self,
        path: str,
        params: Mapping[str, Any],
        cursor: str | None,
        renewed: Callable[[str | None], str | None],
        fresh_seconds: float,
    ) -> Iterator[ServerSentEvent]:
        """The events of a stream, for ever; a connection that is lost or ended is made again behind the last event.

        Args:
            renewed: called with the cursor that was the last one for `fresh_seconds`, while the connection lives.
                Returns a newer cursor of the same place; None where there is none yet.

        Raises:
            TidemarkError: the server refuses the stream.
        """
        given = {name: value for name, value in params.items() if value is not None}
        failures = 0
        place = _Kept(cursor, self._clock())

        def renew() -> None:
            if self._clock() - place.since >= fresh_seconds:
                place.keep(renewed(place.cursor) or place.cursor, self._clock())

        while True:
            told: float | None = None
            try:
                with self._event_source(path, given, place.cursor, renew) as events:
                    for event in events:
                        failures = 0
                        # Without data it is none: some servers send ids alone.
                        if event.data:
                            place.keep(event.id or place.cursor, self._clock())
                            yield event
            except TidemarkError as error:
                if not error.may_pass:
                    raise
                told = error.retry_after
            failures += 1
            self._pause(pause_seconds(failures, told))

    @contextmanager
    def _event_source(
        self, path: str, params: Mapping[str, Any], cursor: str | None, renew: Callable[[], None]
    ) -> Iterator[Iterator[ServerSentEvent]]:
        asked = {**params, **({} if cursor is None else {"cursor": cursor})}
        held = self._http.timeout
        timeout = httpx.Timeout(connect=held.connect, read=SILENT_SECONDS, write=held.write, pool=held.pool)
        try:
            with connect_sse(self._http, "GET", path, params=asked, timeout=timeout) as source:
                if not source.response.is_success:
                    source.response.read()
                    raise TidemarkError.of_reply(source.response)
                _call_with_chunks(source.response, renew)
                yield source.iter_sse()
        except (httpx.HTTPError, SSEError) as error:
            raise TidemarkError.of_transport(error) from error


@dataclass(slots=True)
class _Kept:
    """The cursor with which a stream is resumed, and since when it is the last one, seconds of the client's clock."""

    cursor: str | None
    since: float

    def keep(self, cursor: str | None, now: float) -> None:
        self.cursor, self.since = cursor, now


def _call_with_chunks(response: httpx.Response, called: Callable[[], None]) -> None:
    """Let a function be called after each chunk of a reply: comments of a stream show in no other way."""
    chunks = response.iter_text

    def iter_text(chunk_size: int | None = None) -> Iterator[str]:
        for chunk in chunks(chunk_size):
            yield chunk
            called()

    response.iter_text = iter_text  # type: ignore[method-assign]  # httpx-sse reads the response by this method


def pause_seconds(failures: int, told: float | None) -> float:
    """How long whoever asks until it succeeds waits, so that many callers don't come at once.

    Args:
        failures: calls that failed in a row.
        told: seconds that the server asked for (`Retry-After`), if it did. They are kept, up to ten minutes.
    """
    some = _random.uniform(0.05, min(5.0, 0.1 * 2.0 ** min(failures, 10)))
    return some if told is None else min(told, LONGEST_PAUSE_SECONDS) + some


def _may_help(error: BaseException) -> bool:
    return isinstance(error, TidemarkError) and error.may_pass and (error.retry_after or 0) <= LONGEST_WAIT_SECONDS


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome is not None else None
    told = error.retry_after if isinstance(error, TidemarkError) else None
    return _backoff(state) if told is None else told
