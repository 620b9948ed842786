"""Frozen typed events, one class a topic value, matching the newest schema in `avro/`.

Instants are whole milliseconds since the epoch under the schema's own names (`captured_at`), because events are
compared, folded and stored far more often than shown. Topics that only the aggregator writes (`metrics.*`, `rollups.*`)
have no class: `services/aggregator/rows.py` makes their values by position.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple


class RawKind(StrEnum):
    """What a raw answer is about."""

    POST_METRICS = "POST_METRICS"
    CHANNEL_METRICS = "CHANNEL_METRICS"
    IDENTITY = "IDENTITY"


class Origin(StrEnum):
    """Why a platform was asked."""

    SCHEDULE = "SCHEDULE"
    LIVE = "LIVE"
    BACKFILL = "BACKFILL"


class ChannelStatus(StrEnum):
    """State of a channel's connection. Only active channels are polled."""

    ACTIVE = "active"
    TOKEN_EXPIRED = "token_expired"
    REVOKED = "revoked"
    DISABLED = "disabled"


class PostStatus(StrEnum):
    """State of a post or of a target; `deleted` reads as if the thing was not there."""

    DRAFT = "draft"
    SCHEDULED = "scheduled"
    PUBLISHING = "publishing"
    PUBLISHED = "published"
    FAILED = "failed"
    DELETED = "deleted"


class RawTarget(NamedTuple):
    """One target of a request, in request order."""

    target_id: str
    post_id: str
    external_id: str


@dataclass(frozen=True, slots=True)
class PlatformRaw:
    """One platform answer, as received. Source: topic `platform.raw`.

    Attributes:
        event_id: unique per answer in its workspace.
        endpoint: the path as sent, ids and version included.
        request: the query sent, without secrets; repeated parameters joined by commas; a JSON body under `body`.
        targets: what was asked for, in request order; empty for channels.
        body: as received, decompressed, secrets replaced by `***`.
        captured_at: when the answer was received, ms since the epoch.
    """

    event_id: str
    workspace_id: str
    channel_id: str
    platform: str
    kind: str
    endpoint: str
    request: dict[str, str]
    targets: tuple[RawTarget, ...]
    http_status: int
    body: bytes
    captured_at: int
    origin: str


@dataclass(frozen=True, slots=True)
class CatalogChannel:
    """One connected account. Source: topic `catalog.channels`."""

    workspace_id: str
    channel_id: str
    platform: str
    external_id: str
    username: str
    status: str
    token_expires_at: int | None
    updated_at: int


@dataclass(frozen=True, slots=True)
class CatalogTarget:
    """One post on one channel, inside its post's catalog event.

    Attributes:
        published_at: ms; None takes the post's.
        detail: JSON text of the product's extras, `{}` when none.
    """

    target_id: str
    channel_id: str
    post_type: str = ""
    status: str = "published"
    external_id: str = ""
    permalink: str | None = None
    published_at: int | None = None
    content: str | None = None
    is_story: bool = False
    parent_target_id: str | None = None
    detail: str = "{}"


