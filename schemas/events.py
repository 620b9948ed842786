"""Frozen typed events: one class for each topic's values, matching the newest schema in `avro/`.

Instants are whole milliseconds since the epoch under the schema's own names (`captured_at`), because events are
compared, folded and stored far more often than shown. Topics that only the aggregator writes (`metrics.*`, `rollups.*`)
have no class: `services/aggregator/rows.py` makes their values by position.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple


class RawKind(StrEnum):
    """The subject of a raw answer: targets, or a channel's account."""

    POST_METRICS = "POST_METRICS"
    CHANNEL_METRICS = "CHANNEL_METRICS"
    IDENTITY = "IDENTITY"


class Origin(StrEnum):
    """Why a platform was asked."""

    SCHEDULE = "SCHEDULE"
    LIVE = "LIVE"
    BACKFILL = "BACKFILL"


class ChannelStatus(StrEnum):
    """State of a channel's connection; only active channels are polled."""

    ACTIVE = "active"
    TOKEN_EXPIRED = "token_expired"
    REVOKED = "revoked"
    DISABLED = "disabled"


class PostStatus(StrEnum):
    """State of a post or of a target; a deleted one reads as if it did not exist."""

    DRAFT = "draft"
    SCHEDULED = "scheduled"
    PUBLISHING = "publishing"
    PUBLISHED = "published"
    FAILED = "failed"
    DELETED = "deleted"


class TargetOrigin(StrEnum):
    """How the catalog came to know a target."""

    PRODUCT = "product"
    DISCOVERED = "discovered"


class RawTarget(NamedTuple):
    """One target of a request to a platform."""

    target_id: str
    post_id: str
    external_id: str


@dataclass(frozen=True, slots=True)
class PlatformRaw:
    """One platform answer, as received. Source: topic `platform.raw`.

    Attributes:
        event_id: unique per answer in its workspace.
        endpoint: the path as sent, ids and version included.
        request: the query as sent, without secrets; repeated parameters are joined by commas, a JSON body is under
            `body`.
        targets: the targets that the request asked for, in its order; empty for channels.
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
    """One connected account. Source: topic `catalog.channels`.

    Attributes:
        discover: whether the account's posts that were published elsewhere are looked for.
    """

    workspace_id: str
    channel_id: str
    platform: str
    external_id: str
    username: str
    status: str
    token_expires_at: int | None
    updated_at: int
    discover: bool = False


@dataclass(frozen=True, slots=True)
class CatalogTarget:
    """One post on one channel, inside its post's catalog event.

    Attributes:
        published_at: ms since the epoch; None means the post's own.
        detail: the product's extras as JSON text; `{}` when there are none.
        origin: see `TargetOrigin`.
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
    origin: str = TargetOrigin.PRODUCT.value


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
        """When a target was published, ms: its own time, else its post's."""
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
    """A message that could not be mapped, with reason and origin. Source: topic `platform.raw.dead-letters`."""

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
    """The subject of a live request."""

    TARGETS = "TARGETS"
    ACCOUNT = "ACCOUNT"
    HEALTH = "HEALTH"


class ReplyKind(StrEnum):
    """The kind of one part of the reply to a live request."""

    ACK = "ACK"
    ANSWER = "ANSWER"
    DONE = "DONE"


class PullTarget(NamedTuple):
    """One target of a live request, as the catalog holds it; `published_at` in ms."""

    target_id: str
    channel_id: str
    post_id: str
    external_id: str
    post_type: str
    published_at: int | None
    is_story: bool


@dataclass(frozen=True, slots=True)
class PollerRequest:
    """A request to ask a platform. Source: topic `poller.requests`.

    Attributes:
        reply_to: the id of the requester, which is the key of the replies.
        channel_id: the channel of ACCOUNT and HEALTH; empty for TARGETS.
        requested_at: ms; any answer captured later satisfies the request.
        deadline_at: ms; after this instant nobody waits for the replies.
        origin: LIVE, or BACKFILL: then platforms are asked after all scheduled polls, and DONE comes when nothing is
            left to ask or time is up.
        as_of: for ACCOUNT of a backfill, ms: ask for the days that were the last ones at this instant; None for the
            present.
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
        event: for ANSWER, a value of `platform.raw` in the wire format; without its body in a backfill.
        is_live: for DONE of HEALTH, whether the platform answered.
        status: for DONE of HEALTH, the channel's status after the probe.
        error_code: for DONE of HEALTH, why the connection does not work, None when it works; for DONE of a backfill,
            why some questions are left, None when none is left.
        token_expires_at: for DONE of HEALTH, ms; None when unknown.
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
        channel_id: the channel that is backfilled; empty for all channels of the workspace.
        since: the beginning of the span: targets published or last captured since then, and channels' days since then.
        finished_at: when the backfill ended; None before.
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
