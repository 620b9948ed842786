"""Receivers that are slow, and those that hang, keep those that answer quickly from nothing: simulated by the clock."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

import pytest

from schemas.notices import NoticeType, Webhook, WebhookDelivery
from services.notifier.book import Book
from services.notifier.lanes import MOST_AT_ONCE, PLACES, SLOW_MILLIS, Lane
from services.notifier.plan import Outcome
from tests.support.manual_clock import START
from tests.support.webhooks import webhook

TAKEN, SILENT = Outcome(200), Outcome(None, error="no answer within 15 s")
STEP, ANSWER = 50, 20


class Simulation:
    """Webhooks with an event a second each, and how long their receivers take.

    Attributes:
        waits: of each workspace, how long each first try waited after its event, ms.
        most: the most tries that were under way.
    """

    def __init__(self, hooks: Iterable[tuple[Webhook, int, Outcome]]) -> None:
        self.book = Book(lambda: 0.0)
        self.behaves: dict[tuple[str, str], tuple[int, Outcome]] = {}
        for held, millis, outcome in hooks:
            key = held.workspace_id, held.webhook_id
            self.book.change(key, held, START)
            self.behaves[key] = millis, outcome
        self.waits: dict[str, list[int]] = {}
        self.most = 0

    def run(self, seconds: int) -> None:
        """Each workspace has its event at another moment of each second."""
        ends: list[tuple[int, int, WebhookDelivery]] = []
        names = sorted({key[0] for key in self.behaves})
        count = 0
        for now in range(START, START + seconds * 1_000, STEP):
            for place, name in enumerate(names):
                if (now - START) % 1_000 == place * 340 % 1_000 // STEP * STEP:
                    self.book.enqueue(self.book.tell(name, NoticeType.RECOVERED, {}, str(now), now, now).made)
            while ends and ends[0][0] <= now:
                at, _, delivery = heapq.heappop(ends)
                _, outcome = self.behaves[delivery.workspace_id, delivery.webhook_id]
                self.book.enqueue(self.book.ended(delivery, outcome, at).made)
            for delivery in self.book.take(now):
                count += 1
                millis, _ = self.behaves[delivery.workspace_id, delivery.webhook_id]
                heapq.heappush(ends, (now + millis, count, delivery))
                if not delivery.tries:
                    self.waits.setdefault(delivery.workspace_id, []).append(now - delivery.occurred_at)
            self.most = max(self.most, len(ends))

    def p99(self, workspace_id: str) -> int:
        """The wait that one try of a hundred exceeds, ms."""
        waits = sorted(self.waits[workspace_id])
        return waits[len(waits) * 99 // 100]


def many(count: int, workspaces: int, millis: int, outcome: Outcome) -> list[tuple[Webhook, int, Outcome]]:
    return [(webhook(f"h{n}", f"s{n % workspaces}"), millis, outcome) for n in range(count)]


@pytest.mark.parametrize(
    "others",
    [
        pytest.param(many(300, 3, 14_900, TAKEN), id="slow in 3 workspaces"),
        pytest.param(many(600, 600, 14_900, TAKEN), id="slow in 600 workspaces"),
        pytest.param(many(1_500, 1_500, 14_900, TAKEN), id="slow, more than there are places"),
        pytest.param(many(600, 6, 15_000, SILENT), id="silent"),
        pytest.param(many(300, 3, 1_900, TAKEN), id="a little slow"),
        pytest.param(many(300, 3, 14_900, TAKEN) + many(700, 7, 15_000, SILENT), id="slow and silent"),
    ],
)
def test_a_good_receiver_waits_for_no_others(others: list[tuple[Webhook, int, Outcome]]) -> None:
    simulation = Simulation([*others, (webhook("g", "good"), ANSWER, TAKEN)])
    simulation.run(20)
    assert len(simulation.waits["good"]) >= 19
    assert max(simulation.waits["good"]) <= SLOW_MILLIS + STEP
    assert simulation.most <= MOST_AT_ONCE


def test_a_workspace_with_many_webhooks_does_not_keep_one_with_a_single_one_waiting() -> None:
    """All answer quickly, and together they have more to do than there are places."""
    simulation = Simulation([*many(5_000, 1, 900, TAKEN), (webhook("g", "good"), ANSWER, TAKEN)])
    simulation.run(5)
    assert simulation.p99("s0") > 1_500
    assert simulation.p99("good") <= 900 + STEP


def test_slow_receivers_have_places_of_their_own_and_share_them_by_workspace() -> None:
    simulation = Simulation([*many(400, 1, 14_900, TAKEN), (webhook("g", "other"), 2_000, TAKEN)])
    simulation.run(60)
    # The other one is slow as well: it waits for the next place that is given back, and not behind 400.
    assert len(simulation.waits["other"]) > 4
    assert max(simulation.waits["other"][:4]) <= 15_000


def test_a_receiver_that_answers_quickly_again_leaves_the_slow_lane() -> None:
    book = Book(lambda: 0.0)
    book.change(("w1", "h1"), webhook(), START)

    def next_try(now: int, lasts: int) -> None:
        book.enqueue(book.tell("w1", NoticeType.RECOVERED, {}, str(now), now, now).made)
        (delivery,) = book.take(now)
        book.ended(delivery, TAKEN, now + lasts)

    for at, lasts, slow in ((0, SLOW_MILLIS, 1), (2_000, 5_000, 1), (9_000, SLOW_MILLIS - 1, 0)):
        next_try(START + at, lasts)
        assert (book.slow(), book.failing()) == (slow, 0)


def test_the_moment_at_which_a_lasting_try_gives_its_place_back_is_known() -> None:
    hooks = many(PLACES[Lane.QUICK], PLACES[Lane.QUICK], 0, TAKEN)
    book = Book(lambda: 0.0)
    for held, _, _ in hooks:
        book.change((held.workspace_id, held.webhook_id), held, START)
        book.enqueue(book.tell(held.workspace_id, NoticeType.RECOVERED, {}, "1", START, START).made)
    assert len(book.take(START)) == PLACES[Lane.QUICK]
    assert book.wakes_at() is None
    book.change(("good", "g"), webhook("g", "good"), START)
    book.enqueue(book.tell("good", NoticeType.RECOVERED, {}, "1", START, START).made)
    assert book.take(START + 1) == []
    assert book.wakes_at() == START + SLOW_MILLIS
    assert book.take(START + SLOW_MILLIS - 1) == []
    assert [delivery.webhook_id for delivery in book.take(START + SLOW_MILLIS)] == ["g"]
    # A clock that was set back delays nobody for longer than a try.
    assert book.slow() == PLACES[Lane.QUICK]
