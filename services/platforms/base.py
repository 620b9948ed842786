"""What every platform file answers: which calls to make, what a reply says, and what a failure means.

Pure: calls are descriptions, replies are bytes. The poller makes the calls; the aggregator reads the replies from
`platform.raw`, its own and anybody else's.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple, Protocol, runtime_checkable
from urllib.parse import quote, unquote, urlencode

import orjson

from schemas.events import PlatformRaw
from schemas.metrics import INT64_MAX, INT64_MIN, MILLIS_MAX, Values


class MappingError(ValueError):
    """A successful answer that can't be read as its platform's; the event goes to the dead letters.

    Args:
        reason: stable code: `body_not_json`, `unexpected_shape`, `bad_count`, `unknown_endpoint`,
            `unknown_platform`, ...
        detail: for a person; names the field and the kind of value seen, never a secret.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class Limit(NamedTuple):
    """A documented limit of calls that is the same for everybody.

    Attributes:
        group: the limit group that it is for.
        calls: most calls in any window.
        window_seconds: length of the window.
        is_app_wide: whether all calls of our app share it; else each token has it.
    """

    group: str
    calls: int
    window_seconds: int
    is_app_wide: bool = True


@dataclass(frozen=True, slots=True)
class Facts:
    """The header of a platform file.

    Attributes:
        name: the common platform name.
        base_url: the origin that calls go to; overridden by TIDEMARK_<PLATFORM>_BASE_URL.
        documentation: address of the API's documentation.
        read_on: date the documentation was last read, ISO.
        auth: how a request is authorized, in words.
        rate_limit: the documented limit, in words.
        post_batch_size: most posts in one request.
        post_group: limit group of the calls that polling lives by; while our app's window of it is closed, no scheduled
            poll begins. Empty where no limit is the whole app's.
        limits: the documented limit in numbers, where it has some.
        not_reported: common post metrics that the platform never reports, each with the reason.
        channel_metrics: common channel metrics that the platform reports, each with its periods: lifetime, day, window
            (a longer range of dates).
        report_days: how many days back one ask for the channel's figures tells day by day; 0 where it tells no days.
        ranged_metrics: common post metrics that can also, or only, come for a range of dates.
        lag: how late a post's figures are by the documentation, in words.
        channel_lag: the same for a channel's days and windows; empty where it has none.
        has_only_videos: whether every post is a video, so that each of its views is one of a video.
    """

    name: str
    base_url: str
    documentation: str
    read_on: str
    auth: str
    rate_limit: str
    post_batch_size: int
    post_group: str = ""
    limits: tuple[Limit, ...] = ()
    not_reported: Mapping[str, str] = field(default_factory=dict)
    channel_metrics: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    report_days: int = 0
    ranged_metrics: tuple[str, ...] = ()
    lag: str = "not documented"
    channel_lag: str = ""
    has_only_videos: bool = False


@dataclass(frozen=True, slots=True)
class Channel:
    """The account that a call is made for."""

    workspace_id: str
    channel_id: str
    external_id: str
    username: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """One post to ask for."""

    target_id: str
    post_id: str
    external_id: str
    post_type: str = ""
    published_at: int | None = None
    is_story: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request to a platform, without its token.

    Attributes:
        kind: POST_METRICS, CHANNEL_METRICS or IDENTITY.
        method: GET or POST.
        path: the platform's own path, from the origin on (`/2/tweets`).
        query: parameters in order; a name may repeat.
        json: body of a POST, or None.
        targets: what is asked for, in request order.
        limit_group: name of the platform's rate limit that the call counts against.
        base_url: another origin of the platform than its usual one; an overridden base URL stands for all of them.
        literal: characters of the query's values that are sent as they are. With `%` among them the values come with
            their escapes made, where a platform's syntax takes a character both bare and escaped.
    """

    kind: str
    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    json: Any = None
    targets: tuple[Target, ...] = ()
    limit_group: str = "default"
    base_url: str | None = None
    literal: str = "(),"

    def request_map(self) -> dict[str, str]:
        """The query as `platform.raw` keeps it: decoded, repeated names joined by commas, a JSON body under `body`."""
        joined: dict[str, str] = {}
        for name, sent in self.query:
            value = unquote(sent) if "%" in self.literal else sent
            joined[name] = f"{joined[name]},{value}" if name in joined else value
        if self.json is not None:
            joined["body"] = orjson.dumps(self.json).decode()
        return joined

    def query_text(self) -> str:
        """The query as it is sent: commas and brackets bare, since they are syntax in some platforms' values."""
        return urlencode(self.query, quote_via=quote, safe=self.literal)


