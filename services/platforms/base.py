"""The nouns and the protocol of platform files: calls to make, figures in a reply, and the meaning of a failure.

Pure: calls are descriptions, replies are bytes. The poller makes the calls. The aggregator reads the replies from
`platform.raw`, whoever published them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import quote, unquote, urlencode

import orjson

from schemas.events import PlatformRaw
from schemas.metrics import Values

# The most targets of one event that may have one external id: one post on so many channels of a workspace.
SAME_ID_MAX = 100


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
        group: limit group of the calls that count.
        calls: most calls within any `window_seconds`.
        window_seconds: length of a window.
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
        not_asked: common post metrics that no poll asks for, each with the reason; an answer that has them, whoever
            asked for it, is read all the same.
        conditions: common post metrics that not every post gets, each with what it takes: a scope, a kind of post, an
            age. Without it the metric stays null.
        channel_metrics: common channel metrics that the platform reports, each with its periods: lifetime, day, window
            (a longer range of dates).
        channel_not_asked: for common channel metrics, those of their periods that no poll asks for.
        channel_conditions: as `conditions`, for common channel metrics.
        report_days: for how many days back one call reports the channel's figures day by day; 0 where it reports none.
        ranged_metrics: common post metrics that can also, or only, come for a range of dates.
        lag: how late a post's figures are, in the documentation's words.
        channel_lag: the same for a channel's days and windows; empty where there is no lag.
        discovery: for which accounts posts that were published elsewhere are looked for, and with which scope.
        unlisted_ids: how ids begin that the account's own list names nowhere, although it lists their posts.
        has_only_videos: whether every post is a video, so that views are views of a video.
        refused_apart: common post metrics that an answer may refuse of single posts, while it has other posts' figures.
        remedies: what mends refusals of this platform; the first that fits is shown.
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
    not_asked: Mapping[str, str] = field(default_factory=dict)
    conditions: Mapping[str, str] = field(default_factory=dict)
    channel_metrics: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    channel_not_asked: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    channel_conditions: Mapping[str, str] = field(default_factory=dict)
    report_days: int = 0
    ranged_metrics: tuple[str, ...] = ()
    lag: str = "not documented"
    channel_lag: str = ""
    discovery: str = ""
    unlisted_ids: str = ""
    has_only_videos: bool = False
    refused_apart: tuple[str, ...] = ()
    remedies: tuple[Remedy, ...] = ()

    def is_asked(self, metric: str) -> bool:
        """Whether polls bring a common post metric, of such posts as it is told of."""
        return metric not in self.not_reported and metric not in self.not_asked

    def asked_periods(self, metric: str) -> tuple[str, ...]:
        """The periods for which polls bring a common channel metric; empty where they don't."""
        left_out = self.channel_not_asked.get(metric, ())
        return tuple(period for period in self.channel_metrics.get(metric, ()) if period not in left_out)


@dataclass(frozen=True, slots=True)
class Channel:
    """The account that a call is made for; `external_id` and `username` are the platform's.

    Attributes:
        home_url: origin of the account's own server, where a platform has many servers and this one is known.
    """

    workspace_id: str
    channel_id: str
    external_id: str
    username: str = ""
    home_url: str | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """One post to ask for; `external_id` is the platform's, `published_at` in ms."""

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
        base_url: another origin than the platform's usual one; an overridden base URL replaces all origins.
        literal: characters of the query's values that are sent unescaped. With `%` among them the values are escaped
            already, for a platform whose syntax takes a character both bare and escaped.
        is_public: whether anybody may ask it: it is sent without the channel's token, and counts against our own limit.
        shape: what distinguishes this kind of call from the platform's others, in words for operators, such as
            `posts/reel` or `channel/days`. What the platform refuses of every target of a shape is remembered for the
            shape. Empty: the kind alone.
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
    shape: str = ""
    is_public: bool = False

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
    """What an answer means for the caller; the body's own code is read before the status."""

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
    NOT_LISTED = "not_listed"  # the answer is a list of posts, and this target is none of them; ask for it by itself
    TOO_MUCH = "too_much"  # the call asks for more than the platform answers at once; ask for less
    REQUEST_WRONG = "request_wrong"  # a metric or parameter is wrong for everybody: ours to fix, loud
    PLATFORM_DOWN = "platform_unavailable"  # back off
    ACCOUNT_DISABLED = "account_disabled"  # suspended, closed or taken down by the platform or its owner


