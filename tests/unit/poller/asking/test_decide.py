"""Decisions: every target has a fate or is asked for again, and one that is refused costs the others nothing."""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import replace

import pytest

from services.platforms.base import Outcome, Verdict
from services.poller.asking.decide import (
    BackOff,
    Decision,
    Halved,
    Hold,
    LeaveOut,
    Pause,
    Separate,
    Suspect,
    TooMany,
    decide,
    decide_unanswered,
)
from services.poller.asking.questions import ChannelQuestion, SharedQuestion, Subject
from services.poller.asking.smaller import metrics_of
from services.poller.errors import AnswerTooLarge, NoAnswer, NotSent, TimedOut
from services.poller.schedule.batch import Fate
from tests.unit.poller.asking.test_questions import of_channel, shared

NOW = 1_700_000_000_000
FAILURES = [outcome for outcome in Outcome if outcome is not Outcome.OK]


def check_complete(
    question: ChannelQuestion | SharedQuestion, decision: Decision[ChannelQuestion] | Decision[SharedQuestion]
) -> None:
    """Each subject is settled, or asked for again; none is both."""
    again = {subject for other in decision.again for subject in other.subjects}
    assert again | set(decision.fates) == set(question.subjects)
    assert not again & set(decision.fates)


@pytest.mark.parametrize("outcome", Outcome)
def test_every_target_is_settled_or_asked_again(outcome: Outcome) -> None:
    metrics, targets = (None, "", "statistics", "of_nobody"), (None, "e-a", "e-of-nobody")
    for names, metric, refused in itertools.product(("a", "ab", "abcde"), metrics, targets):
        verdict = Verdict(outcome, refused_metric=metric, refused_target=refused)
        own, together = of_channel(*names), shared(w1=names, w2="a")
        check_complete(own, decide(own, verdict, (), NOW))
        check_complete(together, decide(together, verdict, (), NOW))


@pytest.mark.parametrize("why", [AnswerTooLarge(), NotSent(), TimedOut()])
def test_every_target_is_settled_or_asked_again_without_an_answer(why: NoAnswer) -> None:
    for names in ("a", "ab", "abcde"):
        check_complete(of_channel(*names), decide_unanswered(of_channel(*names), why, NOW))
        check_complete(shared(w1=names, w2="a"), decide_unanswered(shared(w1=names, w2="a"), why, NOW))


def test_figures_are_captured_but_for_what_is_gone() -> None:
    question = of_channel("a", "b")
    decision = decide(question, Verdict(Outcome.OK), {question.subjects[1]}, NOW)
    assert list(decision.fates.values()) == [Fate.CAPTURED, Fate.GONE]
    assert (decision.again, decision.consequence) == ((), None)


@pytest.mark.parametrize("outcome", FAILURES)
def test_what_a_lone_target_is_refused_for_never_comes_up_again_at_once(outcome: Outcome) -> None:
    decision = decide(of_channel("a"), Verdict(outcome), (), NOW)
    assert not decision.again


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Outcome.PLATFORM_DOWN, (Fate.RETRY, BackOff(7.0))),
        (Outcome.RETRY_LATER, (Fate.RETRY, Hold(7.0, False, False))),
        (Outcome.QUOTA_EXHAUSTED, (Fate.RETRY, Hold(7.0, True, False))),
        (Outcome.TOKEN_EXPIRED, (Fate.RETRY, Pause(Outcome.TOKEN_EXPIRED))),
        (Outcome.TOKEN_REVOKED, (Fate.RETRY, Pause(Outcome.TOKEN_REVOKED))),
        (Outcome.ACCOUNT_DISABLED, (Fate.RETRY, Pause(Outcome.ACCOUNT_DISABLED))),
        (Outcome.PERMISSION_MISSING, (Fate.SKIPPED, None)),
        (Outcome.TOO_EARLY, (Fate.SKIPPED, None)),
        (Outcome.TARGET_REFUSED, (Fate.SKIPPED, None)),
        (Outcome.TARGET_GONE, (Fate.GONE, None)),
        (Outcome.NO_DATA_EVER, (Fate.NEVER, None)),
    ],
)
def test_what_follows_from_an_answer_about_one_target(
    outcome: Outcome, expected: tuple[Fate, BackOff | Hold | Pause | None]
) -> None:
    decision = decide(of_channel("a"), Verdict(outcome, 7.0), (), NOW)
    assert (*decision.fates.values(), decision.consequence) == expected


