"""Every webhook of this process's partitions, and which deliveries are to be tried when. Pure.

In: webhooks, what happened, outcomes of tries, the time. Out: `Effects`, which say what has to be durable before what
is tried. A dead receiver has one try at a time, and `lanes` keeps receivers that are slow or fail from costing the
others anything.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson

from schemas.notices import (
    DeliveryStatus,
    NoticeType,
    Shutdown,
    Webhook,
    WebhookDelivery,
    WebhookRequest,
    WebhookState,
)
from services.notifier.endpoint import MOST_ASKED, MOST_PENDING, Endpoint, Key, mark, stable_id
from services.notifier.lanes import Lanes
from services.notifier.plan import GIVE_UP_MILLIS, GONE, Outcome, next_try_at

_RECENT: Final = 20_000
BY_OWNER: Final = "disabled by its owner"

Write = WebhookDelivery | WebhookState


@dataclass(slots=True)
class Effects:
    """What follows from something.

    Attributes:
        writes: to be made durable, in this order.
        made: deliveries among them to be tried once they are durable: give them to `Book.enqueue`.
        erased: deliveries whose records are of no use any more.
        shut: webhooks that were shut down, for the log.
    """

    writes: list[Write] = field(default_factory=list)
    made: list[WebhookDelivery] = field(default_factory=list)
    erased: list[WebhookDelivery] = field(default_factory=list)
    shut: list[WebhookState] = field(default_factory=list)

    def add(self, more: Effects) -> None:
        """Let other effects follow these."""
        self.writes += more.writes
        self.made += more.made
        self.erased += more.erased
        self.shut += more.shut


class Book:
    """Webhooks and their deliveries.

    Args:
        share: a random number from 0 to 1, for the jitter of waits.
    """

    def __init__(self, share: Callable[[], float]) -> None:
        self._share = share
        self._endpoints: dict[str, dict[str, Endpoint]] = {}
        self._states: dict[Key, WebhookState] = {}
        self._due: list[tuple[int, int, Key, str]] = []
        self._count = 0
        self._lanes = Lanes()
        # Ids of deliveries that came to their end lately: an event that is read twice after a crash is told once.
        self._recent: OrderedDict[str, None] = OrderedDict()

    # What is read back

    def restore_state(self, key: Key, state: WebhookState | None) -> None:
        """Take how a webhook fared; comes before the webhook."""
        if state is None:
            self._states.pop(key, None)
        else:
            self._states[key] = state

    def restore(self, delivery: WebhookDelivery) -> bool:
        """Take a delivery as it was last written; comes after all webhooks. False when its webhook is gone."""
        endpoint = self.get((delivery.workspace_id, delivery.webhook_id))
        if endpoint is None:
            return False
        if delivery.type == NoticeType.POST_THRESHOLD:
            endpoint.told.add(mark(delivery.delivery_id))
        if delivery.status == DeliveryStatus.PENDING:
            if delivery.tried_at is not None and delivery.tried_at < endpoint.moved_at:
                # It waits because of an address that the webhook does not have any more.
                delivery = replace(delivery, next_try_at=endpoint.moved_at)
            endpoint.pending[delivery.delivery_id] = delivery
            self._wait(endpoint.key, delivery)
        else:
            self._remember(delivery.delivery_id)
        return True

    def change(self, key: Key, webhook: Webhook | None, now: int) -> Effects:
        """Take a webhook as its owner wants it; None when it is deleted."""
        held = self._endpoints.setdefault(key[0], {})
        endpoint = held.get(key[1])
        effects = Effects()
        if webhook is None:
            if endpoint is not None:
                effects.erased += endpoint.pending.values()
                endpoint.pending.clear()
                endpoint.ready.clear()
                del held[key[1]]
            self._states.pop(key, None)
            return effects
        if endpoint is None:
            state = self._states.get(key) or WebhookState(*key)
            endpoint = held[key[1]] = Endpoint(webhook, state)
        before, endpoint.webhook = endpoint.webhook, webhook
        since = endpoint.state.failing_since
        if not endpoint.is_shut and (
            endpoint.state.disabled_at is not None or (since is not None and since < webhook.enabled_at)
        ):
            # Enabled again: what failed before does not count any more.
            endpoint.state = WebhookState(*key)
            effects.writes.append(endpoint.state)
        if not webhook.is_enabled:
            self._give_up(endpoint, BY_OWNER, effects)
        elif webhook.url != before.url:
            self._move(endpoint, now, effects)
        return effects

    def _move(self, endpoint: Endpoint, now: int, effects: Effects) -> None:
        """Begin anew with another address: how the one before fared does not count, and nothing waits because of it."""
        moved_at = endpoint.moved_at = endpoint.webhook.updated_at
        endpoint.is_slow = False
        since = endpoint.state.failing_since
        # Both addresses may be read back after a restart: what failed after the change failed at the present address.
        if since is not None and since <= moved_at and not endpoint.is_shut:
            self._fares(endpoint, None, effects)
        for delivery in list(endpoint.pending.values()):
            if delivery.next_try_at is not None and delivery.next_try_at > now:
                due = endpoint.pending[delivery.delivery_id] = replace(delivery, next_try_at=now)
                effects.writes.append(due)
                effects.made.append(due)

    def tidy(self, now: int) -> Effects:
        """Give up what waits for webhooks to which nothing is delivered; comes after everything was read back."""
        effects = Effects()
        for endpoint in self._all():
            if not endpoint.is_active:
                self._give_up(endpoint, endpoint.state.reason or BY_OWNER, effects)
        return effects

    # What happens

    def of(self, workspace_id: str) -> Iterable[Endpoint]:
        """A workspace's webhooks."""
        return self._endpoints.get(workspace_id, {}).values()

    def wants(self, workspace_id: str, type_: str) -> bool:
        """Whether any webhook of a workspace is told of a type."""
        return any(endpoint.is_active and type_ in endpoint.webhook.types for endpoint in self.of(workspace_id))

    def tell(
        self, workspace_id: str, type_: str, content: dict[str, Any], source: str, happened_at: int, now: int
    ) -> Effects:
        """Make deliveries of an event to every webhook that wants its type.

        Args:
            source: names the event; the same event told again makes no further delivery.
        """
        effects = Effects()
        for endpoint in self.of(workspace_id):
            if endpoint.wants(type_, happened_at):
                id_ = stable_id(*endpoint.key, type_, source)
                self._make(endpoint, id_, type_, orjson.dumps(content).decode(), happened_at, now, effects)
        return effects

    def tell_threshold(
        self, endpoint: Endpoint, content: dict[str, Any], source: str, happened_at: int, now: int
    ) -> Effects:
        """Make the delivery that a post has reached a rule of one webhook; once, whatever is read again."""
        effects = Effects()
        id_ = stable_id(*endpoint.key, NoticeType.POST_THRESHOLD, source)
        if not endpoint.knows(id_):
            text = orjson.dumps(content).decode()
            # Where the webhook is shut down instead, nothing was told: the post's next figures are looked at again.
            if self._make(endpoint, id_, NoticeType.POST_THRESHOLD, text, happened_at, now, effects):
                endpoint.told.add(mark(id_))
        return effects

    def tell_change(
        self, endpoint: Endpoint, content: Callable[[str | None], str], source: str, happened_at: int, now: int
    ) -> Effects:
        """Tell one webhook that metrics changed, by a delivery of its own or by one that was not tried yet.

        While a receiver fails, further news is gathered for up to five minutes: so one that is dead has few deliveries.

        Args:
            content: from the content of a delivery that was not tried yet, or None, to the one with this news.
        """
        effects = Effects()
        untried = endpoint.untried_change()
        if untried is not None:
            # Its place in the queue of tries stays.
            merged = replace(untried, content=content(untried.content))
            endpoint.pending[merged.delivery_id] = merged
            effects.writes.append(merged)
            return effects
        due_at = endpoint.change_due_at(now)
        id_ = stable_id(*endpoint.key, NoticeType.METRICS_CHANGED, source)
        self._make(endpoint, id_, NoticeType.METRICS_CHANGED, content(None), happened_at, now, effects, due_at)
        endpoint.newest_change = id_
        return effects

    def request(self, asked: WebhookRequest, now: int) -> Effects:
        """Make a delivery that somebody asked for: a test, or one more time."""
        effects = Effects()
        endpoint = self.get((asked.workspace_id, asked.webhook_id))
        if endpoint is None or asked.delivery_id in endpoint.pending:
            return effects
        self._recent.pop(asked.delivery_id, None)
        if endpoint.newest_change == asked.delivery_id:
            # Its receiver may know this id already, and would pass over further news in it.
            endpoint.newest_change = ""
        delivery = WebhookDelivery(
            asked.workspace_id, asked.webhook_id, asked.delivery_id, asked.type, asked.occurred_at, asked.content,
            DeliveryStatus.PENDING, 0, asked.created_at, now,
        )  # fmt: skip
        refusal = self._refusal(endpoint)
        if refusal:
            effects.writes.append(replace(delivery, status=DeliveryStatus.FAILED, next_try_at=None, error=refusal))
        else:
            endpoint.pending[delivery.delivery_id] = delivery
            effects.writes.append(delivery)
            effects.made.append(delivery)
        return effects

    @staticmethod
    def _refusal(endpoint: Endpoint) -> str:
        """Why nothing that somebody asks for is delivered; empty where it is."""
        if not endpoint.is_active:
            return "the webhook is disabled; enable it"
        if len(endpoint.pending) >= MOST_ASKED:
            return f"{MOST_ASKED} deliveries wait for the webhook already; ask again later"
        return ""

    # Tries

    def enqueue(self, deliveries: Iterable[WebhookDelivery]) -> None:
        """Have deliveries tried when they are due; they are durable; those given up meanwhile are passed over."""
        for delivery in deliveries:
            endpoint = self.get((delivery.workspace_id, delivery.webhook_id))
            held = endpoint.pending.get(delivery.delivery_id) if endpoint is not None else None
            if endpoint is not None and held is not None:
                self._wait(endpoint.key, held)

    def take(self, now: int) -> list[WebhookDelivery]:
        """The deliveries whose tries begin now; each has to come back by `ended`."""
        while self._due and self._due[0][0] <= now:
            due_at, _, key, id_ = heapq.heappop(self._due)
            endpoint = self.get(key)
            delivery = endpoint.pending.get(id_) if endpoint is not None else None
            if endpoint is None or delivery is None or delivery.next_try_at != due_at:
                continue
            if id_ not in endpoint.running and id_ not in endpoint.ready:
                endpoint.ready[id_] = None
                self._lanes.line_up(endpoint)
        return list(self._begin(now))

    def next_due(self) -> int | None:
        """When the next delivery becomes due, ms; None when none waits."""
        return self._due[0][0] if self._due else None

    def wakes_at(self) -> int | None:
        """When `take` may have something, ms, unless a try ends before; None when nothing waits for the time."""
        return min((at for at in (self.next_due(), self._lanes.frees_at()) if at is not None), default=None)

    def ended(self, delivery: WebhookDelivery, outcome: Outcome, now: int) -> Effects:
        """Take the outcome of a try."""
        effects = Effects()
        key, id_ = (delivery.workspace_id, delivery.webhook_id), delivery.delivery_id
        was_slow = self._lanes.ended(key, id_, now)
        endpoint = self.get(key)
        if endpoint is None or id_ not in endpoint.running:
            return effects  # deleted, or given up meanwhile
        is_present = endpoint.running.pop(id_) == endpoint.webhook.url
        if is_present:
            endpoint.is_slow = was_slow
        if id_ not in endpoint.pending:
            return effects
        tried = replace(
            delivery, tries=delivery.tries + 1, tried_at=now, next_try_at=None, answer_status=outcome.status,
            answer=outcome.answer, error=outcome.error,
        )  # fmt: skip
        if not outcome.error:
            self._finish(endpoint, replace(tried, status=DeliveryStatus.DELIVERED), effects)
            if is_present:
                self._fares(endpoint, None, effects)
        elif not is_present:
            # The address was changed meanwhile: what the one before answered counts for nothing, and is no try.
            again = endpoint.pending[id_] = replace(tried, tries=delivery.tries, next_try_at=now)
            effects.writes.append(again)
            effects.made.append(again)
        else:
            self._fares(endpoint, endpoint.state.failing_since or now, effects)
            self._failed(endpoint, tried, outcome, now, effects)
        self._lanes.line_up(endpoint)
        return effects

    # Counts, for operators

    def pending(self) -> int:
        """Deliveries that are not finished."""
        return sum(len(endpoint.pending) for endpoint in self._all())

    def failing(self) -> int:
        """Webhooks whose last try failed."""
        return sum(endpoint.is_active and endpoint.is_failing for endpoint in self._all())

    def slow(self) -> int:
        """Webhooks that work, and whose last try took long."""
        return sum(endpoint.is_active and endpoint.is_slow and not endpoint.is_failing for endpoint in self._all())

    def overdue(self, now: int) -> int:
        """For how long the oldest untried delivery to a webhook that answers quickly has waited, ms."""
        waits = [
            now - delivery.next_try_at
            for endpoint in self._all()
            if not endpoint.is_failing and not endpoint.is_slow
            for delivery in endpoint.pending.values()
            if not delivery.tries and delivery.next_try_at is not None and delivery.delivery_id not in endpoint.running
        ]
        return max([0, *waits])

    def is_pending(self, delivery: WebhookDelivery) -> bool:
        """Whether a delivery is not finished."""
        endpoint = self.get((delivery.workspace_id, delivery.webhook_id))
        return endpoint is not None and delivery.delivery_id in endpoint.pending

    def _all(self) -> Iterator[Endpoint]:
        return (endpoint for held in self._endpoints.values() for endpoint in held.values())

    def get(self, key: Key) -> Endpoint | None:
        """One webhook."""
        return self._endpoints.get(key[0], {}).get(key[1])

    def _make(
        self,
        endpoint: Endpoint,
        id_: str,
        type_: str,
        content: str,
        happened_at: int,
        now: int,
        effects: Effects,
        due_at: int | None = None,
    ) -> bool:
        """Make a delivery; returns whether it was made now."""
        if id_ in self._recent or endpoint.knows(id_):
            return False
        if len(endpoint.pending) >= MOST_PENDING:
            self._shut(endpoint, Shutdown.BACKLOG, now, effects)
            return False
        delivery = WebhookDelivery(
            *endpoint.key, id_, type_, happened_at, content, DeliveryStatus.PENDING, 0, now,
            now if due_at is None else due_at,
        )  # fmt: skip
        # Known from here on; tried once it is durable.
        endpoint.pending[id_] = delivery
        effects.writes.append(delivery)
        effects.made.append(delivery)
        return True

    def _failed(self, endpoint: Endpoint, tried: WebhookDelivery, outcome: Outcome, now: int, effects: Effects) -> None:
        again = next_try_at(tried.tries, now, self._share())
        since = endpoint.state.failing_since
        if again is None or outcome.status == GONE:
            self._finish(endpoint, replace(tried, status=DeliveryStatus.FAILED), effects)
        else:
            waiting = replace(tried, next_try_at=again)
            endpoint.pending[tried.delivery_id] = waiting
            effects.writes.append(waiting)
            self._wait(endpoint.key, waiting)
        if outcome.status == GONE:
            self._shut(endpoint, Shutdown.GONE, now, effects)
        elif since is not None and now - since >= GIVE_UP_MILLIS:
            self._shut(endpoint, Shutdown.FAILING, now, effects)

    def _shut(self, endpoint: Endpoint, reason: Shutdown, now: int, effects: Effects) -> None:
        """Shut a webhook down, and tell the workspace's others."""
        endpoint.state = replace(endpoint.state, disabled_at=now, reason=reason.value)
        effects.writes.append(endpoint.state)
        effects.shut.append(endpoint.state)
        self._give_up(endpoint, f"shut down: {reason.value}", effects)
        workspace_id, webhook_id = endpoint.key
        # Without the address, which may hold a secret of its owner's.
        content = {"webhook_id": webhook_id, "reason": reason.value}
        effects.add(self.tell(workspace_id, NoticeType.WEBHOOK_DISABLED, content, f"{webhook_id}/{now}", now, now))

    def _give_up(self, endpoint: Endpoint, why: str, effects: Effects) -> None:
        for delivery in list(endpoint.pending.values()):
            given_up = replace(delivery, status=DeliveryStatus.FAILED, next_try_at=None, error=why)
            self._finish(endpoint, given_up, effects)
        endpoint.ready.clear()

    def _finish(self, endpoint: Endpoint, finished: WebhookDelivery, effects: Effects) -> None:
        endpoint.pending.pop(finished.delivery_id, None)
        effects.writes.append(finished)
        self._remember(finished.delivery_id)

    def _fares(self, endpoint: Endpoint, failing_since: int | None, effects: Effects) -> None:
        if endpoint.state.failing_since != failing_since:
            endpoint.state = replace(endpoint.state, failing_since=failing_since)
            effects.writes.append(endpoint.state)

    def _remember(self, id_: str) -> None:
        self._recent[id_] = None
        while len(self._recent) > _RECENT:
            self._recent.popitem(last=False)

    def _wait(self, key: Key, delivery: WebhookDelivery) -> None:
        if delivery.next_try_at is not None:
            self._count += 1
            heapq.heappush(self._due, (delivery.next_try_at, self._count, key, delivery.delivery_id))

    def _begin(self, now: int) -> Iterator[WebhookDelivery]:
        for endpoint in self._lanes.begin(now):
            while endpoint.ready and endpoint.has_room:
                delivery = endpoint.pending.get(endpoint.ready.popitem(last=False)[0])
                if delivery is None:
                    continue
                endpoint.running[delivery.delivery_id] = endpoint.webhook.url
                self._lanes.began(endpoint, delivery.delivery_id, now)
                yield delivery
                break