class Outcome(StrEnum):
    """What an answer means for whoever asked; the body's own code is read before the status."""

    OK = "ok"
    RETRY_LATER = "rate_limited"  # wait for `retry_after_seconds`, then ask again
    QUOTA_EXHAUSTED = "quota_exhausted"  # nothing more until the day or month turns
    TOKEN_EXPIRED = "token_expired"  # refresh, then ask again
    TOKEN_REVOKED = "token_revoked"  # only the person can reconnect
    PERMISSION_MISSING = "permission_missing"  # a scope, role or plan is missing
    TARGET_GONE = "target_gone"  # this target will never answer again
    NO_DATA_EVER = "no_data"  # the platform will never have figures for this target
    TOO_EARLY = "too_early"  # too little data yet; ask at the next regular time
    METRIC_FORBIDDEN = "metric_forbidden"  # this connection may not read one of the metrics; ask again without it
    METRIC_NOT_OFFERED = "metric_not_offered"  # one of the metrics does not exist for this kind of post; as above
    TARGET_REFUSED = "target_refused"  # the id of a post is none of the platform's, or the post is withheld by law
    REQUEST_WRONG = "request_wrong"  # a metric or parameter is wrong for everybody: ours to fix, loud
    PLATFORM_DOWN = "platform_unavailable"  # back off
    ACCOUNT_DISABLED = "account_disabled"  # suspended, closed or taken down by the platform or its owner


@dataclass(frozen=True, slots=True)
class Verdict:
    """An outcome with what is needed to act on it.

    Attributes:
        retry_after_seconds: for RETRY_LATER and QUOTA_EXHAUSTED, when the platform said it.
        detail: the platform's own code, for logs; never a secret.
        refused_metric: for REQUEST_WRONG, METRIC_FORBIDDEN and METRIC_NOT_OFFERED, the one metric name that made the
            whole request fail, when the body names it; empty when the body says only that there is one.
        refused_target: the external id that made the whole request fail, when the body names it: ask again without.
        is_app_wide: for RETRY_LATER and QUOTA_EXHAUSTED, whether the body says that it is our whole app's limit.
    """

    outcome: Outcome
    retry_after_seconds: float | None = None
    detail: str = ""
    refused_metric: str | None = None
    refused_target: str | None = None
    is_app_wide: bool = False


class LimitState(NamedTuple):
    """What the headers of an answer say of the budget.

    Attributes:
        limit: calls allowed in the window.
        remaining: calls left.
        reset_at: ms since the epoch when the window turns; None when not said.
    """

    limit: int | None
    remaining: int | None
    reset_at: int | None


class PostReading(NamedTuple):
    """What an answer says of one target.

    Attributes:
        position: position in the event's `targets`.
        spoken: bit mask over POST_METRICS: present, or absent from a block that was answered.
        ranged: bit mask: figures that cover a range of dates.
        values: in the order of POST_METRICS; None outside `spoken` and for hidden counts.
    """

    position: int
    spoken: int
    ranged: int
    values: Values


class ChannelReading(NamedTuple):
    """What an answer says of its channel for one period; instants in ms, `period_end` exclusive."""

    period: str
    period_start: int | None
    period_end: int | None
    spoken: int
    values: Values


class Reading(NamedTuple):
    """All that one answer says.

    Attributes:
        posts: one item a target that the answer speaks of, unordered.
        channels: one item a period.
        gone: positions in `targets` that the answer says are gone or inaccessible.
    """

    posts: Sequence[PostReading] = ()
    channels: Sequence[ChannelReading] = ()
    gone: Sequence[int] = ()


NOTHING = Reading()


