"""Which answers about an account are one poll's, and how their payloads are shown together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.query_api.reads.polls import LONGEST_GAP, AccountAnswer, polls, raw_of

SECOND = 1000


def answer(name: str, at: int, endpoint: str = "/me", origin: str = "SCHEDULE", **request: str) -> AccountAnswer:
    return AccountAnswer(name, at, origin, endpoint, request)


def names(found: list[list[AccountAnswer]]) -> list[list[str]]:
    return [[one.event_id for one in poll] for poll in found]


def test_different_questions_soon_after_each_other_are_one_poll() -> None:
    asked = [answer("a", 0), answer("b", SECOND, "/insights", metric="reach"), answer("c", 2 * SECOND, "/insights")]
    assert names(polls(asked)) == [["a", "b", "c"]]


def test_the_same_question_begins_another_poll_whatever_dates_it_names() -> None:
    asked = [
        answer("a", 0, "/insights", since="1781395200", until="1781481600"),
        answer("b", SECOND, "/me"),
        answer("c", 3 * SECOND, "/insights", since="1781395203", until="1781481603"),
        answer("d", 4 * SECOND, "/me"),
    ]
    assert names(polls(asked)) == [["a", "b"], ["c", "d"]]


def test_a_pause_ends_a_poll() -> None:
    asked = [answer("a", 0), answer("b", LONGEST_GAP, "/b"), answer("c", 2 * LONGEST_GAP + 1, "/c")]
    assert names(polls(asked)) == [["a", "b"], ["c"]]


def test_what_nothing_more_is_known_of_stands_alone() -> None:
    asked = [answer("a", 0, "", ""), answer("b", 1, "", ""), answer("c", 2, "/me", ""), answer("d", 3, "", "")]
    assert names(polls(asked)) == [["a"], ["b"], ["c"], ["d"]]


def test_a_live_pull_beside_a_scheduled_poll_is_one_of_its_own() -> None:
    asked = [
        answer("a", 0), answer("l", 1, "/me", "LIVE"), answer("b", 2, "/insights"), answer("m", 3, "/insights", "LIVE"),
    ]  # fmt: skip
    assert names(polls(asked)) == [["a", "b"], ["l", "m"]]


@given(st.lists(st.tuples(st.integers(0, 500), st.sampled_from("abc"), st.sampled_from(["SCHEDULE", "LIVE"]))))
def test_each_answer_is_in_one_poll_which_asks_nothing_twice(parts: list[tuple[int, str, str]]) -> None:
    asked = sorted(
        (answer(f"{number:03}", at * SECOND, path, origin) for number, (at, path, origin) in enumerate(parts)),
        key=lambda one: (one.captured_at, one.event_id),
    )
    found = polls(asked)
    assert sorted(one.event_id for poll in found for one in poll) == sorted(one.event_id for one in asked)
    assert [poll[-1].captured_at for poll in found] == sorted(poll[-1].captured_at for poll in found)
    for poll in found:
        assert len({one.question for one in poll}) == len(poll)
        assert len({one.origin for one in poll}) == 1


def test_payloads_are_by_path_and_a_single_one_stands_alone() -> None:
    first, second = answer("a", 2), answer("b", 1, "/insights")
    again = answer("c", 0, "/insights", metric="reach")
    payloads = {"a": {"a": 1}, "b": {"b": 2}, "c": {"c": 3}}
    assert raw_of([first], payloads) == {"a": 1}
    assert raw_of([first, second], payloads) == {"/me": {"a": 1}, "/insights": {"b": 2}}
    assert raw_of([first, second, again], payloads) == {
        "/me": {"a": 1}, "/insights": {"b": 2}, "/insights?metric=reach": {"c": 3},
    }  # fmt: skip
    assert raw_of([second, answer("c", 0, "/insights")], payloads) == {"/insights": {"b": 2}, "/insights#2": {"c": 3}}
    assert raw_of([answer("lost", 9), second], payloads) == {"b": 2}, "a payload that is not held any more"
    assert raw_of([answer("lost", 9)], payloads) == {}
