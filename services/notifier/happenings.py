"""From messages of topics to what webhooks are told: accounts' events, and posts that reach a rule. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from schemas.events import AccountEvent
from schemas.notices import NoticeType
from services.notifier.book import Book, Effects
from services.notifier.endpoint import Endpoint

ACCOUNT_TYPES: Final = frozenset({NoticeType.TOKEN_EXPIRED, NoticeType.RECOVERED, NoticeType.DISABLED})


def account(book: Book, event: AccountEvent, source: str, now: int) -> Effects:
    """Tell of an account's event; events of other types are not told.

    Args:
        source: names the message: its topic, partition and offset.
    """
    if event.type not in ACCOUNT_TYPES:
        return Effects()
    content = {"channel_id": event.channel_id, "platform": event.platform, "reason": event.reason}
    return book.tell(event.workspace_id, event.type, content, source, event.occurred_at, now)


def has_rules(endpoint: Endpoint) -> bool:
    """Whether posts are compared with rules of a webhook."""
    return endpoint.is_active and NoticeType.POST_THRESHOLD in endpoint.webhook.types


def thresholds(book: Book, rollup: Mapping[str, Any], happened_at: int, now: int) -> Effects:
    """Tell of each rule that a post's figures reach, once a post and rule.

    Args:
        rollup: the record of `rollups.posts`.
        happened_at: when the figures were published, ms.
    """
    effects = Effects()
    post_id = rollup["post_id"]
    for endpoint in book.of(rollup["workspace_id"]):
        if not has_rules(endpoint) or not endpoint.wants(NoticeType.POST_THRESHOLD, happened_at):
            continue
        for metric, at_least in endpoint.webhook.rules:
            value = rollup.get(metric)
            if value is None or value < at_least:
                continue
            figure = int(value) if value == int(value) else float(value)
            content = {"post_id": post_id, "metric": metric, "at_least": at_least, "value": figure}
            effects.add(book.tell_threshold(endpoint, content, f"{post_id}/{metric}/{at_least}", happened_at, now))
    return effects
