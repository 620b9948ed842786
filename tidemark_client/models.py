"""Typed replies and bodies of the APIs; fields that a newer server adds to a reply are ignored."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_serializer, model_validator

Figure = int | float | None
"""A count, seconds or a rate; None for an unknown figure."""
Reason = Literal["not_supported", "permission", "pending", "error", "retired"]
Row = TypeVar("Row")


class Answer(BaseModel):
    """Base of all replies: frozen, with unknown fields ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class _Figures(Answer):
    captured_at: datetime | None
    metrics: dict[str, Figure]
    reasons: dict[str, Reason]


class _Polled(Answer):
    age_seconds: int | None
    tier: str | None
    next_poll_at: datetime | None


class TargetData(_Figures):
    """One post on one channel, as a change tells it: without what moves with the clock."""

    id: str
    post_id: str
    channel_id: str
    platform: str
    post_type: str
    status: str
    external_id: str | None
    permalink: str | None
    content: str | None = None
    published_at: datetime | None
    is_story: bool
    parent_target_id: str | None
    origin: str = "product"


class Target(TargetData, _Polled):
    """One post on one channel, as the API shows it."""


class _OfPost(_Figures):
    id: str
    status: str
    created_at: datetime | None
    published_at: datetime | None
    updated_at: datetime | None


class PostData(_OfPost):
    """A post with its totals and its targets, as a change tells it."""

    targets: list[TargetData]


class Post(_OfPost, _Polled):
    """A post with its totals and its targets."""

    targets: list[Target]


class Period(Answer):
    """A channel's figures of one period."""

    period: Literal["lifetime", "day", "window"]
    period_start: datetime | None
    period_end: datetime | None
    captured_at: datetime | None
    metrics: dict[str, Figure]


class ChannelData(_Figures):
    """A connected account with its latest figures, as a change tells it."""

    id: str
    platform: str
    external_id: str
    username: str
    status: str
    updated_at: datetime | None
    periods: list[Period]


class Channel(ChannelData, _Polled):
    """A connected account with its latest figures, in all and by period."""


class AccountData(Answer):
    """What last happened to a channel's connection."""

    channel_id: str
    platform: str
    type: str
    occurred_at: datetime
    reason: str | None


ChangeType = Literal["post", "channel", "account"]


class StateChange(Answer):
    """The present state of something that changed, or may have.

    Attributes:
        id: of the post or the channel; an account has its channel's id.
        deleted: whether it is not there any more; may also come for something that was never told.
        data: the state as JSON; None when deleted.
        cursor: behind the change; None for a change of a page, which has one cursor.
    """

    type: ChangeType
    id: str
    deleted: bool
    captured_at: datetime | None
    data: dict[str, Any] | None
    cursor: str | None = None

    @property
    def state(self) -> PostData | ChannelData | AccountData | None:
        """The data by its type."""
        if self.data is None:
            return None
        model: type[PostData | ChannelData | AccountData] = _STATES[self.type]
        return model.model_validate(self.data)


_STATES: dict[ChangeType, type[PostData | ChannelData | AccountData]] = {
    "post": PostData,
    "channel": ChannelData,
    "account": AccountData,
}


class ChangesPage(Answer):
    """Some changes, in their order, and the cursor behind all of them."""

    changes: list[StateChange]
    next_cursor: str
    has_more: bool


class Page(Answer, Generic[Row]):
    """A page of rows, the asked ids that don't exist, and the cursor of the next page (None at the end)."""

    data: list[Row]
    missing: list[str]
    next_cursor: str | None


class Capability(Answer):
    """Whether polls of a platform bring a metric, of what kind, how late, and what it takes.

    Attributes:
        condition: what a post or account needs for it, such as a scope; None for nothing, and from older servers.
    """

    platform: str
    subject: Literal["post", "channel"]
    metric: str
    supported: bool
    kinds: list[str]
    lag: str | None
    not_supported_because: str | None
    condition: str | None = None


class DiscoveryCapability(Answer):
    """Whether posts that were published elsewhere can be looked for on a platform (`discover`).

    Attributes:
        condition: for which accounts, and with which scope; None for nothing.
    """

    platform: str
    supported: bool
    condition: str | None


class Capabilities(Answer):
    """The capabilities of every platform, one for each subject and metric.

    Attributes:
        discovery: one a platform; empty from older servers.
    """

    data: list[Capability]
    discovery: list[DiscoveryCapability] = []


class PlatformUsage(Answer):
    """What polls of one platform cost in a month, in US dollars; without a budget there is none left either."""

    platform: str
    spent_usd: float
    budget_usd: float | None
    left_usd: float | None
    forecast_usd: float
    reads: dict[str, int]
    days_usd: list[float]
    priced_on: str | None
    as_of: datetime