class Platform(Protocol):
    """One platform: pure functions over descriptions and bytes."""

    @property
    def facts(self) -> Facts:
        """The facts header."""

    def authorize(self, token: str | None) -> dict[str, str]:
        """Headers that authorize a call; {} when there is no token and none is needed."""

    def post_calls(self, channel: Channel, targets: Sequence[Target], now: int | None = None) -> list[Call]:
        """Calls that ask for the figures of posts of one channel, in the platform's largest batches.

        Args:
            now: ms; where figures end at an age, older targets are asked without them. None: all targets are new.
        """

    def channel_calls(self, channel: Channel, now: int) -> list[Call]:
        """Calls that ask for the figures of the channel itself; `now` in ms."""

    def identity_call(self, channel: Channel) -> Call:
        """The lightest call that proves that the token works."""

    def read(self, event: PlatformRaw) -> Reading:
        """What an answer says. A failed answer says nothing (`NOTHING`).

        Raises:
            MappingError: a successful answer of another shape than the platform's.
        """

    def part(self, event: PlatformRaw, target_index: int) -> Any:
        """The target's own part of the payload as JSON values, {} when the answer holds none."""

    def classify(self, status: int, headers: Mapping[str, str], body: bytes, now: int) -> Verdict:
        """What an answer means; `headers` with lower-case names, `now` in ms."""

    def limits(self, headers: Mapping[str, str], now: int) -> LimitState | None:
        """What the headers say of the budget; None when nothing."""


@runtime_checkable
class AcrossAccounts(Protocol):
    """A platform that answers for posts of several accounts at once, with a token of our app alone; pure, too."""

    def authorize_app(self, token: str) -> dict[str, str]:
        """Headers that authorize a call as our app."""

    def app_post_calls(self, targets: Sequence[Target]) -> list[Call]:
        """Calls that ask for the public figures of posts of any accounts, in the platform's largest batches."""

    def app_part(self, body: bytes, external_ids: Collection[str]) -> bytes:
        """An answer's body with nothing of other posts than these, in the answer's own shape; also of a failed one.

        An answer that can't be read has no part: empty.
        """


@dataclass(frozen=True, slots=True)
class AppClient:
    """Our own app at a platform, as configured; what is not set is left out of what is sent."""

    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)


class HeldTokens(Protocol):
    """The tokens that a channel holds."""

    @property
    def access_token(self) -> str | None:
        """What calls are authorized with."""

    @property
    def refresh_token(self) -> str | None:
        """What a new one is got with, where the platform has such."""


@dataclass(frozen=True, slots=True)
class RefreshCall:
    """One request to a token endpoint. It holds secrets: its answer is never published, and neither is ever logged.

    Attributes:
        method: GET or POST.
        path: the platform's own path, from the origin on.
        query: parameters in order.
        form: fields of a POST.
        headers: with the app's or the channel's own authorization.
        base_url: the token endpoint's origin, where it is not the platform's usual one.
        ahead_seconds: how long before its end a token is refreshed; days where an ended one can't be.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    form: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    base_url: str | None = None
    ahead_seconds: float = 300.0


@dataclass(frozen=True, slots=True)
class TokenGrant:
    """New tokens.

    Attributes:
        refresh_token: None where the one held stays the one to use.
        expires_in_seconds: life of the access token, when it was said.
    """

    access_token: str = field(repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    expires_in_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class RefreshFailure:
    """Why there are none.

    Attributes:
        detail: the platform's own code, for logs; never a secret.
    """

    outcome: Outcome
    retry_after_seconds: float | None = None
    detail: str = ""

    @property
    def is_final(self) -> bool:
        """Whether these tokens will never bring new ones: the person has to reconnect."""
        return self.outcome in (Outcome.TOKEN_EXPIRED, Outcome.TOKEN_REVOKED, Outcome.ACCOUNT_DISABLED)


@runtime_checkable
class Refreshable(Protocol):
    """A platform whose tokens can be renewed; pure, too."""

    def refresh_call(self, tokens: HeldTokens, client: AppClient) -> RefreshCall | None:
        """The call that brings new tokens; None when these can't be renewed."""

    def read_refresh(self, status: int, headers: Mapping[str, str], body: bytes) -> TokenGrant | RefreshFailure:
        """What the token endpoint answered; `headers` with lower-case names."""


_memo = threading.local()


@contextmanager
def parsed_once() -> Iterator[None]:
    """Within it, each body is parsed once, however often it is read in this thread.

    For reading the parts of many targets from one answer, one by one. What was parsed is shared: nobody changes it.
    """
    _memo.parsed = {}
    try:
        yield
    finally:
        del _memo.parsed


