"""One call and its reply, as the route files see them: no server, no socket.

A route file lists `Endpoint`s and knows its platform's error bodies (`Routes`); `app` finds the endpoint by the path,
checks token, limits and faults, and sends the `Reply`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Protocol
from urllib.parse import parse_qsl

import orjson

from infra.sandbox.state import State

JSON_TYPE = "application/json; charset=utf-8"


@dataclass(slots=True)
class Reply:
    """What goes back: a JSON value, or bytes that are sent as they are; a status; the platform's own headers.

    Attributes:
        is_silent: nothing goes back, for as long as the caller waits.
    """

    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)
    is_silent: bool = False

    def encoded(self) -> bytes:
        """The body as sent."""
        return self.body if isinstance(self.body, bytes) else orjson.dumps(self.body)


@dataclass(slots=True)
class Ask:
    """A call.

    Attributes:
        query: parameters in order; a name may repeat.
        token: without its scheme; empty when there was none.
        now: ms of the clock that figures follow.
        wall: ms of the machine's clock.
        path_ids: what the endpoint's pattern caught.
        method: GET or POST.
        body: of a POST, as it came.
        headers: with lower-case names.
        query_text: the query before it was decoded.
    """

    state: State
    platform: str
    path: str
    query: list[tuple[str, str]]
    token: str
    now: int
    wall: int
    path_ids: tuple[str, ...] = ()
    method: str = "GET"
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    query_text: str = ""

    def json(self) -> Any:
        """The body as JSON; None when it is none."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None

    def form(self) -> dict[str, str]:
        """The fields of a form in the body."""
        return dict(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))

    def value(self, name: str, default: str = "") -> str:
        """The first value of a parameter."""
        return next((value for key, value in self.query if key == name), default)

    def values(self, name: str) -> list[str]:
        """All values of a repeated parameter."""
        return [value for key, value in self.query if key == name]

    def listed(self, name: str) -> list[str]:
        """The values of a parameter that joins them by commas."""
        return [value for value in self.value(name).split(",") if value]

    @property
    def token_kind(self) -> str:
        """The part of a token that decides its answer: `expired`, `revoked`, ..., or empty for a token that works."""
        word = self.token.removeprefix("sandbox-").partition("-")[0]
        return word if word in TOKEN_KINDS else ""

    @property
    def account_id(self) -> str:
        """The token's own account: what follows its `~`, else a number that follows from it."""
        _, _, named = self.token.partition("~")
        return named or str(int.from_bytes(blake2b(self.token.encode(), digest_size=7).digest(), "big"))

    def served(self, external_id: str, fields: dict[str, Any]) -> None:
        """Record the figures that are answered about one post or account."""
        self.state.served.add(self.platform, external_id, self.wall, self.now, fields)


TOKEN_FAULTS = {
    "expired": "token_expired",
    "revoked": "token_revoked",
    "forbidden": "permission_missing",
    "limited": "rate_limited",
    "disabled": "account_disabled",
}
TOKEN_KINDS = frozenset({*TOKEN_FAULTS, "app"})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One path of a platform.

    Attributes:
        pattern: the whole path; groups become `path_ids`.
        name: as counted in the list of calls.
        answer: makes the reply of a call that may be answered.
        limit: calls a window; the group's name is `name`.
        limit_by: `token` or `address`: who is counted.
        token_needed: whether a call without a token fails.
        method: the only one that is answered.
        over_limit: what a call over the limit meets: `rate_limited`, or `quota_exhausted` where it is a day's quota.
        renews: whether it renews tokens, and its token is a refresh token.
        claims: for a path that platforms share: whether a query is this platform's. Those that claim are asked first.
    """

    pattern: re.Pattern[str]
    name: str
    answer: Callable[[Ask], Reply]
    limit: int
    window_seconds: int
    limit_by: str = "token"
    token_needed: bool = True
    method: str = "GET"
    over_limit: str = "rate_limited"
    renews: bool = False
    claims: Callable[[dict[str, str]], bool] | None = None


class Routes(Protocol):
    """What a file of `routes/` exposes as `ROUTES`."""

    platform: str
    endpoints: tuple[Endpoint, ...]

    def failure(self, kind: str, ask: Ask, retry_after_seconds: int) -> Reply:
        """The platform's own body for a fault, or for a token that is missing (`token_missing`)."""

    def limit_headers(self, endpoint: Endpoint, ask: Ask, remaining: int, ends_at: int) -> dict[str, str]:
        """The platform's rate-limit headers."""