def test_limits_and_refusals_of_the_apps_token_are_the_apps() -> None:
    question = shared(w1="a", w2="a")
    limited = decide(question, Verdict(Outcome.RETRY_LATER, 7.0), (), NOW)
    assert set(limited.fates.values()) == {Fate.DEFERRED}
    assert limited.consequence == Hold(7.0, False, True)
    for outcome in (Outcome.TOKEN_EXPIRED, Outcome.TOKEN_REVOKED, Outcome.ACCOUNT_DISABLED, Outcome.PERMISSION_MISSING):
        assert decide(question, Verdict(outcome), (), NOW).consequence == Pause(outcome)


def with_metrics(listed: str, *names: str) -> ChannelQuestion:
    question = of_channel(*(names or "a"))
    return question.instead(replace(question.call, query=(*question.call.query, ("metric", listed))))


def left_out(question: ChannelQuestion, metrics: list[str], outcome: Outcome) -> LeaveOut:
    return LeaveOut(question.subjects[0], question.call.targets[0], metrics, outcome)


@pytest.mark.parametrize(
    "named",
    [
        Verdict(Outcome.METRIC_FORBIDDEN, refused_metric="n"),
        Verdict(Outcome.METRIC_FORBIDDEN, refused_position=1),
        Verdict(Outcome.METRIC_FORBIDDEN, refused_metric="a valid one", refused_position=1),
    ],
)
def test_a_metric_known_by_name_or_by_place_is_left_out_of_the_same_call(named: Verdict) -> None:
    question = with_metrics("m,n,o")
    decision = decide(question, named, (), NOW)
    (again,) = decision.again
    assert dict(again.call.query)["metric"] == "m,o"
    assert decision.lessons == [left_out(question, ["n"], Outcome.METRIC_FORBIDDEN)]


def test_a_metric_that_is_not_named_is_found_in_halves() -> None:
    refused = Verdict(Outcome.REQUEST_WRONG, refused_metric="")
    halved = decide(with_metrics("m,n,o"), refused, (), NOW)
    assert [dict(other.call.query)["metric"] for other in halved.again] == ["m", "n,o"]
    (subject,), (target,) = with_metrics("m,n,o").subjects, with_metrics("m,n,o").call.targets
    assert halved.lessons == [Halved(subject, target)]
    question = with_metrics("n")
    alone = decide(question, refused, (), NOW)
    assert set(alone.fates.values()) == {Fate.SKIPPED}
    assert alone.lessons == [left_out(question, ["n"], Outcome.REQUEST_WRONG)]


def test_what_others_of_the_kind_were_refused_is_left_out_before_halving() -> None:
    refused = Verdict(Outcome.METRIC_NOT_OFFERED)
    (again,) = decide(with_metrics("m,n,o"), refused, (), NOW, doubted=["o", "x"]).again
    assert dict(again.call.query)["metric"] == "m,n"


def test_a_search_under_way_is_waited_for() -> None:
    refused = Verdict(Outcome.REQUEST_WRONG, refused_metric="")
    question = with_metrics("m,n,o")
    waits = decide(question, refused, (), NOW, is_searched=True)
    assert waits == Decision({question.subjects[0]: Fate.RETRY})
    # What is known already is not waited for, and what is named need not be searched for.
    assert decide(question, refused, (), NOW, is_searched=True, doubted=["n"]).again
    named = Verdict(Outcome.REQUEST_WRONG, refused_metric="n")
    assert decide(question, named, (), NOW, is_searched=True).again


def test_of_several_targets_it_is_found_who_lacks_the_metric() -> None:
    for verdict in (Verdict(Outcome.REQUEST_WRONG, refused_metric="n"), Verdict(Outcome.METRIC_NOT_OFFERED)):
        decision = decide(with_metrics("m,n,o", "a", "b"), verdict, (), NOW)
        assert [[one.target_id for one in other.subjects] for other in decision.again] == [["a"], ["b"]]
        assert list(decision.lessons) == [Suspect(name) for name in verdict.refused_metric or "mno"]


