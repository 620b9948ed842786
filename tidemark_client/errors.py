"""The one error of the client."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

_CLOSED = "closed"


class TidemarkError(Exception):
    """A call that did not succeed.

    Attributes:
        status: the reply's HTTP status; None when no reply came.
        code: a stable code for programs, such as `not_found` or `rate_limited`; `unreachable` when no reply came,
            `strange_reply` when another server may have replied, `closed` when the client was closed while the call
            waited to be made again.
        message: a text for people.
        retry_after: seconds after which asking again may help; None where the server named no time.
    """

    def __init__(self, status: int | None, code: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"{status} {code}: {message}" if status is not None else f"{code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.retry_after = retry_after

    @property
    def may_pass(self) -> bool:
        """Whether the same call may succeed later: no reply came, there were too many calls, or the server is away."""
        return self.status in (None, 429, 502, 503, 504) and self.code != _CLOSED

    @classmethod
    def of_reply(cls, reply: httpx.Response) -> TidemarkError:
        """The error in a reply, whose body must have been read."""
        try:
            said = reply.json()
        except ValueError:
            said = None
        if not isinstance(said, dict):
            said = {}
        return cls(
            reply.status_code,
            str(said.get("code", "unknown")),
            str(said.get("message", reply.reason_phrase)),
            _seconds(reply.headers.get("retry-after"), reply.headers.get("date")),
        )

    @classmethod
    def of_transport(cls, error: Exception) -> TidemarkError:
        """The error of a call without a whole reply."""
        # Errors about a request that can't be sent repeat its headers, and so the key.
        is_safe = not isinstance(error, httpx.LocalProtocolError)
        return cls(None, "unreachable", (str(error) if is_safe else "") or type(error).__name__)

    @classmethod
    def of_strange_reply(cls, status: int) -> TidemarkError:
        """The error of a reply that is not Tidemark's own; nothing of the reply is repeated."""
        return cls(status, "strange_reply", "The reply is not Tidemark's own; check the address, and proxies between.")

    @classmethod
    def of_closing(cls) -> TidemarkError:
        """The error of a call that was not made again, since its client was closed."""
        return cls(None, _CLOSED, "The client was closed.")


def _seconds(retry_after: str | None, date: str | None) -> float | None:
    """How many seconds a reply's `Retry-After` asks for; None where it has none that can be read.

    Tidemark sends seconds. A proxy in between may send an instant: it counts from the proxy's own `Date`, since the
    clock of this machine may differ.
    """
    if retry_after is None:
        return None
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after)
    until = _instant(retry_after)
    if until is None:
        return None
    since = _instant(date) or datetime.now(UTC)
    return max(0.0, (until - since).total_seconds())


def _instant(text: str | None) -> datetime | None:
    try:
        found = parsedate_to_datetime(text or "")
    except (ValueError, OverflowError):
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
