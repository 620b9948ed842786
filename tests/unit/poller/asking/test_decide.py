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
    Hold,
    LeaveOut,
    Pause,
    Separate,
    decide,
    decide_unanswered,
)
from services.poller.asking.questions import ChannelQuestion, SharedQuestion, Subject
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


def with_metrics(listed: str) -> ChannelQuestion:
    question = of_channel("a", "b")
    return question.instead(replace(question.call, query=(*question.call.query, ("metric", listed))))


def test_a_named_metric_is_left_out_of_the_same_call() -> None:
    decision = decide(with_metrics("m,n,o"), Verdict(Outcome.METRIC_FORBIDDEN, refused_metric="n"), (), NOW)
    (again,) = decision.again
    assert dict(again.call.query)["metric"] == "m,o"
    assert decision.consequence == LeaveOut(["n"], again.call)


def test_a_metric_that_is_not_named_is_found_in_halves() -> None:
    refused = Verdict(Outcome.REQUEST_WRONG, refused_metric="")
    halved = decide(with_metrics("m,n,o"), refused, (), NOW)
    assert [dict(other.call.query)["metric"] for other in halved.again] == ["m", "n,o"]
    alone = decide(with_metrics("n"), refused, (), NOW)
    assert set(alone.fates.values()) == {Fate.SKIPPED}
    assert alone.consequence == LeaveOut(["n"], None)


def test_a_refusal_of_a_metric_that_was_not_asked_for_is_one_of_the_call() -> None:
    decision = decide(with_metrics("m"), Verdict(Outcome.REQUEST_WRONG, refused_metric="other"), (), NOW)
    assert set(decision.fates.values()) == {Fate.SKIPPED}
    assert decision.consequence is None


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
