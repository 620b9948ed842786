"""The dead-letter limit: a share of all events, over a window, with no workspace above its part."""

from __future__ import annotations

from collections import Counter

from hypothesis import example, given
from hypothesis import strategies as st

from services.aggregator.limits import STRANGERS, Breach, DeadLetterLimit

WINDOW = 300_000
BAD = "body_not_json"


def limit(ratio: float = 0.5, minimum: int = 10, share: float = 0.2) -> DeadLetterLimit:
    return DeadLetterLimit(ratio, WINDOW, minimum, share)


def dead(*counts: int) -> list[tuple[str, str]]:
    """So many dead letters of each of several workspaces."""
    return [(f"w{number}", BAD) for number, count in enumerate(counts) for _ in range(count)]


def test_good_events_never_stop_it() -> None:
    assert limit().note(0, 1_000_000, ()) is None


def test_most_events_bad_in_several_workspaces_stop_it() -> None:
    breach = limit().note(0, 100, dead(20, 20, 20))
    assert breach == Breach(events=100, dead=60, counted=60, workspaces=3, reasons=(BAD,))


def test_exactly_the_limit_is_allowed() -> None:
    assert limit().note(0, 100, dead(20, 20, 10)) is None


def test_one_workspace_alone_never_stops_the_others() -> None:
    assert limit().note(0, 1000, dead(990)) is None
    assert limit().note(0, 1000, dead(500, 490)) is None


def test_a_single_tenant_can_ask_for_the_plain_share() -> None:
    assert limit(share=1.0).note(0, 100, dead(51)) is not None


def test_few_events_say_nothing() -> None:
    assert limit(minimum=100).note(0, 99, dead(33, 33, 33)) is None


def test_one_is_no_limit() -> None:
    assert limit(ratio=1.0, share=1.0).note(0, 100, dead(40, 60)) is None


def test_it_adds_up_over_the_window_and_forgets_what_is_older() -> None:
    held = limit(minimum=100)
    assert held.note(0, 60, dead(20, 20, 20)) is None
    assert held.note(WINDOW, 60, dead(20, 20, 20)) is None, "the first ones are out of the window"
    assert held.note(WINDOW + 1000, 60, dead(20, 20, 20)) is not None


def test_good_events_make_up_for_bad_ones() -> None:
    held = limit()
    held.note(0, 1000, ())
    assert held.note(1, 300, dead(100, 100, 100)) is None


def test_the_most_frequent_reasons_are_named() -> None:
    held = limit(minimum=1, share=1.0)
    reasons = ["a"] * 4 + ["b"] * 3 + ["c"] * 2 + ["d"]
    breach = held.note(0, 10, [("w", reason) for reason in reasons])
    assert breach is not None
    assert breach.reasons == ("a", "b", "c")


notes = st.lists(
    st.tuples(
        st.integers(0, WINDOW // 2),
        st.integers(0, 50),
        st.lists(st.tuples(st.sampled_from("uvwxyz"), st.sampled_from(("a", "b"))), max_size=30),
    ),
    max_size=40,
)


@given(notes, st.sampled_from((0.1, 0.5, 0.9)), st.sampled_from((0.1, 0.2, 1.0)))
# 2.3 of u and of v count, and so 11.6 of 23 in all, told as 11.
@example([(0, 9, [(name, "a") for name in "uuuuvvvwwxxyyz"])], 0.5, 0.1)
def test_it_stops_by_what_its_window_holds(
    steps: list[tuple[int, int, list[tuple[str, str]]]], ratio: float, share: float
) -> None:
    """Against the definition: over what may still be in the window, and what must be."""
    held = limit(ratio, 20, share)
    now, past = 0, list[tuple[int, int, list[tuple[str, str]]]]()
    for passed, good, letters in steps:
        now += passed
        past.append((now, good + len(letters), letters))
        breach = held.note(now, good + len(letters), letters)
        if breach is None:
            continue
        assert breach.events >= 20
        assert breach.dead <= breach.events
        # A share of the events may be no whole number; what is told is rounded down.
        assert breach.counted + (share < 1) > ratio * breach.events
        # Forgetting goes by slices: what is within the window is always counted, what is older by a slice never is.
        surely = sum(events for at, events, _ in past if at > now - WINDOW + WINDOW // 30)
        possibly = sum(events for at, events, _ in past if at > now - WINDOW - WINDOW // 30)
        assert surely <= breach.events <= possibly


@given(notes, st.sampled_from((0.3, 0.5)))
def test_a_workspace_alone_never_stops_it(steps: list[tuple[int, int, list[tuple[str, str]]]], ratio: float) -> None:
    held = limit(ratio, 1, 0.2)
    now = 0
    for passed, good, letters in steps:
        now += passed
        assert held.note(now, good + len(letters), [("one", reason) for _, reason in letters]) is None


@given(notes)
def test_its_sums_are_those_of_its_slices(steps: list[tuple[int, int, list[tuple[str, str]]]]) -> None:
    held = limit()
    now = 0
    for passed, good, letters in steps:
        now += passed
        held.note(now, good + len(letters), letters)
    total = Counter[tuple[str, str]]()
    for piece in held._slices:
        total.update(piece.dead)
    assert held._dead == total
    assert held._events == sum(piece.events for piece in held._slices)


def test_ghosts_count_as_one_workspace_however_many_they_are() -> None:
    held = limit()
    assert held.note(0, 1000, [(STRANGERS, BAD)] * 990) is None
    assert held.note(1, 1000, [(STRANGERS, BAD)] * 700 + dead(150, 150)) is None


def test_a_batch_is_judged_alone_and_not_counted() -> None:
    held = limit(minimum=1000)
    assert held.judge(10, dead(3, 3, 3)) is not None
    assert held.judge(10, dead(2, 2)) is None
    assert held.note(0, 999, ()) is None
    held.forget()
    assert held.note(1, 10, dead(3, 3, 3)) is None, "few events say nothing"
