"""One HTTP connection pool with a key: translates errors, and tries calls again that may be repeated."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from secrets import SystemRandom
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx
from httpx_sse import ServerSentEvent, SSEError, connect_sse
from pydantic import SecretStr
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from tidemark_client.errors import TidemarkError

ATTEMPTS = 4
LONGEST_WAIT_SECONDS = 30.0
# Longer than the 15 s between comments of a stream: a connection that is silent for longer is lost.
SILENT_SECONDS = 40.0
_random = SystemRandom()
_backoff = wait_random_exponential(multiplier=0.2, max=5)


def quoted(thing_id: str) -> str:
    """An id as one segment of a path, whatever characters the id holds."""
    return quote(thing_id, safe=":")


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
    """

    def __init__(
        self,
        url: str,
        key: str | SecretStr,
        *,
        timeout_seconds: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._http = httpx.Client(
            base_url=self._url,
            auth=_Bearer(SecretStr(key) if isinstance(key, str) else key),
            timeout=timeout_seconds,
            transport=transport,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections to the API; no other call may follow."""
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
            stop=stop_after_attempt(ATTEMPTS), wait=_wait, retry=retry_if_exception(_may_help), reraise=True
        )(once)

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

    def _events(self, path: str, params: Mapping[str, Any], cursor: str | None) -> Iterator[ServerSentEvent]:
        """The events of a stream, for ever; a connection that is lost or ended is made again behind the last event.

        Raises:
            TidemarkError: the server refuses the stream.
        """
        given = {name: value for name, value in params.items() if value is not None}
        failures = 0
        while True:
            wait: float | None = None
            try:
                with self._event_source(path, given, cursor) as events:
                    for event in events:
                        failures = 0
                        # Without data it is none: some servers send ids alone.
                        if event.data:
                            cursor = event.id or cursor
                            yield event
            except TidemarkError as error:
                if not error.may_pass:
                    raise
                wait = error.retry_after
            failures += 1
            time.sleep(_pause(failures) if wait is None else wait)

    @contextmanager
    def _event_source(
        self, path: str, params: Mapping[str, Any], cursor: str | None
    ) -> Iterator[Iterator[ServerSentEvent]]:
        asked = {**params, **({} if cursor is None else {"cursor": cursor})}
        held = self._http.timeout
        timeout = httpx.Timeout(connect=held.connect, read=SILENT_SECONDS, write=held.write, pool=held.pool)
        try:
            with connect_sse(self._http, "GET", path, params=asked, timeout=timeout) as source:
                if not source.response.is_success:
                    source.response.read()
                    raise TidemarkError.of_reply(source.response)
                yield source.iter_sse()
        except (httpx.HTTPError, SSEError) as error:
            raise TidemarkError.of_transport(error) from error


def _pause(failures: int) -> float:
    """Seconds before a lost stream is resumed: some at first, up to 5, so that many readers don't come at once."""
    return _random.uniform(0.05, min(5.0, 0.1 * 2.0 ** min(failures, 10)))


def _may_help(error: BaseException) -> bool:
    # Longer waits are left to the caller.
    return isinstance(error, TidemarkError) and error.may_pass and (error.retry_after or 0) <= LONGEST_WAIT_SECONDS


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome is not None else None
    told = error.retry_after if isinstance(error, TidemarkError) else None
    return _backoff(state) if told is None else told