def json_value(body: bytes) -> Any:
    """The body of a successful answer as a JSON value.

    Raises:
        MappingError: `body_not_json`.
    """
    parsed: dict[bytes, Any] | None = getattr(_memo, "parsed", None)
    if parsed is not None and body in parsed:
        value = parsed[body]
    else:
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            value = error
        if parsed is not None:
            parsed[body] = value
    if isinstance(value, orjson.JSONDecodeError):
        raise MappingError("body_not_json", f"the body is no JSON: {value}")
    return value


def json_object(body: bytes) -> dict[str, Any]:
    """The body of a successful answer as a JSON object.

    Raises:
        MappingError: `body_not_json` or `unexpected_shape`.
    """
    parsed = json_value(body)
    if not isinstance(parsed, dict):
        raise MappingError("unexpected_shape", f"the body is a JSON {type(parsed).__name__}, expected an object")
    return parsed


def try_json_object(body: bytes) -> dict[str, Any]:
    """The body as a JSON object, or {} when it is anything else: for reading error bodies."""
    try:
        return json_object(body)
    except MappingError:
        return {}


def count(value: Any, name: str) -> int | None:
    """A count as the platform said it: an integer, or a string of digits; null stays None.

    Raises:
        MappingError: `bad_count`: not an integer, or outside 64 bits.
    """
    if type(value) is int:
        if INT64_MIN <= value <= INT64_MAX:
            return value
        raise MappingError("bad_count", f"{name} is outside 64 bits")
    if value is None:
        return None
    if isinstance(value, str):
        digits = value[1:] if value.startswith("-") else value
        if digits.isascii() and digits.isdigit() and len(digits) <= 20:
            return count(int(value), name)
        raise MappingError("bad_count", f"{name} is a string that is no integer")
    if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:
        return int(value)
    raise MappingError("bad_count", f"{name} is a {type(value).__name__}, expected an integer")


def text(value: Any) -> str:
    """A JSON value as text; a list or an object, however deep, stands as its kind."""
    return f"({type(value).__name__})" if isinstance(value, dict | list) else str(value)


def succeeded(event: PlatformRaw) -> bool:
    """Whether the status says success; a body may still say failure."""
    return 200 <= event.http_status < 300


def objects(value: Any, name: str) -> list[dict[str, Any]]:
    """A list of JSON objects.

    Raises:
        MappingError: `unexpected_shape`.
    """
    if not isinstance(value, list):
        raise MappingError("unexpected_shape", f"{name} is a JSON {type(value).__name__}, expected a list")
    for item in value:
        if not isinstance(item, dict):
            raise MappingError("unexpected_shape", f"an item of {name} is a JSON {type(item).__name__}")
    return value


def block(value: Any, name: str) -> dict[str, Any] | None:
    """A block of figures that was answered; None when it is missing or empty and so says nothing.

    Raises:
        MappingError: `unexpected_shape`: neither an object nor null.
    """
    if value is None:
        return None
    if not isinstance(value, dict):
        raise MappingError("unexpected_shape", f"{name} is a JSON {type(value).__name__}, expected an object")
    return value or None


def duration(value: Any, name: str) -> int | None:
    """A duration in whole milliseconds, as the platform said it; null stays None.

    Raises:
        MappingError: `bad_count`: no whole number, or more than a watch time column holds.
    """
    millis = count(value, name)
    if millis is not None and abs(millis) > MILLIS_MAX:
        raise MappingError("bad_count", f"{name} is more than a watch time holds")
    return millis


# Instants and days outside of these are no times of a period.
EARLIEST = 0
LATEST = 4_102_444_800_000  # 2100-01-01

FieldMap = tuple[tuple[str, int], ...]
"""A platform's keys of one block, each with the position of its common metric."""


def bits(*metrics: int) -> int:
    """The bit mask of some positions."""
    mask = 0
    for position in metrics:
        mask |= 1 << position
    return mask


def fill(values: list[int | None], answered: Mapping[str, Any], fields: FieldMap) -> None:
    """Write one block's counts into their positions; a key that the block leaves out stays null.

    Raises:
        MappingError: `bad_count`.
    """
    for key, position in fields:
        value = answered.get(key)
        # In line: nearly every figure is a plain integer.
        is_plain = type(value) is int and INT64_MIN <= value <= INT64_MAX
        values[position] = value if is_plain else count(value, key)