@dataclass(frozen=True, slots=True)
class CatalogPost:
    """One post with all its targets. Source: topic `catalog.posts`; a newer event replaces it whole."""

    workspace_id: str
    post_id: str
    status: str
    created_at: int | None
    published_at: int | None
    targets: tuple[CatalogTarget, ...]
    updated_at: int

    def published_at_of(self, target: CatalogTarget) -> int | None:
        """A target without its own time takes its post's."""
        return target.published_at if target.published_at is not None else self.published_at


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One API key; the key itself is never stored. Source: topic `catalog.api-keys`.

    Attributes:
        key_hash: hex SHA-256 of the whole key; keys carry 256 random bits, so a plain hash can't be reversed.
    """

    workspace_id: str
    key_id: str
    key_hash: str
    scopes: tuple[str, ...]
    style: str
    created_at: int


@dataclass(frozen=True, slots=True)
class ChannelTokens:
    """A channel's platform tokens, as ciphertext. Source: topic `catalog.tokens`.

    Attributes:
        ciphertext: encrypted JSON of the token pair; only holders of TIDEMARK_SECRET_KEYS read it.
        put_fingerprint: keyed hash of the pair that the last PUT brought, so that the same PUT again does not
            undo a refresh made since.
        token_expires_at: ms, None when unknown.
        origin: `put` or `refresh`.
    """

    workspace_id: str
    channel_id: str
    ciphertext: bytes
    put_fingerprint: str
    token_expires_at: int | None
    origin: str
    updated_at: int


@dataclass(frozen=True, slots=True)
class AccountEvent:
    """Something happened to a channel's connection. Source: topic `accounts.events`."""

    workspace_id: str
    channel_id: str
    platform: str
    type: str
    occurred_at: int
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What could not be mapped, why, and where it came from. Source: topic `platform.raw.dead-letters`."""

    workspace_id: str
    reason: str
    detail: str
    origin_topic: str
    origin_partition: int
    origin_offset: int
    origin_key: bytes | None
    payload: bytes
    failed_at: int
    headers: dict[str, bytes] = field(default_factory=dict)


class PullKind(StrEnum):
    """What a live request asks for."""

    TARGETS = "TARGETS"
    ACCOUNT = "ACCOUNT"
    HEALTH = "HEALTH"


class ReplyKind(StrEnum):
    """Which part of the reply to a live request."""

    ACK = "ACK"
    ANSWER = "ANSWER"
    DONE = "DONE"


class PullTarget(NamedTuple):
    """One target of a live request, as the catalog has it; `published_at` in ms."""

    target_id: str
    channel_id: str
    post_id: str
    external_id: str
    post_type: str
    published_at: int | None
    is_story: bool


@dataclass(frozen=True, slots=True)
class PollerRequest:
    """Ask a platform. Source: topic `poller.requests`.

    Attributes:
        reply_to: who asks: the key of the replies.
        channel_id: for ACCOUNT and HEALTH; empty for TARGETS.
        requested_at: ms; an answer captured later serves it.
        deadline_at: ms; nobody waits for it any more.
        origin: LIVE, or BACKFILL: after all scheduled polls, and DONE comes when nothing is left or time is up.
        as_of: for ACCOUNT of a backfill, ms: the days that were the last ones then; None for the present.
    """

    request_id: str
    reply_to: str
    workspace_id: str
    kind: str
    channel_id: str
    targets: tuple[PullTarget, ...]
    requested_at: int
    deadline_at: int
    origin: str = "LIVE"
    as_of: int | None = None


@dataclass(frozen=True, slots=True)
class PollerReply:
    """One part of the reply to a request. Source: topic `poller.replies`.

    Attributes:
        event: for ANSWER: a value of `platform.raw`, in the wire format; without its body in a backfill.
        is_live: for DONE of HEALTH, as all that follow: whether the platform answered.
        status: the channel's after the probe.
        error_code: why the connection doesn't work; None when it does. For DONE of a backfill: why something is left to
            ask; None when nothing is.
        token_expires_at: ms, None when unknown.
    """

    request_id: str
    workspace_id: str
    kind: str
    event: bytes | None = None
    is_live: bool = False
    status: str | None = None
    error_code: str | None = None
    token_expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class BackfillJob:
    """One backfill. Source: topic `poller.backfills`; instants in ms.

    Attributes:
        channel_id: of the channel that is backfilled; empty for all channels of the workspace.
        since: targets published or last captured since then are asked for, and channels' days since then.
        finished_at: None until it ended.
    """

    workspace_id: str
    channel_id: str
    since: int
    started_at: int
    finished_at: int | None = None


@dataclass(frozen=True, slots=True)
class PollerSpending:
    """What a workspace's polls cost in a month. Source: topic `poller.spending`; amounts in millionths of a US dollar.

    Attributes:
        month: UTC, as 2026-11.
        days: spent by day of the month, from its first.
        reads: resources billed in the month, by kind.
        share: the workspace's equal part of the month's budget; None without one.
        priced_on: date of the prices, ISO; empty when unknown.
        as_of: when the newest answer that is counted came, ms.
    """

    workspace_id: str
    platform: str
    month: str
    days: tuple[int, ...]
    reads: dict[str, int]
    share: int | None
    priced_on: str
    as_of: int
