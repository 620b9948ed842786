"""Tiers and the next poll, as the poller's own rules have them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schemas.tiers import CHANNEL_INTERVAL, JITTER_SHARE, next_due, rule_of
from services.platforms.base import Outcome
from services.query_api.tidemark.resources.due import NEVER, channel_due, interval_name, is_too_old, target_due
from services.query_api.tidemark.resources.states import PeriodState
from tests.support.query_api import NOW
from tests.unit.query_api.tidemark.resources.states import (
    DAY,
    HOUR,
    channel_register,
    channel_state,
    evidence,
    post_register,
    target_state,
)


@pytest.mark.parametrize(
    ("platform", "age", "tier"),
    [
        ("instagram", 0, "30m"), ("instagram", DAY, "6h"), ("instagram", 7 * DAY, "1d"), ("instagram", 90 * DAY, None),
        ("x", DAY, "6h"), ("x", 3 * DAY, None),
    ],
)  # fmt: skip
def test_a_tier_is_by_age_and_platform(platform: str, age: int, tier: str | None) -> None:
    state = target_state(platform=platform, published_at=NOW - age, register=post_register(likes=1))
    assert target_due(state, NOW, 1.0).tier == tier
    assert is_too_old(state, NOW) is (tier is None)


def test_the_next_poll_is_the_pollers() -> None:
    state = target_state(register=post_register(at=NOW - 600_000, likes=1))
    assert state.published_at is not None
    expected = next_due(rule_of("instagram"), state.published_at, NOW - 600_000, "t1", 2.0)
    assert target_due(state, NOW, 2.0).next_at == expected


def test_a_failed_answer_counts_as_asked() -> None:
    asked = target_state(register=post_register(at=NOW - HOUR, likes=1), evidence=(evidence(Outcome.PLATFORM_DOWN),))
    due = target_due(asked, NOW, 1.0).next_at
    assert due is not None
    assert due > NOW


def test_what_was_never_asked_is_due_since_it_went_out_or_was_told_of() -> None:
    assert target_due(target_state(), NOW, 1.0).next_at == NOW - HOUR
    assert target_due(target_state(updated_at=NOW - 5), NOW, 1.0).next_at == NOW - 5


def test_what_is_not_polled_has_no_next_poll() -> None:
    state = target_state()
    stopped = replace(state.channel, status="token_expired")
    for never in (
        state._replace(status="draft"),
        state._replace(external_id=""),
        state._replace(published_at=None),
        state._replace(channel=stopped),
        state._replace(is_newest=False),
        state._replace(evidence=(evidence(Outcome.OK, is_gone=True),)),
    ):
        assert target_due(never, NOW, 1.0) == NEVER
    assert channel_due(channel_state(channel=stopped), 1.0) == NEVER


def test_a_channel_is_polled_six_hours_after_it_was_last_answered() -> None:
    never = channel_state()
    assert channel_due(never, 1.0) == ("6h", never.channel.updated_at)
    period = PeriodState("lifetime", None, None, channel_register(at=NOW, followers=1))
    due = channel_due(channel_state("instagram", period), 1.0)
    assert due.next_at is not None
    assert CHANNEL_INTERVAL * (1 - JITTER_SHARE) <= due.next_at - NOW <= CHANNEL_INTERVAL


def test_intervals_have_names() -> None:
    assert [interval_name(span) for span in (HOUR // 2, HOUR, 36 * HOUR, 2 * DAY)] == ["30m", "1h", "36h", "2d"]