@dataclass(frozen=True, slots=True)
class Verdict:
    """An outcome with what is needed to act on it.

    Attributes:
        retry_after_seconds: for RETRY_LATER and QUOTA_EXHAUSTED; None where the platform gave no time.
        detail: the platform's own code, for logs; never a secret.
        refused_metric: for REQUEST_WRONG, METRIC_FORBIDDEN and METRIC_NOT_OFFERED, the one metric name that made the
            whole request fail, when the body names it; empty when the body says only that there is one. Several that
            fail together are one name: as they stand beside one another in the call, commas included.
        refused_position: for the same outcomes, the place of the refused metric among those asked for, from 0,
            when the body tells the place and not the name.
        refused_target: the external id that made the whole request fail, when the body names it; ask again without it.
        is_app_wide: for RETRY_LATER and QUOTA_EXHAUSTED, whether the body names a limit of our whole app.
        reason: why, as a stable code, where more is known than the outcome says: `user_token` for a token of another
            kind, `appsecret_proof`, or the scope that is missing.
        longest_seconds: for RETRY_LATER and QUOTA_EXHAUSTED, how long the limit can last at most, where that is known:
            the length of its window. A longer wait is not obeyed. None: a day.
    """

    outcome: Outcome
    retry_after_seconds: float | None = None
    detail: str = ""
    refused_metric: str | None = None
    refused_position: int | None = None
    refused_target: str | None = None
    is_app_wide: bool = False
    reason: str | None = None
    longest_seconds: float | None = None


class Remedy(NamedTuple):
    """What mends a refusal, for the person who connects an account.

    Attributes:
        outcome: of the refusal; OK for an answer about a post that came without figures.
        mends: the scope, role, product or setting that is missing, as an instruction.
        calls: regular expression that is found in a call's shape and path; empty: any call's.
        reason: the verdict's reason; empty: any.
    """

    outcome: Outcome
    mends: str
    calls: str = ""
    reason: str = ""


class LimitState(NamedTuple):
    """The state of a rate limit, from the headers of an answer.

    Attributes:
        limit: calls allowed in the window.
        remaining: calls left.
        reset_at: ms since the epoch when the next window begins; None where the headers hold no time.
        window_seconds: length of the window, where a platform tells of several at once; states of windows of other
            lengths hold beside one another. None: the platform tells of one window.
        is_app_wide: whether the limit is our whole app's, whichever token the call was made with.
        longest_seconds: how far away the reset can be at most, where that is known and `window_seconds` is None: the
            length of the window. A later one is not obeyed. None: a day.
    """

    limit: int | None
    remaining: int | None
    reset_at: int | None
    window_seconds: int | None = None
    is_app_wide: bool = False
    longest_seconds: float | None = None


class PostReading(NamedTuple):
    """The figures of one target in an answer.

    Attributes:
        position: position in the event's `targets`.
        spoken: bit mask over POST_METRICS of the reported ones: present, or absent from a block that was answered.
        ranged: bit mask: figures that cover a range of dates.
        values: in the order of POST_METRICS; None outside `spoken` and for hidden counts.
    """

    position: int
    spoken: int
    ranged: int
    values: Values


class ChannelReading(NamedTuple):
    """The figures of a channel for one period in an answer.

    Attributes:
        period: `lifetime`, `day` or `window`.
        period_start: ms; None for lifetime.
        period_end: ms, exclusive; None for lifetime.
        spoken: bit mask over CHANNEL_METRICS of the reported ones.
        values: in the order of CHANNEL_METRICS; None outside `spoken` and for hidden counts.
    """

    period: str
    period_start: int | None
    period_end: int | None
    spoken: int
    values: Values


class Reading(NamedTuple):
    """All figures of one answer.

    Attributes:
        posts: one item for each target with figures, unordered.
        channels: one item for each period.
        gone: positions in `targets` that the answer names as gone or inaccessible.
    """

    posts: Sequence[PostReading] = ()
    channels: Sequence[ChannelReading] = ()
    gone: Sequence[int] = ()


NOTHING = Reading()


class Platform(Protocol):
    """One platform: pure functions over descriptions and bytes."""

    @property
    def facts(self) -> Facts:
        """The facts header of the platform's file."""

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
        """The figures of an answer; a failed answer has none (`NOTHING`).

        Raises:
            MappingError: a successful answer of another shape than the platform's.
        """

    def part(self, event: PlatformRaw, target_index: int) -> Any:
        """The target's own part of the payload as JSON values, {} when the answer holds none."""

    def classify(self, status: int, headers: Mapping[str, str], body: bytes, now: int) -> Verdict:
        """What an answer means; `headers` with lower-case names, `now` in ms."""

    def limits(self, headers: Mapping[str, str], now: int) -> LimitState | None:
        """The state of the rate limit, from headers with lower-case names; None where they hold none. `now` in ms."""


if not TYPE_CHECKING:
    # Platform files of operators (`TIDEMARK_PLATFORMS_PATH`) may take helpers from here, where all of them once were.
    def __getattr__(name: str) -> Any:
        for module in ("abilities", "json_reading", "http_reading", "report_days") if not name.startswith("_") else ():
            if hasattr(found := import_module(f"services.platforms.{module}"), name):
                return getattr(found, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
