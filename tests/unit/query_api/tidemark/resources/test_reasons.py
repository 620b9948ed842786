"""Every null has one reason, and nothing else has."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.metrics import CHANNEL_NAMES, POST_NAMES, post_engagements, total
from schemas.registers import Register
from services.platforms import all_platforms
from services.platforms.base import Outcome
from services.query_api.tidemark.resources import render
from services.query_api.tidemark.resources.reasons import (
    Reason,
    channel_needs_answers,
    channel_reasons,
    may_be_refused_apart,
    needs_answers,
    post_reasons,
    target_reasons,
)
from services.query_api.tidemark.resources.render import channel_values, post_metrics, total_metrics
from services.query_api.tidemark.resources.states import PeriodState
from tests.support.query_api import NOW
from tests.unit.query_api.tidemark.resources.states import (
    DAY,
    channel_register,
    channel_state,
    evidence,
    post_register,
    post_state,
    target_state,
)


def test_what_the_platform_never_reports_is_not_supported() -> None:
    reasons = target_reasons(target_state(), NOW)
    assert reasons["dislikes"] is Reason.NOT_SUPPORTED
    assert reasons["likes"] is Reason.PENDING


def test_what_an_answer_left_out_is_not_supported() -> None:
    state = target_state(register=post_register("likes", "comments", views=3))
    reasons = target_reasons(state, NOW)
    assert (reasons["likes"], reasons["saves"]) == (Reason.NOT_SUPPORTED, Reason.PENDING)
    assert "views" not in reasons


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (Outcome.OK, Reason.PENDING),
        (Outcome.TOO_EARLY, Reason.PENDING),
        (Outcome.PERMISSION_MISSING, Reason.PERMISSION),
        (Outcome.METRIC_FORBIDDEN, Reason.PERMISSION),
        (Outcome.METRIC_NOT_OFFERED, Reason.NOT_SUPPORTED),
        (Outcome.TARGET_REFUSED, Reason.ERROR),
        (Outcome.TOKEN_EXPIRED, Reason.PERMISSION),
        (Outcome.TOKEN_REVOKED, Reason.PERMISSION),
        (Outcome.ACCOUNT_DISABLED, Reason.PERMISSION),
        (Outcome.TARGET_GONE, Reason.RETIRED),
        (Outcome.NO_DATA_EVER, Reason.RETIRED),
        (Outcome.PLATFORM_DOWN, Reason.ERROR),
        (Outcome.RETRY_LATER, Reason.ERROR),
        (Outcome.QUOTA_EXHAUSTED, Reason.ERROR),
        (Outcome.REQUEST_WRONG, Reason.ERROR),
    ],
)
def test_the_last_answer_explains(outcome: Outcome, reason: Reason) -> None:
    assert target_reasons(target_state(evidence=(evidence(outcome),)), NOW)["likes"] is reason


def test_of_several_failed_answers_the_newest_explains() -> None:
    answers = (
        evidence(Outcome.PLATFORM_DOWN, at=NOW - 2),
        evidence(Outcome.PERMISSION_MISSING, at=NOW - 1),
        evidence(Outcome.OK, at=NOW),
    )
    assert target_reasons(target_state(evidence=answers), NOW)["likes"] is Reason.PERMISSION


def test_what_is_not_asked_any_more_is_retired() -> None:
    for state in (
        target_state(published_at=NOW - 90 * DAY),
        target_state(platform="x", is_newest=False),
        target_state(evidence=(evidence(Outcome.OK, is_gone=True),)),
    ):
        assert target_reasons(state, NOW)["likes"] is Reason.RETIRED
    assert target_reasons(target_state(status="draft", published_at=NOW - 99 * DAY), NOW)["likes"] is Reason.PENDING


def test_a_broken_connection_is_a_missing_permission() -> None:
    state = target_state()
    broken = state._replace(channel=replace(state.channel, status="token_expired"))
    assert target_reasons(broken, NOW)["likes"] is Reason.PERMISSION


def test_answers_are_asked_for_only_where_they_can_tell() -> None:
    assert needs_answers(target_state(), NOW)
    assert not needs_answers(target_state(status="draft"), NOW)
    assert not needs_answers(target_state(published_at=NOW - 90 * DAY), NOW)
    known = set(POST_NAMES) - set(all_platforms()["instagram"].facts.not_reported)
    assert not needs_answers(target_state(register=post_register(*known)), NOW)


def test_what_a_good_answer_may_have_refused_is_looked_for() -> None:
    public = ("likes", "comments", "shares", "quotes", "saves", "impressions")
    assert may_be_refused_apart(target_state(platform="x", register=post_register(*public)))
    assert not may_be_refused_apart(target_state(platform="x", register=post_register("clicks", "profile_clicks")))
    assert not may_be_refused_apart(target_state(platform="instagram", register=post_register("likes")))


def test_a_sum_is_as_hopeful_as_its_most_hopeful_part() -> None:
    gone = target_state("t2", evidence=(evidence(Outcome.TARGET_GONE),))
    failed = target_state("t3", evidence=(evidence(Outcome.PLATFORM_DOWN),))
    for targets, reason in [((gone,), Reason.RETIRED), ((gone, failed), Reason.ERROR), ((), Reason.PENDING)]:
        values = total([one.register.values for one in targets])
        reasons = post_reasons(values, None, [target_reasons(one, NOW) for one in targets])
        assert reasons["likes"] is reason


def test_means_of_several_targets_have_no_total() -> None:
    targets = [target_state(name, register=post_register(avg_watch_time_seconds=5)) for name in ("t1", "t2")]
    values = total([one.register.values for one in targets])
    reasons = post_reasons(values, None, [target_reasons(one, NOW) for one in targets])
    assert reasons["avg_watch_time_seconds"] is Reason.NOT_SUPPORTED


FIGURES = st.one_of(st.none(), st.integers(-3, 3))
REGISTERS = st.tuples(*(FIGURES for _ in POST_NAMES)).map(lambda held: Register((), held, NOW))


@given(st.lists(st.tuples(st.sampled_from(["x", "instagram", "unknown"]), REGISTERS), max_size=3))
def test_nulls_and_reasons_are_the_same_columns(parts: list[tuple[str, Register]]) -> None:
    targets = [target_state(f"t{n}", platform, register=held) for n, (platform, held) in enumerate(parts)]
    of_targets = [target_reasons(target, NOW) for target in targets]
    for target, reasons in zip(targets, of_targets, strict=True):
        shown = post_metrics(target.register.values)
        assert {name for name, value in shown.items() if value is None} == set(reasons)
    values = total([target.register.values for target in targets])
    shown = total_metrics([target.register.values for target in targets])
    reasons = post_reasons(values, shown["engagement_rate"], of_targets)
    assert {name for name, value in shown.items() if value is None} == set(reasons)
    assert ("engagements" in reasons) == (post_engagements(values) is None)


def test_a_channels_nulls_have_reasons() -> None:
    lifetime = PeriodState("lifetime", None, None, channel_register("following", followers=4))
    state = channel_state("instagram", lifetime, evidence=(evidence(Outcome.PERMISSION_MISSING),))
    reasons = channel_reasons(state, channel_values(state.periods))
    assert set(reasons) == set(CHANNEL_NAMES) - {"followers"}
    assert reasons["following"] is Reason.NOT_SUPPORTED
    assert reasons["watch_time_seconds"] is Reason.NOT_SUPPORTED
    assert reasons["reach"] is Reason.PERMISSION
    assert channel_needs_answers(state)
    assert channel_reasons(channel_state(), (None,) * len(CHANNEL_NAMES))["reach"] is Reason.PENDING


def test_written_reasons_are_the_reasons() -> None:
    targets = target_state(register=post_register(likes=3)), target_state("t2", "x", is_newest=False)
    for state in (post_state(), post_state(targets[0]), post_state(*targets)):
        written = orjson.dumps(render.post(state, NOW, None, is_written=True))
        assert written == orjson.dumps(render.post(state, NOW, None))
