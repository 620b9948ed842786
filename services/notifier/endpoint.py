"""One webhook in memory: what waits for it, what is being tried, and what it was told. Pure."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

from schemas.notices import NoticeType, Webhook, WebhookDelivery, WebhookState
from services.notifier.plan import HELD_MILLIS

Key = tuple[str, str]
"""Workspace and webhook."""

MOST_PENDING: Final = 5_000
"""Deliveries that wait for one webhook; with more it is shut down, since memory has an end."""
MOST_ASKED: Final = MOST_PENDING // 2
"""With so many that wait, no test or redelivery is added: what somebody asks for must not shut the webhook down."""
TRIES_AT_ONCE: Final = 4
"""Tries at once of a webhook that takes deliveries; of one that fails, a single one."""


@dataclass(slots=True)
class Endpoint:
    """One webhook.

    Attributes:
        pending: deliveries that are not finished, by id.
        ready: ids whose try is due, in the order in which they became due.
        running: the addresses that deliveries are being tried at, by id.
        told: digests of the deliveries of thresholds that were ever made: a post and rule are told of once.
        newest_change: id of the newest delivery of changed metrics; empty before the first.
        moved_at: when its address was last seen to change, ms, by the owner's change; 0 while it was not.
        is_queued: whether the webhook stands in line for a try.
        is_slow: whether its last try took long, or one that is being made does.
    """

    webhook: Webhook
    state: WebhookState
    pending: dict[str, WebhookDelivery] = field(default_factory=dict)
    ready: OrderedDict[str, None] = field(default_factory=OrderedDict)
    running: dict[str, str] = field(default_factory=dict)
    told: set[bytes] = field(default_factory=set)
    newest_change: str = ""
    moved_at: int = 0
    is_queued: bool = False
    is_slow: bool = False

    @property
    def key(self) -> Key:
        """Workspace and webhook."""
        return self.webhook.workspace_id, self.webhook.webhook_id

    @property
    def is_shut(self) -> bool:
        """Whether deliveries were shut down since the webhook was last enabled."""
        return self.state.disabled_at is not None and self.state.disabled_at >= self.webhook.enabled_at

    @property
    def is_active(self) -> bool:
        """Whether anything is delivered."""
        return self.webhook.is_enabled and not self.is_shut

    @property
    def is_failing(self) -> bool:
        """Whether the last try failed."""
        return self.state.failing_since is not None

    @property
    def has_room(self) -> bool:
        """Whether another try may begin."""
        return len(self.running) < (1 if self.is_failing else TRIES_AT_ONCE)

    def wants(self, type_: str, happened_at: int) -> bool:
        """Whether the webhook is told of an event of a type that happened at an instant, ms."""
        return self.is_active and type_ in self.webhook.types and happened_at >= self.webhook.enabled_at

    def knows(self, delivery_id: str) -> bool:
        """Whether a delivery is pending, or one of a threshold that was made before."""
        return delivery_id in self.pending or mark(delivery_id) in self.told

    def untried_change(self) -> WebhookDelivery | None:
        """News of changed metrics that no try was made of yet; further news may be added to it."""
        held = self.pending.get(self.newest_change)
        return held if held is not None and held.tried_at is None and held.delivery_id not in self.running else None

    def change_due_at(self, now: int) -> int:
        """When further news of changed metrics is tried first, ms: at once while the webhook takes deliveries.

        Of one that fails, together with the earlier news that waits for another try; or, with more than one of these,
        after a time in which news is gathered.
        """
        if not self.is_failing:
            return now
        waiting = [
            held.next_try_at or now
            for held in self.pending.values()
            if held.type == NoticeType.METRICS_CHANGED and held.tries
        ]
        latest = now + HELD_MILLIS
        return max(now, min(waiting[0], latest)) if len(waiting) == 1 else latest if waiting else now


def mark(delivery_id: str) -> bytes:
    """A delivery's id as the few bytes that are kept of it for good."""
    return blake2b(delivery_id.encode(), digest_size=12).digest()


def stable_id(*parts: object) -> str:
    """The id of a delivery that the same parts always give, so that what is read twice is not told twice."""
    return "msg_" + blake2b("\0".join(map(str, parts)).encode(), digest_size=15).hexdigest()
