"""What is tried when, under a clock that is moved by hand, and what is remembered after crashes at any point."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.notices import (
    TEST_TYPE,
    DeliveryStatus,
    NoticeType,
    Shutdown,
    Webhook,
    WebhookDelivery,
    WebhookRequest,
    WebhookState,
)
from services.notifier import happenings
from services.notifier.book import Book, Effects
from services.notifier.endpoint import MOST_ASKED, MOST_PENDING, TRIES_AT_ONCE
from services.notifier.lanes import PLACES, Lane
from services.notifier.plan import GIVE_UP_MILLIS, HELD_MILLIS, JITTER, WAITS_SECONDS, Outcome
from tests.support import properties
from tests.support.manual_clock import START
from tests.support.webhooks import Kept, webhook

TAKEN = Outcome(204)
BROKEN = Outcome(500, "oh", "status 500")
GONE = Outcome(410, "", "status 410")
TYPE = NoticeType.TOKEN_EXPIRED


def book_of(*held: Webhook, share: float = 0.0) -> tuple[Book, Kept]:
    book, kept = Book(lambda: share), Kept()
    for one in held or (webhook(),):
        kept.keep(book, book.change((one.workspace_id, one.webhook_id), one, START))
    return book, kept


def tell(book: Book, kept: Kept, source: str = "s", now: int = START, type_: str = TYPE) -> None:
    kept.keep(book, book.tell("w1", type_, {"channel_id": "c1"}, source, now, now))


def end(book: Book, kept: Kept, delivery: WebhookDelivery, outcome: Outcome, now: int) -> None:
    kept.keep(book, book.ended(delivery, outcome, now))


def test_a_delivery_is_tried_at_the_promised_instants_and_then_given_up() -> None:
    book, kept = book_of()
    tell(book, kept)
    now, tried_at = START, []
    while (due := book.next_due()) is not None:
        assert book.take(due - 1) == []
        now = due
        (delivery,) = book.take(now)
        tried_at.append(now)
        end(book, kept, delivery, BROKEN, now)
    waits = [(after - before) // 1000 for before, after in pairwise(tried_at)]
    assert waits == list(WAITS_SECONDS)
    (held,) = kept.of("h1")
    assert (held.status, held.tries, held.next_try_at) == (DeliveryStatus.FAILED, len(WAITS_SECONDS) + 1, None)
    assert (held.answer_status, held.answer, held.error) == (500, "oh", "status 500")


@given(st.floats(0, 1))
def test_waits_are_longer_by_the_jitter_at_most(share: float) -> None:
    book, kept = book_of(share=share)
    tell(book, kept)
    end(book, kept, book.take(START)[0], BROKEN, START)
    due = book.next_due()
    assert due is not None
    assert 5_000 <= due - START <= 5_000 * (1 + JITTER) + 1


def test_the_id_is_the_same_at_each_try_and_after_a_restart() -> None:
    book, kept = book_of()
    tell(book, kept)
    (first,) = book.take(START)
    end(book, kept, first, BROKEN, START)
    again = kept.read_back([webhook()], START + 1_000, share=0.0)
    assert again.take(START + 4_999) == []
    (second,) = again.take(START + 5_000)
    assert (second.delivery_id, second.content, second.tries) == (first.delivery_id, first.content, 1)


def test_what_is_read_twice_is_told_once() -> None:
    book, kept = book_of()
    tell(book, kept, "accounts.events/0/7")
    end(book, kept, book.take(START)[0], TAKEN, START)
    tell(book, kept, "accounts.events/0/7")
    assert (len(kept.of("h1")), book.take(START)) == (1, [])
    again = kept.read_back([webhook()], START)
    tell(again, kept, "accounts.events/0/7")
    assert again.take(START) == []
    tell(again, kept, "accounts.events/0/8")
    assert len(again.take(START)) == 1


def test_only_those_are_told_that_want_it_and_were_there() -> None:
    book, kept = book_of(
        webhook("h1"), webhook("h2", types=["metrics.changed"]), webhook("h3", at=START + 1),
        webhook("h4", is_enabled=False), webhook("h5", "w2"),
    )  # fmt: skip
    tell(book, kept)
    assert [delivery.webhook_id for delivery in book.take(START)] == ["h1"]
    assert (book.wants("w2", TYPE), book.wants("w3", TYPE)) == (True, False)


def test_410_shuts_the_webhook_down_and_the_others_are_told() -> None:
    book, kept = book_of(webhook("h1"), webhook("h2"), webhook("h3", types=["metrics.changed"]), webhook("h4", "w2"))
    tell(book, kept, "1")
    tell(book, kept, "2")
    for delivery in book.take(START):
        end(book, kept, delivery, GONE if delivery.webhook_id == "h1" else TAKEN, START + 10)
    assert kept.states["w1", "h1"] == WebhookState("w1", "h1", START + 10, START + 10, Shutdown.GONE)
    assert [held.status for held in kept.of("h1")] == [DeliveryStatus.FAILED] * 2
    told = [held for held in kept.of("h2") if held.type == NoticeType.WEBHOOK_DISABLED]
    assert ('"webhook_id":"h1"' in told[0].content, len(told), len(kept.of("h3")), len(kept.of("h4"))) == (
        True,
        1,
        0,
        0,
    )
    tell(book, kept, "3", START + 20)
    assert [one.webhook_id for one in book.take(START + 20)] == ["h2", "h2"]
    # A new process knows it too.
    again = kept.read_back([webhook("h1"), webhook("h2")], START + 30)
    tell(again, kept, "4", START + 40)
    assert {one.webhook_id for one in again.take(START + 40)} == {"h2"}


def test_a_success_begins_the_five_days_anew() -> None:
    book, kept = book_of()
    tell(book, kept, "0")
    end(book, kept, book.take(START)[0], BROKEN, START)
    assert kept.states["w1", "h1"].failing_since == START
    later = START + GIVE_UP_MILLIS - 1
    end(book, kept, book.take(later)[0], TAKEN, later)
    assert kept.states["w1", "h1"].failing_since is None
    tell(book, kept, "1", later + 10)
    end(book, kept, book.take(later + 10)[0], BROKEN, later + 10)
    assert (kept.states["w1", "h1"].failing_since, kept.states["w1", "h1"].disabled_at) == (later + 10, None)


def test_a_webhook_that_fails_for_five_days_is_shut_down() -> None:
    book, kept = book_of()
    tell(book, kept, "0")
    end(book, kept, book.take(START)[0], BROKEN, START)
    last = START + GIVE_UP_MILLIS
    tell(book, kept, "1", last)
    while kept.states["w1", "h1"].disabled_at is None:
        (delivery,) = book.take(last)
        end(book, kept, delivery, BROKEN, last)
    assert kept.states["w1", "h1"].reason == Shutdown.FAILING
    assert {held.status for held in kept.of("h1")} == {DeliveryStatus.FAILED}
    # Enabled by its owner, it begins as if new.
    kept.keep(book, book.change(("w1", "h1"), webhook(enabled_at=last + 1), last + 1))
    assert kept.states["w1", "h1"] == WebhookState("w1", "h1")
    tell(book, kept, "2", last + 2)
    assert len(book.take(last + 2)) == 1


def test_days_for_which_the_owner_had_disabled_it_do_not_count_as_failure() -> None:
    book, kept = book_of()
    tell(book, kept, "0")
    end(book, kept, book.take(START)[0], BROKEN, START)
    kept.keep(book, book.change(("w1", "h1"), webhook(is_enabled=False), START + 1))
    again = START + GIVE_UP_MILLIS
    kept.keep(book, book.change(("w1", "h1"), webhook(enabled_at=again), again))
    tell(book, kept, "1", again)
    end(book, kept, book.take(again)[0], BROKEN, again + 1)
    assert kept.states["w1", "h1"] == WebhookState("w1", "h1", again + 1)
    assert kept.of("h1")[-1].status == DeliveryStatus.PENDING


def test_a_failing_webhook_has_one_try_at_a_time_and_a_good_one_a_few() -> None:
    book, kept = book_of(webhook("h1"), webhook("h2"))
    for number in range(10):
        tell(book, kept, str(number))
    first = book.take(START)
    assert sorted(delivery.webhook_id for delivery in first) == ["h1"] * TRIES_AT_ONCE + ["h2"] * TRIES_AT_ONCE
    for delivery in first:
        end(book, kept, delivery, BROKEN if delivery.webhook_id == "h1" else TAKEN, START)
    second = book.take(START)
    assert sorted(delivery.webhook_id for delivery in second) == ["h1"] + ["h2"] * TRIES_AT_ONCE


def test_failing_webhooks_take_no_room_from_the_others() -> None:
    dead = [webhook(f"dead{n}", f"w{n}") for n in range(PLACES[Lane.FAILING] + 50)]
    book, kept = book_of(*dead, webhook("good", "g"))
    for one in dead:
        kept.states[one.workspace_id, one.webhook_id] = WebhookState(one.workspace_id, one.webhook_id, START)
    book = kept.read_back([*dead, webhook("good", "g")], START)
    for one in dead:
        kept.keep(book, book.tell(one.workspace_id, TYPE, {}, "s", START, START))
    assert len(book.take(START)) == PLACES[Lane.FAILING]
    kept.keep(book, book.tell("g", TYPE, {}, "s", START, START))
    assert [delivery.webhook_id for delivery in book.take(START)] == ["good"]


def test_news_that_is_delivered_once_more_takes_no_further_news_in() -> None:
    """Its receiver knows the id, and passes over whatever comes under it."""
    book, kept = book_of()

    def change(of: Book, text: str) -> None:
        endpoint = of.get(("w1", "h1"))
        assert endpoint is not None
        kept.keep(of, of.tell_change(endpoint, lambda before: (before or "") + text, text, START, START))

    change(book, "a")
    (first,) = book.take(START)
    end(book, kept, first, TAKEN, START)
    asked = WebhookRequest("w1", "h1", first.delivery_id, first.type, START, "a", START, START)
    kept.keep(book, book.request(asked, START))
    change(book, "b")
    assert sorted(held.content for held in kept.of("h1")) == ["a", "b"]
    again = kept.read_back([webhook()], START)
    change(again, "c")
    assert sorted(held.content for held in kept.of("h1")) == ["a", "b", "c"]


def test_news_that_was_not_tried_yet_takes_further_news_in() -> None:
    book, kept = book_of()
    endpoint = book.get(("w1", "h1"))
    assert endpoint is not None

    def change(text: str, now: int) -> Effects:
        return book.tell_change(endpoint, lambda before: (before or "") + text, text, now, now)

    first = change("a", START)
    # Before the first is durable, a second comes.
    second = change("b", START)
    kept.keep(book, first)
    kept.keep(book, second)
    (delivery,) = book.take(START)
    assert delivery.content == "ab"
    # While it is being tried, the next is a delivery of its own, and takes in the one after it.
    kept.keep(book, change("c", START + 1_000))
    kept.keep(book, change("d", START + 1_500))
    end(book, kept, delivery, BROKEN, START + 2_000)
    (other,) = book.take(START + 2_000)
    assert other.content == "cd"
    end(book, kept, other, BROKEN, START + 2_000)
    # What failed waits; news waits with it, for five minutes at most.
    (again, *_) = book.take(START + 7_000)
    end(book, kept, again, BROKEN, START + 7_000)
    for second_ in range(60):
        kept.keep(book, change("e", START + 10_000 + second_))
    pending = [held for held in kept.of("h1") if held.status == DeliveryStatus.PENDING]
    assert len(pending) == 3
    held_back = next(held for held in pending if not held.tries)
    assert (held_back.content, held_back.next_try_at) == ("e" * 60, START + 10_000 + HELD_MILLIS)


def test_a_dead_receiver_of_news_each_second_gathers_few_deliveries() -> None:
    book, kept = book_of()
    endpoint = book.get(("w1", "h1"))
    assert endpoint is not None
    for second in range(6 * 3600):
        now = START + second * 1_000
        for delivery in book.take(now):
            end(book, kept, delivery, BROKEN, now)
        kept.keep(book, book.tell_change(endpoint, lambda _: "", str(second), now, now))
        kept.written.clear()
    assert book.pending() < 6 * 3_600_000 // HELD_MILLIS + 20


def test_a_threshold_is_told_once_whatever_becomes_of_its_delivery() -> None:
    held = webhook(types=["post.threshold"], rules=[("likes", 10)])
    book, kept = book_of(held)

    def reach(of: Book, source: str = "p1/likes/10") -> int:
        endpoint = of.get(("w1", "h1"))
        assert endpoint is not None
        kept.keep(of, of.tell_threshold(endpoint, {"post_id": "p1"}, source, START, START))
        return len(of.take(START))

    assert [reach(book), reach(book)] == [1, 0]
    (delivery,) = kept.of("h1")
    end(book, kept, delivery, TAKEN, START)
    # Long after: what the log leaves of it.
    kept.deliveries["w1", "h1", delivery.delivery_id] = replace(delivery, status=DeliveryStatus.TOLD, content="")
    again = kept.read_back([held], START)
    assert [reach(again), reach(again, "p2/likes/10"), reach(again, "p1/likes/20")] == [0, 1, 1]


def test_too_many_waiting_deliveries_shut_the_webhook_down() -> None:
    book, kept = book_of()
    for number in range(MOST_PENDING + 1):
        tell(book, kept, str(number))
    assert kept.states["w1", "h1"].reason == Shutdown.BACKLOG
    assert (book.pending(), book.take(START)) == (0, [])
    assert len(kept.of("h1")) == MOST_PENDING


def test_a_threshold_that_shuts_the_webhook_down_is_told_once_it_is_enabled() -> None:
    held = webhook(types=["post.threshold"], rules=[("likes", 10)])
    book, kept = book_of(held)

    def reach(post_id: str, now: int) -> list[str]:
        rollup = {"workspace_id": "w1", "post_id": post_id, "likes": 20}
        effects = happenings.thresholds(book, rollup, now, now)
        kept.keep(book, effects)
        return [delivery.content for delivery in effects.made]

    for number in range(MOST_PENDING):
        assert reach(f"p{number}", START)
    assert not reach("last", START + 1)
    assert kept.states["w1", "h1"].reason == Shutdown.BACKLOG
    assert not reach("later", START + 2)
    kept.keep(book, book.change(("w1", "h1"), replace(held, enabled_at=START + 10), START + 10))
    assert [bool(reach(post_id, START + 20)) for post_id in ("last", "later", "last", "p0")] == [
        True,
        True,
        False,
        False,
    ]


def test_what_somebody_asks_for_has_a_bound_and_shuts_nothing_down() -> None:
    book, kept = book_of()
    for number in range(MOST_ASKED + 100):
        asked = WebhookRequest("w1", "h1", f"msg_{number}", TEST_TYPE, START, "{}", START, START)
        kept.keep(book, book.request(asked, START))
    held = kept.of("h1")
    assert [one.status for one in held].count(DeliveryStatus.PENDING) == MOST_ASKED == book.pending()
    assert (held[-1].status, held[-1].error) == (
        DeliveryStatus.FAILED,
        "2500 deliveries wait for the webhook already; ask again later",
    )
    for number in range(MOST_PENDING - MOST_ASKED):
        tell(book, kept, str(number))
    assert ("w1", "h1") not in kept.states


def test_a_request_makes_the_delivery_again_under_its_id() -> None:
    book, kept = book_of()
    tell(book, kept)
    (delivery,) = book.take(START)
    end(book, kept, delivery, TAKEN, START)
    asked = WebhookRequest(
        "w1", "h1", delivery.delivery_id, delivery.type, START, delivery.content, delivery.created_at, START + 5
    )
    for _ in range(2):  # also read twice
        kept.keep(book, book.request(asked, START + 5))
    (again,) = book.take(START + 5)
    assert (again.delivery_id, again.created_at, again.tries) == (delivery.delivery_id, delivery.created_at, 0)
    kept.keep(book, book.request(replace(asked, webhook_id="unknown"), START))
    off = webhook(is_enabled=False)
    kept.keep(book, book.change(("w1", "h1"), off, START + 6))
    kept.keep(book, book.request(replace(asked, delivery_id="msg_t"), START + 7))
    assert kept.deliveries["w1", "h1", "msg_t"].error == "the webhook is disabled; enable it"


def test_deleting_erases_what_waits_and_what_is_being_tried_ends_quietly() -> None:
    book, kept = book_of()
    tell(book, kept, "1")
    (delivery,) = book.take(START)
    tell(book, kept, "2")
    kept.keep(book, book.change(("w1", "h1"), None, START))
    assert kept.of("h1") == []
    end(book, kept, delivery, TAKEN, START)
    assert (kept.of("h1"), book.take(START), book.pending()) == ([], [], 0)
    assert not book.restore(delivery)


def test_what_is_disabled_while_it_is_tried_stays_given_up() -> None:
    book, kept = book_of()
    tell(book, kept)
    (delivery,) = book.take(START)
    kept.keep(book, book.change(("w1", "h1"), webhook(is_enabled=False), START))
    end(book, kept, delivery, BROKEN, START)
    (held,) = kept.of("h1")
    assert (held.status, held.error, book.next_due()) == (DeliveryStatus.FAILED, "disabled by its owner", None)
    assert book.take(START + 10_000_000) == []


NEW = "https://new.example.com/"


def test_what_an_address_of_before_answers_does_not_count() -> None:
    held = webhook()
    book, kept = book_of(held)
    for source in "123":
        tell(book, kept, source)
    gone, broken, taken = book.take(START)
    moved = replace(held, url=NEW, updated_at=START + 1)
    kept.keep(book, book.change(("w1", "h1"), moved, START + 1))
    assert book.take(START + 1) == [], "no delivery is tried twice at once"
    end(book, kept, gone, GONE, START + 2)
    end(book, kept, broken, BROKEN, START + 2)
    assert kept.states.get(("w1", "h1"), WebhookState("w1", "h1")) == WebhookState("w1", "h1")
    # Both are tried at the new address, at once, and the old one's tries are no tries.
    again = book.take(START + 2)
    assert {(one.delivery_id, one.tries, one.answer_status) for one in again} == {
        (gone.delivery_id, 0, 410),
        (broken.delivery_id, 0, 500),
    }
    for one in again:
        end(book, kept, one, BROKEN, START + 3)
    # A success at the old address is a delivery, and makes the new one no better.
    end(book, kept, taken, TAKEN, START + 4)
    assert kept.states["w1", "h1"].failing_since == START + 3
    assert kept.deliveries["w1", "h1", taken.delivery_id].status == DeliveryStatus.DELIVERED


def test_another_address_begins_anew() -> None:
    held = webhook()
    book, kept = book_of(held)
    tell(book, kept)
    now = START
    for _ in range(6):
        now = book.next_due() or 0
        end(book, kept, book.take(now)[0], BROKEN, now)
    moved = replace(held, url=NEW, updated_at=now + 1_000)
    effects = book.change(("w1", "h1"), moved, now + 1_000)
    kept.write(effects)
    book.enqueue(effects.made)
    assert kept.states["w1", "h1"] == WebhookState("w1", "h1")
    (due,) = book.take(now + 1_000)
    assert due.tries == 6
    # A process that takes over reads both addresses back: what the new one did since then stays.
    end(book, kept, due, BROKEN, now + 2_000)
    again = kept.read_back([held, moved], now + 3_000)
    assert kept.states["w1", "h1"].failing_since == now + 2_000
    assert again.take(now + 3_000) == []
    # Five days count from the first failure of this address.
    last = START + GIVE_UP_MILLIS
    tell(again, kept, "later", last)
    for one in again.take(last):
        end(again, kept, one, BROKEN, last)
    assert kept.states["w1", "h1"].disabled_at is None


def test_an_address_that_was_changed_while_no_process_ran_begins_anew_as_well() -> None:
    held = webhook()
    book, kept = book_of(held)
    tell(book, kept)
    end(book, kept, book.take(START)[0], BROKEN, START)
    end(book, kept, book.take(START + 5_000)[0], BROKEN, START + 5_000)
    moved = replace(held, url=NEW, updated_at=START + 6_000)
    again = kept.read_back([held, moved], START + 7_000)
    assert kept.states["w1", "h1"] == WebhookState("w1", "h1")
    assert len(again.take(START + 7_000)) == 1


def test_another_description_changes_nothing_of_what_waits() -> None:
    held = webhook()
    book, kept = book_of(held)
    tell(book, kept)
    end(book, kept, book.take(START)[0], BROKEN, START)
    effects = book.change(("w1", "h1"), replace(held, description="new", updated_at=START + 1), START + 1)
    assert (effects.writes, effects.made, book.next_due()) == ([], [], START + 5_000)


class World:
    """A receiver that may fail, a process that may crash, and topics that keep what was made durable."""

    def __init__(self) -> None:
        self.now = START
        self.hooks = [webhook("h1"), webhook("h2")]
        self.kept = Kept()
        self.book = self.kept.read_back(self.hooks, START)
        self.running: list[WebhookDelivery] = []
        self.took: dict[str, int] = {}
        self.committed = 0
        self.happened = 0

    def happen(self, crash: int) -> None:
        """Something happens; the process may crash before or after it is durable, or after the commit."""
        self.happened += 1
        self.read(crash)

    def read(self, crash: int) -> None:
        for number in range(self.committed, self.happened):
            effects = self.book.tell("w1", TYPE, {}, f"accounts.events/0/{number}", self.now, self.now)
            if crash == 1:
                return self.crash()
            self.kept.write(effects)
            if crash == 2:
                return self.crash()
            self.book.enqueue(effects.made)
            self.committed = number + 1
        return None

    def work(self, outcome: Outcome, crash: int) -> None:
        """Begin what is due, and end one try."""
        self.running += self.book.take(self.now)
        if not self.running:
            return None
        delivery = self.running.pop(0)
        if not outcome.error:
            self.took[delivery.delivery_id] = self.took.get(delivery.delivery_id, 0) + 1
        effects = self.book.ended(delivery, outcome, self.now)
        if crash == 1:
            return self.crash()
        self.kept.write(effects)
        if crash == 2:
            return self.crash()
        return self.book.enqueue(effects.made)

    def crash(self) -> None:
        """Another process goes on from what is durable."""
        self.running = []
        self.book = self.kept.read_back(self.hooks, self.now)
        self.read(0)


steps = st.one_of(
    st.tuples(st.just("happen"), st.integers(0, 2)),
    st.tuples(st.just("work"), st.sampled_from([TAKEN, BROKEN, BROKEN]), st.integers(0, 2)),
    st.tuples(st.just("wait"), st.integers(1, 40_000_000)),
)


@settings(max_examples=properties.of(300), deadline=None)
@given(st.lists(steps, max_size=60))
def test_nothing_is_lost_by_crashes_at_any_point(story: list[tuple[object, ...]]) -> None:
    world = World()
    for step in story:
        match step:
            case ("happen", int(crash)):
                world.happen(crash)
            case ("work", Outcome() as outcome, int(crash)):
                world.work(outcome, crash)
            case ("wait", int(millis)):
                world.now += millis
    # From here on the receivers take everything.
    for _ in range(10_000):
        if not world.book.pending():
            break
        world.now = max(world.now, world.book.next_due() or 0)
        world.work(TAKEN, 0)
    held = world.kept.deliveries.values()
    assert world.committed == world.happened
    assert len(held) == 2 * world.happened or any(state.disabled_at for state in world.kept.states.values())
    for delivery in held:
        assert delivery.status in (DeliveryStatus.DELIVERED, DeliveryStatus.FAILED)
        if delivery.status == DeliveryStatus.FAILED:
            # Given up for a reason only: all tries were made, or the webhook was shut down.
            assert delivery.tries == len(WAITS_SECONDS) + 1 or delivery.error.startswith("shut down")
        else:
            assert world.took[delivery.delivery_id] >= 1
