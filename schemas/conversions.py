"""Typed events to plain records (dicts of Avro's values) and back, topic by topic. Pure.

Going to a record, instants stay whole milliseconds, which Avro's writer takes as they are. Coming from a record they
are aware datetimes, which `instant` makes milliseconds again. Topics that only the aggregator writes (`metrics.*`,
`rollups.*`) have no typed event: their values are made by position, in the schema's order (`schemas/encoder.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from schemas.events import (
    AccountEvent,
    ApiKey,
    BackfillJob,
    CatalogChannel,
    CatalogPost,
    CatalogTarget,
    ChannelTokens,
    DeadLetter,
    PlatformRaw,
    PollerReply,
    PollerRequest,
    PollerSpending,
    PullTarget,
    RawTarget,
)
from schemas.notices import Webhook, WebhookDelivery, WebhookRequest, WebhookRule, WebhookState
from schemas.topic_names import (
    ACCOUNT_EVENTS,
    API_KEYS,
    BACKFILLS,
    CHANNELS,
    DEAD_LETTERS,
    POSTS,
    RAW,
    REPLIES,
    REQUESTS,
    SPENDING,
    TOKENS,
    WEBHOOK_DELIVERIES,
    WEBHOOK_REQUESTS,
    WEBHOOK_STATES,
    WEBHOOKS,
)


def instant(value: Any) -> int | None:
    """An Avro timestamp (an aware datetime after decoding) as whole milliseconds."""
    if value is None:
        return None
    if isinstance(value, int):
        return value
    # Not `timestamp()`: a float loses the last millisecond now and then.
    return int(value.replace(microsecond=0).timestamp()) * 1000 + int(value.microsecond) // 1000


def _required_instant(value: Any) -> int:
    return instant(value) or 0


def _fields_of(event: Any) -> dict[str, Any]:
    return {entry.name: getattr(event, entry.name) for entry in fields(event)}


def raw_to(event: PlatformRaw) -> dict[str, Any]:
    record = _fields_of(event)
    record["targets"] = [target._asdict() for target in event.targets]
    return record


def raw_from(record: dict[str, Any]) -> PlatformRaw:
    """A decoded `platform.raw` record as an event."""
    return PlatformRaw(
        event_id=record["event_id"],
        workspace_id=record["workspace_id"],
        channel_id=record["channel_id"],
        platform=record["platform"],
        kind=record["kind"],
        endpoint=record["endpoint"],
        request=record["request"],
        targets=tuple([RawTarget(t["target_id"], t["post_id"], t["external_id"]) for t in record["targets"]]),
        http_status=record["http_status"],
        body=record["body"],
        captured_at=_required_instant(record["captured_at"]),
        origin=record["origin"],
    )


def _channel_from(record: dict[str, Any]) -> CatalogChannel:
    return CatalogChannel(
        **{
            **record,
            "token_expires_at": instant(record["token_expires_at"]),
            "updated_at": _required_instant(record["updated_at"]),
        }
    )


def _post_to(event: CatalogPost) -> dict[str, Any]:
    return {**_fields_of(event), "targets": [_fields_of(target) for target in event.targets]}


def _post_from(record: dict[str, Any]) -> CatalogPost:
    return CatalogPost(
        workspace_id=record["workspace_id"],
        post_id=record["post_id"],
        status=record["status"],
        created_at=instant(record["created_at"]),
        published_at=instant(record["published_at"]),
        targets=tuple(
            CatalogTarget(**{**target, "published_at": instant(target["published_at"])}) for target in record["targets"]
        ),
        updated_at=_required_instant(record["updated_at"]),
    )


def _key_from(record: dict[str, Any]) -> ApiKey:
    return ApiKey(
        **{**record, "scopes": tuple(record["scopes"]), "created_at": _required_instant(record["created_at"])}
    )


def _tokens_from(record: dict[str, Any]) -> ChannelTokens:
    return ChannelTokens(
        **{
            **record,
            "token_expires_at": instant(record["token_expires_at"]),
            "updated_at": _required_instant(record["updated_at"]),
        }
    )


def _account_event_from(record: dict[str, Any]) -> AccountEvent:
    return AccountEvent(**{**record, "occurred_at": _required_instant(record["occurred_at"])})


def _dead_letter_from(record: dict[str, Any]) -> DeadLetter:
    return DeadLetter(**{**record, "failed_at": _required_instant(record["failed_at"])})


def _request_to(event: PollerRequest) -> dict[str, Any]:
    return {**_fields_of(event), "targets": [target._asdict() for target in event.targets]}


def _request_from(record: dict[str, Any]) -> PollerRequest:
    return PollerRequest(
        **{
            **record,
            "targets": tuple(
                PullTarget(**{**target, "published_at": instant(target["published_at"])})
                for target in record["targets"]
            ),
            "requested_at": _required_instant(record["requested_at"]),
            "deadline_at": _required_instant(record["deadline_at"]),
            "as_of": instant(record["as_of"]),
        }
    )


def _job_from(record: dict[str, Any]) -> BackfillJob:
    return BackfillJob(
        **{
            **record,
            "since": _required_instant(record["since"]),
            "started_at": _required_instant(record["started_at"]),
            "finished_at": instant(record["finished_at"]),
        }
    )


def _spending_from(record: dict[str, Any]) -> PollerSpending:
    return PollerSpending(**{**record, "days": tuple(record["days"]), "as_of": _required_instant(record["as_of"])})


def _reply_from(record: dict[str, Any]) -> PollerReply:
    return PollerReply(**{**record, "token_expires_at": instant(record["token_expires_at"])})


def _webhook_to(event: Webhook) -> dict[str, Any]:
    return {**_fields_of(event), "rules": [rule._asdict() for rule in event.rules]}


def _webhook_from(record: dict[str, Any]) -> Webhook:
    return Webhook(
        **{
            **record,
            "types": tuple(record["types"]),
            "rules": tuple(WebhookRule(rule["metric"], rule["at_least"]) for rule in record["rules"]),
            "previous_until": instant(record["previous_until"]),
            **{name: _required_instant(record[name]) for name in ("enabled_at", "created_at", "updated_at")},
        }
    )


def _delivery_from(record: dict[str, Any]) -> WebhookDelivery:
    return WebhookDelivery(
        **{
            **record,
            **{name: _required_instant(record[name]) for name in ("occurred_at", "created_at")},
            **{name: instant(record[name]) for name in ("next_try_at", "tried_at")},
        }
    )


def _state_from(record: dict[str, Any]) -> WebhookState:
    return WebhookState(**{**record, **{name: instant(record[name]) for name in ("failing_since", "disabled_at")}})


def _webhook_request_from(record: dict[str, Any]) -> WebhookRequest:
    return WebhookRequest(
        **{
            **record,
            **{name: _required_instant(record[name]) for name in ("occurred_at", "created_at", "requested_at")},
        }
    )


TYPED: dict[str, tuple[Callable[[Any], dict[str, Any]], Callable[[dict[str, Any]], Any]]] = {
    RAW: (raw_to, raw_from),
    CHANNELS: (_fields_of, _channel_from),
    POSTS: (_post_to, _post_from),
    API_KEYS: (_fields_of, _key_from),
    TOKENS: (_fields_of, _tokens_from),
    ACCOUNT_EVENTS: (_fields_of, _account_event_from),
    DEAD_LETTERS: (_fields_of, _dead_letter_from),
    REQUESTS: (_request_to, _request_from),
    REPLIES: (_fields_of, _reply_from),
    BACKFILLS: (_fields_of, _job_from),
    SPENDING: (_fields_of, _spending_from),
    WEBHOOKS: (_webhook_to, _webhook_from),
    WEBHOOK_DELIVERIES: (_fields_of, _delivery_from),
    WEBHOOK_STATES: (_fields_of, _state_from),
    WEBHOOK_REQUESTS: (_fields_of, _webhook_request_from),
}
