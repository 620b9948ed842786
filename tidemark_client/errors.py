"""The one error of the client."""

from __future__ import annotations

import httpx


class TidemarkError(Exception):
    """A call that did not succeed.

    Attributes:
        status: the reply's HTTP status; None when no reply came.
        code: a stable code for programs, such as `not_found` or `rate_limited`; `unreachable` when no reply came.
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
        return self.status in (None, 429, 502, 503, 504)

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
            _seconds(reply.headers.get("retry-after")),
        )

    @classmethod
    def of_transport(cls, error: Exception) -> TidemarkError:
        """The error of a call without a whole reply."""
        return cls(None, "unreachable", str(error) or type(error).__name__)


def _seconds(text: str | None) -> float | None:
    # Tidemark sends seconds; a date comes from a proxy in between, which knows less.
    return float(text) if text is not None and text.isdigit() else None