class Usage(Answer):
    """What polls cost in a UTC month; platforms that bill for nothing are left out."""

    month: str
    platforms: list[PlatformUsage]


class Part(Answer):
    """The source of one target's figure.

    Attributes:
        event: the raw event, with topic, partition and offset while the event is stored; None without an answer.
        answer: the target's own part of the platform's answer.
        mapping: the module that read the answer, and the documentation that it follows.
    """

    target_id: str
    metric: str
    value: Figure
    hidden: bool
    reason: str | None
    figure_of: Literal["lifetime", "range"] | None
    event: dict[str, Any] | None
    answer: Any
    mapping: dict[str, str | None]


class Explanation(Answer):
    """A figure with its rule, and the parts that it was computed from."""

    metric: str
    value: Figure
    rule: str
    parts: list[Part]


class Point(Answer):
    """Figures of one hour or day, `[start, end)`."""

    start: datetime
    end: datetime
    figures: dict[str, Figure]

    @model_validator(mode="before")
    @classmethod
    def _figures_apart(cls, value: Any) -> Any:
        if not isinstance(value, dict) or "figures" in value:
            return value
        figures = {name: figure for name, figure in value.items() if name not in ("start", "end")}
        return {"start": value.get("start"), "end": value.get("end"), "figures": figures}


class _Span(Answer):
    start: datetime = Field(alias="from")
    end: datetime = Field(alias="to")


class Series(_Span):
    """Figures over time, one point for each hour or day."""

    metrics: list[str]
    step: Literal["hour", "day"]
    tz: str
    mode: Literal["cumulative", "increments"]
    points: list[Point]


class Change(Answer):
    """A figure, the same figure in the window before, and the change as a fraction of the latter."""

    value: Figure
    previous: Figure
    change: float | None


class Totals(_Span):
    """Figures of a window, compared with the window before if the request asks for it."""

    attribution: Literal["published", "received"]
    tz: str
    compared_with: _Span | None
    metrics: dict[str, Change]


class Window(Answer):
    """Totals of a channel over its trailing window; `sources` has the source of each total that is known."""

    channel_id: str
    range: Literal["24h", "7d", "28d"]
    source: Literal["channel", "posts", "none"]
    window_start: datetime
    window_end: datetime
    metrics: dict[str, Figure]
    sources: dict[str, Literal["channel", "posts", "mixed"]]


class ChannelEvent(Answer):
    """Something that happened to a channel's connection."""

    type: str
    occurred_at: datetime
    reason: str | None


class ChannelEvents(Answer):
    """What happened to a channel's connection, the latest first."""

    channel_id: str
    data: list[ChannelEvent]


class Rejected(Answer):
    """A refused line of a bulk write: its number, from 1, and the reason."""

    line: int
    error: str


class Written(Answer):
    """The result of a bulk write: the number of accepted lines, and the refused lines."""

    accepted: int
    rejected: list[Rejected]


class MadeKey(Answer):
    """A new key; the API shows the key's text only this once."""

    id: str
    key: SecretStr
    scopes: list[str]


class Given(BaseModel):
    """Base of the bodies; fields that are not set are not sent."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ChannelWrite(Given):
    """The body that creates or replaces a connected account."""

    platform: str
    external_id: str
    username: str = ""
    access_token: SecretStr | None = None
    refresh_token: SecretStr | None = None
    token_expires_at: datetime | None = None
    status: Literal["active", "token_expired", "revoked", "disabled"] = "active"
    discover: bool = False

    @field_serializer("access_token", "refresh_token", when_used="json")
    def _told(self, token: SecretStr | None) -> str | None:
        return None if token is None else token.get_secret_value()


class TargetWrite(Given):
    """One target of a `PostWrite`; `detail` has the shapes of PostFlow's API."""

    target_id: str
    channel_id: str
    status: Literal["draft", "scheduled", "publishing", "published", "failed", "deleted"]
    post_type: str = ""
    external_id: str = ""
    permalink: str | None = None
    published_at: datetime | None = None
    content: str | None = None
    is_story: bool = False
    parent_target_id: str | None = None
    detail: dict[str, Any] = {}


class PostWrite(Given):
    """The body that creates or replaces a post with all of its targets."""

    status: Literal["draft", "scheduled", "publishing", "published", "failed", "deleted"]
    created_at: datetime | None = None
    published_at: datetime | None = None
    targets: list[TargetWrite] = []


class ChannelLine(ChannelWrite):
    """A line of a bulk write that holds a channel."""

    type: Literal["channel"] = "channel"
    workspace_id: str
    id: str


class PostLine(PostWrite):
    """A line of a bulk write that holds a post."""

    type: Literal["post"] = "post"
    workspace_id: str
    id: str