def added(first: int | None, second: int | None, name: str) -> int | None:
    """The sum of two counts that one metric is made of; null counts are left out, None when both are null.

    Raises:
        MappingError: `bad_count`: the sum is outside 64 bits.
    """
    if first is None or second is None:
        return second if first is None else first
    return count(first + second, name)


def positions(event: PlatformRaw) -> dict[str, list[int]]:
    """Where in the event's targets each external id stands; one id may stand for several targets."""
    found: dict[str, list[int]] = {}
    for index, target in enumerate(event.targets):
        if target.external_id in found:
            found[target.external_id].append(index)
        else:
            found[target.external_id] = [index]
    return found


def path_part(external_id: str) -> str:
    """A platform's id as one segment of a path, whatever it holds; every id in a path goes through here.

    `.` and `..` are resolved also where they are escaped, so they are escaped twice: they name nothing then, as they
    should.
    """
    if external_id in (".", ".."):
        return external_id.replace(".", "%252E")
    return quote(external_id, safe="", errors="replace")


def path_segments(endpoint: str) -> tuple[str, ...]:
    """The path's segments without scheme, host, query and leading version (`https://h/v2/reports?a=1` -> `reports`)."""
    path = endpoint.partition("?")[0]
    if "://" in path and not path.startswith("/"):
        path = "/" + path.partition("://")[2].partition("/")[2]
    return tuple(segment for segment in path_without_version(path).split("/") if segment)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of a `retry-after` header; None when it is absent or a date."""
    return seconds_of(headers.get("retry-after"))


def seconds_of(text: str | None) -> float | None:
    """A header's decimal number that is not negative, such as seconds or calls left; None when it is anything else."""
    try:
        number = float(text) if text is not None else -1.0
    except ValueError:
        return None
    return number if 0 <= number < 1e12 else None


def seconds_until(epoch_second: str | None, now: int) -> float | None:
    """Seconds from `now` (ms) to an epoch second of a header, at least 0."""
    at = seconds_of(epoch_second)
    return None if at is None else max(0.0, at - now / 1000)


def by_status(status: int, headers: Mapping[str, str], detail: str) -> Verdict:
    """What a failure means when its body says nothing known."""
    if status == 401:
        return Verdict(Outcome.TOKEN_EXPIRED, detail=detail)
    if status == 402:
        return Verdict(Outcome.QUOTA_EXHAUSTED, retry_after(headers), detail)
    if status == 403:
        return Verdict(Outcome.PERMISSION_MISSING, detail=detail)
    if status in (404, 410):
        return Verdict(Outcome.TARGET_GONE, detail=detail)
    if status == 429:
        return Verdict(Outcome.RETRY_LATER, retry_after(headers), detail)
    if status == 451:
        return Verdict(Outcome.TARGET_REFUSED, detail=detail)
    if 400 <= status < 500 and status not in (408, 425):
        return Verdict(Outcome.REQUEST_WRONG, detail=detail)
    return Verdict(Outcome.PLATFORM_DOWN, retry_after(headers), detail)


def pacific_midnight(day: date) -> int:
    """The instant (ms) at which a day begins in Pacific time, by which Meta and Google close their days.

    Source: daylight time runs from the second Sunday of March to the first Sunday of November (since 2007). The
    switch is at 2 o'clock, so the day of the switch begins by the old clock.
    """
    march, november = date(day.year, 3, 1), date(day.year, 11, 1)
    begins = march + timedelta(days=(6 - march.weekday()) % 7 + 7)
    ends = november + timedelta(days=(6 - november.weekday()) % 7)
    hours = 7 if begins < day <= ends else 8
    return int(datetime(day.year, day.month, day.day, hours, tzinfo=UTC).timestamp() * 1000)


def pacific_day(at: int) -> date:
    """The Pacific day that an instant (ms) falls in.

    Raises:
        ValueError, OverflowError: outside the calendar.
    """
    day = datetime.fromtimestamp(at // 1000, UTC).date()
    return day if pacific_midnight(day) <= at else day - timedelta(days=1)


def path_without_version(endpoint: str) -> str:
    """The path without a leading version segment (`/v25.0/1_2/insights` -> `/1_2/insights`)."""
    head, _, rest = endpoint.lstrip("/").partition("/")
    if head[:1] == "v" and head[1:].replace(".", "", 1).isdigit():
        return "/" + rest
    return "/" + head + ("/" + rest if rest else "")