@pytest.mark.parametrize("position", [None, 7])
def test_a_name_that_was_not_asked_for_is_looked_for_among_those_that_were(position: int | None) -> None:
    verdict = Verdict(Outcome.REQUEST_WRONG, refused_metric="other", refused_position=position)
    decision = decide(with_metrics("m,n"), verdict, (), NOW)
    assert [metrics_of(half.call) for half in decision.again] == [["m"], ["n"]]
    alone = decide(with_metrics("m"), verdict, (), NOW)
    assert set(alone.fates.values()) == {Fate.SKIPPED}


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome.PERMISSION_MISSING, Outcome.METRIC_FORBIDDEN, Outcome.METRIC_NOT_OFFERED, Outcome.REQUEST_WRONG,
        Outcome.TARGET_REFUSED, Outcome.TARGET_GONE, Outcome.NO_DATA_EVER, Outcome.TOO_EARLY, Outcome.TOO_MUCH,
    ],
)  # fmt: skip
def test_what_a_batch_is_refused_for_silences_nobody_before_it_is_known_of_whom(outcome: Outcome) -> None:
    for was_answered in (True, False):
        decision = decide(of_channel(*"abcdefg"), Verdict(outcome), (), NOW, was_answered=was_answered)
        assert not decision.fates
        assert sum(len(other.subjects) for other in decision.again) == 7


def test_where_nothing_was_answered_yet_one_is_asked_alone_first() -> None:
    decision = decide(of_channel(*"abcdefg"), Verdict(Outcome.REQUEST_WRONG), (), NOW, was_answered=False)
    assert ["".join(one.target_id for one in other.subjects) for other in decision.again] == ["g", "abc", "def"]


def test_an_answer_that_leaves_out_all_of_several_says_nothing() -> None:
    several, lone = of_channel("a", "b"), of_channel("a")
    assert set(decide(several, Verdict(Outcome.OK), several.subjects, NOW).fates.values()) == {Fate.SKIPPED}
    assert set(decide(lone, Verdict(Outcome.OK), lone.subjects, NOW).fates.values()) == {Fate.GONE}


def test_too_much_is_asked_in_halves_and_the_number_is_known() -> None:
    for decision in (
        decide(of_channel(*"abcd"), Verdict(Outcome.TOO_MUCH), (), NOW, was_answered=False),
        decide_unanswered(of_channel(*"abcd"), AnswerTooLarge(), NOW),
    ):
        assert [len(other.subjects) for other in decision.again] == [2, 2]
        assert decision.lessons == [TooMany(4)]
    metrics = decide(with_metrics("m,n"), Verdict(Outcome.TOO_MUCH), (), NOW)
    assert [dict(other.call.query)["metric"] for other in metrics.again] == ["m", "n"]
    slow = decide_unanswered(of_channel(*"abcd"), TimedOut(), NOW)
    assert (slow.consequence, slow.lessons) == (BackOff(), [TooMany(4, is_slow=True)])
    assert decide_unanswered(of_channel("a"), TimedOut(), NOW).lessons == []


@pytest.mark.parametrize("outcome", [Outcome.TARGET_GONE, Outcome.NO_DATA_EVER])
def test_targets_that_spoil_a_batch_are_found_and_the_others_are_captured(outcome: Outcome) -> None:
    culprits = {"c", "k"}
    fates: dict[Subject, Fate] = {}
    pending, asked = deque([of_channel(*"abcdefghijklmnop")]), 0
    while pending:
        question = pending.popleft()
        asked += 1
        spoilt = culprits & {subject.target_id for subject in question.subjects}
        decision = decide(question, Verdict(outcome if spoilt else Outcome.OK), (), NOW)
        fates.update(decision.fates)
        pending.extend(decision.again)
    of_culprits = {fate for subject, fate in fates.items() if subject.target_id in culprits}
    assert of_culprits == {Fate.GONE if outcome is Outcome.TARGET_GONE else Fate.NEVER}
    assert sum(fate is Fate.CAPTURED for fate in fates.values()) == 14
    assert asked <= 2 * len(culprits) * 4 + 1


def test_a_channel_that_spoils_a_shared_batch_is_found_and_asked_alone() -> None:
    pending, separated = deque([shared(w1="a", w2="ab", w3="a", w4="a")]), []
    captured: list[str] = []
    while pending:
        question = pending.popleft()
        workspaces = [plan.key[0] for plan in question.plans]
        outcome = Outcome.REQUEST_WRONG if "w2" in workspaces else Outcome.OK
        decision = decide(question, Verdict(outcome), (), NOW)
        if isinstance(decision.consequence, Separate):
            separated += workspaces
        captured += [subject.channel[0] for subject, fate in decision.fates.items() if fate is Fate.CAPTURED]
        pending.extend(decision.again)
    assert separated == ["w2"]
    assert sorted(captured) == ["w1", "w3", "w4"]
