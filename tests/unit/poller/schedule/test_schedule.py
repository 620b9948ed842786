"""The schedule: new at once, batches with near-due companions, X's newest fifty, restarts, each target once."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from services.poller.schedule.batch import Batch, Fate, Settled
from services.poller.schedule.entry import Entry
from services.poller.schedule.plan import due_of
from services.poller.schedule.schedule import DEBOUNCE, REST, Schedule
from services.runtime.clock import MILLIS_PER_DAY, MILLIS_PER_HOUR
from tests.support import properties
from tests.support.manual_clock import START
from tests.unit.poller.builders import channel, target

KEY = ("w1", "c1")
HOUR = MILLIS_PER_HOUR
CAPTURED, RETRY_NEVER = Settled(Fate.CAPTURED), Settled(Fate.SKIPPED)


def made(platform: str = "youtube", batch_size: int = 50, concurrency: int = 4, speed: float = 1.0) -> Schedule:
    schedule = Schedule({platform: batch_size}, channel_concurrency=concurrency, speed=speed)
    schedule.connect(KEY, channel(platform=platform), active=True, now=START)
    return schedule


def add(schedule: Schedule, name: str, published_at: int = START, now: int = START) -> Entry:
    entry = schedule.add(schedule.plan(KEY), f"post-{name}", target(name), published_at, now)
    assert entry is not None
    return entry


def taken(schedule: Schedule, now: int, platform: str = "youtube") -> list[Batch]:
    batches = []
    while (batch := schedule.take(platform, now)) is not None:
        batches.append(batch)
    return batches


def due_at(schedule: Schedule, entry: Entry) -> int:
    """When an entry that waits is due."""
    plan = schedule.plan(entry.key)
    (found,) = [due_of(item) for heap in plan.heaps for item in heap if plan.entry(item) is entry]
    return found


def settle(schedule: Schedule, batches: list[Batch], now: int, fate: Settled = CAPTURED) -> None:
    for batch in batches:
        schedule.settle(batch, [fate] * len(batch.entries), fate, now)


def test_new_targets_go_together_at_once_with_the_channel() -> None:
    schedule = made()
    for number in range(3):
        add(schedule, f"t{number}")
    assert schedule.take("youtube", START) is None
    (batch,) = taken(schedule, START + DEBOUNCE)
    assert [entry.target_id for entry in batch.entries] == ["t0", "t1", "t2"]
    assert batch.with_channel
    assert schedule.lanes["youtube"].due(START + DEBOUNCE) == (0, 0, 0, 0, 0.0)


def test_a_waiting_loop_is_told_of_sooner_work() -> None:
    schedule, told = made(), []
    settle(schedule, taken(schedule, START + DEBOUNCE), START + DEBOUNCE)
    schedule.lanes["youtube"].on_sooner = lambda: told.append(1)
    add(schedule, "t", now=START + HOUR)
    assert told == [1]
    assert schedule.lanes["youtube"].next_due_at() == START + HOUR + DEBOUNCE


def test_batches_are_bounded_and_so_is_a_channel() -> None:
    schedule = made(batch_size=10, concurrency=2)
    for number in range(35):
        add(schedule, f"t{number}")
    batches = taken(schedule, START + DEBOUNCE)
    assert [len(batch.entries) for batch in batches] == [10, 10]
    settle(schedule, batches, START + DEBOUNCE)
    assert [len(batch.entries) for batch in taken(schedule, START + DEBOUNCE)] == [10, 5]


def test_near_due_targets_ride_along() -> None:
    schedule = made(batch_size=3)
    entries = [add(schedule, f"t{number}") for number in range(4)]
    settle(schedule, taken(schedule, START + DEBOUNCE), START + DEBOUNCE)
    first = min(due_at(schedule, entry) for entry in entries)
    batches = taken(schedule, first)
    assert [len(batch.entries) for batch in batches] == [3]
    assert {entry.target_id for entry in batches[0].entries} < {f"t{number}" for number in range(4)}


def test_a_channel_alone_takes_nobody_along() -> None:
    schedule = made()
    settle(schedule, taken(schedule, START + DEBOUNCE), START + DEBOUNCE)
    plan = schedule.plan(KEY)
    add(schedule, "t", published_at=plan.channel_due_at + 10 - DEBOUNCE, now=START + DEBOUNCE)
    batch = schedule.take("youtube", plan.channel_due_at)
    assert batch is not None
    assert batch.with_channel
    assert not batch.entries


def test_a_dropped_target_is_never_taken() -> None:
    schedule = made()
    schedule.drop(add(schedule, "t"))
    (batch,) = taken(schedule, START + DEBOUNCE)
    assert not batch.entries


def test_dropped_in_flight_stays_dropped() -> None:
    schedule = made()
    entry = add(schedule, "t")
    batches = taken(schedule, START + DEBOUNCE)
    schedule.drop(entry)
    settle(schedule, batches, START + DEBOUNCE)
    assert len(schedule.plan(KEY)) == 0


def test_an_inactive_or_paused_channel_is_left_alone() -> None:
    schedule = made()
    add(schedule, "t")
    schedule.connect(KEY, channel(status="disabled"), active=False, now=START)
    assert not taken(schedule, START + HOUR)
    schedule.connect(KEY, channel(), active=True, now=START + HOUR)
    batches = taken(schedule, START + HOUR + DEBOUNCE)
    assert len(batches) == 1
    schedule.pause(schedule.plan(KEY))
    settle(schedule, batches, START + HOUR, Settled(Fate.RETRY, START + HOUR))
    assert not taken(schedule, START + 2 * HOUR)
    schedule.resume(schedule.plan(KEY), START + 2 * HOUR)
    assert [len(batch.entries) for batch in taken(schedule, START + 2 * HOUR)] == [1]


def said(schedule: Schedule, now: int, fate: Fate, hours: int, every: int = 1) -> int:
    """The same of every target for some hours; returns the instant after them."""
    for hour in range(0, hours, every):
        settle(schedule, taken(schedule, now + hour * HOUR), now + hour * HOUR, Settled(fate))
    return now + hours * HOUR


def test_a_target_rests_that_is_gone_again_and_again_for_a_whole_day() -> None:
    schedule = made()
    entry = add(schedule, "gone")
    now = said(schedule, START + DEBOUNCE, Fate.GONE, 24)
    assert not entry.is_resting
    assert due_at(schedule, entry) < now
    now = said(schedule, now, Fate.GONE, 7)
    assert entry.is_resting
    assert not entry.dropped
    assert now - 7 * HOUR + 0.8 * REST < due_at(schedule, entry) <= now + REST


def test_a_target_that_rests_is_looked_at_weekly_for_90_days_and_comes_back() -> None:
    schedule = made()
    entry = add(schedule, "gone")
    settle(schedule, taken(schedule, START + DEBOUNCE), START + DEBOUNCE, Settled(Fate.NEVER))
    assert entry.is_resting
    looks, now = 0, START
    while now < START + 91 * MILLIS_PER_DAY and not entry.dropped:
        asked = [batch for batch in taken(schedule, now) if batch.entries]
        looks += len(asked)
        settle(schedule, asked, now, Settled(Fate.GONE))
        now += HOUR
    assert 12 <= looks <= 14
    assert entry.dropped
    other = add(schedule, "other", published_at=now, now=now)
    settle(schedule, taken(schedule, now + DEBOUNCE), now + DEBOUNCE, Settled(Fate.NEVER))
    (batch,) = [batch for batch in taken(schedule, now + REST) if batch.entries]
    settle(schedule, [batch], now + REST)
    assert not other.is_resting
    assert due_at(schedule, other) <= now + REST + 24 * HOUR


def test_an_hour_of_lies_retires_nothing() -> None:
    schedule = made()
    entry = add(schedule, "t")
    now = START + DEBOUNCE
    for _ in range(60):
        settle(schedule, taken(schedule, now), now, Settled(Fate.GONE))
        now += HOUR // 60
    assert not entry.is_resting
    assert due_at(schedule, entry) <= now + HOUR // 2


def test_one_answer_forgives_a_gone_target_and_a_silence_does_not() -> None:
    for fate, rests in ((Fate.CAPTURED, False), (Fate.SKIPPED, True)):
        schedule = made()
        entry = add(schedule, "t")
        now = said(schedule, START + DEBOUNCE, Fate.GONE, 20)
        now = said(schedule, now, fate, 1)
        said(schedule, now, Fate.GONE, 10)
        assert entry.is_resting is rests


def test_daily_polls_retire_a_gone_target_after_some_days_and_a_clock_set_back_does_not() -> None:
    schedule = made()
    entry = add(schedule, "t", published_at=START - 8 * MILLIS_PER_DAY)
    now = said(schedule, START + DEBOUNCE, Fate.GONE, 24, every=24)
    assert not entry.is_resting
    for _ in range(2):
        now = said(schedule, now, Fate.GONE, 24, every=24)
    assert entry.is_resting
    fresh = Entry(KEY, "p", target("u"), START)
    assert not fresh.gone(START)
    assert not fresh.gone(START - 3 * HOUR)
    assert not fresh.gone(START + 10 * HOUR)


def test_what_was_put_off_can_be_hastened() -> None:
    schedule = made()
    entries = [add(schedule, f"t{number}") for number in range(3)]
    now = START + DEBOUNCE
    (batch,) = taken(schedule, now)
    fates = [Settled(Fate.RETRY, now + HOUR // 3), CAPTURED, Settled(Fate.RETRY, now + HOUR // 3)]
    schedule.settle(batch, fates, CAPTURED, now)
    assert not taken(schedule, now + 1000)
    schedule.hasten([KEY, ("w1", "unknown")], now + 2000)
    (again,) = taken(schedule, now + 2000)
    assert set(again.entries) == {entries[0], entries[2]}
    settle(schedule, [again], now + 2000)
    schedule.hasten([KEY], now + 3000)
    assert not taken(schedule, now + 3000)


def test_x_polls_the_newest_fifty_of_the_last_72_hours() -> None:
    schedule = made("x", batch_size=100)
    for number in range(60):
        add(schedule, f"t{number:02}", published_at=START - number * HOUR // 2)
    assert schedule.add(schedule.plan(KEY), "p", target("old"), START - 72 * HOUR, START) is None
    batches = taken(schedule, START + DEBOUNCE, "x")
    asked = {entry.target_id for batch in batches for entry in batch.entries}
    assert asked == {f"t{number:02}" for number in range(50)}


def test_x_takes_the_next_when_a_newer_one_is_deleted() -> None:
    schedule = made("x", batch_size=100)
    entries = [add(schedule, f"t{number:02}", published_at=START - number * 1000) for number in range(51)]
    settle(schedule, taken(schedule, START + DEBOUNCE, "x"), START + DEBOUNCE)
    schedule.drop(entries[0])
    later = START + DEBOUNCE + HOUR
    asked = {entry.target_id for batch in taken(schedule, later, "x") for entry in batch.entries}
    assert "t50" in asked
    assert "t00" not in asked


def test_a_restart_goes_by_what_was_last_captured() -> None:
    schedule = made()
    recent, late, old = (
        add(schedule, "recent"),
        add(schedule, "late"),
        add(schedule, "old", published_at=START - 90 * MILLIS_PER_DAY + 1),
    )
    forgotten: list[Entry] = []
    schedule.forget = forgotten.append
    schedule.restore(recent, START - HOUR // 12)
    schedule.restore(late, START - 2 * HOUR)
    schedule.restore(old, START - HOUR)
    schedule.restore_channel(KEY, START - HOUR)
    schedule.rebuild()
    (batch,) = taken(schedule, START)
    assert [entry.target_id for entry in batch.entries] == ["late"]
    assert not batch.with_channel
    assert forgotten == [old]


def test_a_post_may_come_before_its_channel() -> None:
    schedule = Schedule({"youtube": 50})
    add(schedule, "t")
    assert not taken(schedule, START + HOUR)
    schedule.connect(KEY, channel(), active=True, now=START + HOUR)
    assert [len(batch.entries) for batch in taken(schedule, START + HOUR + DEBOUNCE)] == [1]


def test_a_platform_that_is_not_known_is_not_polled() -> None:
    schedule = Schedule({"youtube": 50})
    schedule.connect(KEY, channel(platform="reddit"), active=True, now=START)
    add(schedule, "t")
    assert not taken(schedule, START + HOUR)


def test_speed_divides_intervals() -> None:
    schedule = made(speed=1800.0)
    entry = add(schedule, "t")
    settle(schedule, taken(schedule, START + DEBOUNCE), START + DEBOUNCE)
    assert 900 <= due_at(schedule, entry) - START - DEBOUNCE <= 1000


def test_a_discarded_channel_is_forgotten_and_its_round_ends_in_nothing() -> None:
    schedule = made()
    entries = [add(schedule, name) for name in ("t0", "t1")]
    batches = taken(schedule, START + DEBOUNCE)
    late = add(schedule, "t2", now=START + HOUR)
    schedule.discard([KEY, ("w1", "unknown")])
    assert schedule.plans == {}
    assert all(entry.dropped for entry in [*entries, late])
    settle(schedule, batches, START + DEBOUNCE)
    assert taken(schedule, START + 10 * HOUR) == []
    schedule.connect(KEY, channel(platform="youtube"), active=True, now=START + HOUR)
    add(schedule, "t0", now=START + HOUR)
    (batch,) = taken(schedule, START + HOUR + DEBOUNCE)
    assert [entry.target_id for entry in batch.entries] == ["t0"]


def test_what_was_captured_later_outweighs_what_was_captured_before() -> None:
    schedule = made()
    entry = add(schedule, "t")
    schedule.restore(entry, START - HOUR)
    schedule.rebuild([KEY])
    assert due_at(schedule, entry) < START
    schedule.restore(entry, START - 1000, or_later=True)
    schedule.rebuild([KEY])
    restored = due_at(schedule, entry)
    assert restored > START
    schedule.restore(entry, START - HOUR, or_later=True)
    schedule.rebuild([KEY])
    assert due_at(schedule, entry) == restored
    (batch,) = taken(schedule, START + DEBOUNCE)
    assert (batch.entries, batch.with_channel) == ([], True)


fates = st.sampled_from([CAPTURED, Settled(Fate.SKIPPED), Settled(Fate.RETRY, START + HOUR), Settled(Fate.GONE)])


@settings(max_examples=properties.of(60), deadline=None)
@given(
    st.lists(st.integers(0, 100 * 24), min_size=1, max_size=40),
    st.lists(st.tuples(st.integers(0, 12 * HOUR), fates), max_size=25),
    st.integers(1, 20),
)
def test_every_target_is_held_once_and_never_asked_twice_at_a_time(
    ages: list[int], steps: list[tuple[int, Settled]], batch_size: int
) -> None:
    schedule = made(batch_size=batch_size, concurrency=3)
    plan = schedule.plan(KEY)
    entries = [
        schedule.add(plan, "p", target(f"t{number}"), START - age * HOUR, START) for number, age in enumerate(ages)
    ]
    now = START
    for step, fate in steps:
        now += step
        batches = taken(schedule, now)
        asked = [entry for batch in batches for entry in batch.entries]
        assert len(asked) == len(set(asked))
        assert all(len(batch.entries) <= batch_size for batch in batches)
        assert all(plan.rule.interval(now - entry.published_at) is not None for entry in asked)
        assert plan.in_flight == len(batches) <= 3
        settle(schedule, batches, now, fate)
        assert plan.in_flight == 0
        held = [plan.entry(item) for heap in plan.heaps for item in heap if not plan.entry(item).dropped]
        assert len(held) == len(set(held)) == len(list(plan.live()))
        assert set(held) == {entry for entry in entries if entry is not None and not entry.dropped}
