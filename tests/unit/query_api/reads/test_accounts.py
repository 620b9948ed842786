"""What a reply shows of an account's figures, and of its health without asking."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schemas.metrics import CHANNEL_NAMES, Values
from schemas.windows import ChannelPeriod
from services.query_api.reads.accounts import account_figures, stored_health
from services.query_api.reads.query import AccountFigures
from tests.support.query_api import NOW, channel

DAY = 86_400_000


def figures(**named: int) -> Values:
    assert set(named) <= set(CHANNEL_NAMES)
    return tuple(named.get(name) for name in CHANNEL_NAMES)


def day(ago: int, **named: int) -> ChannelPeriod:
    return ChannelPeriod("day", NOW - (ago + 1) * DAY, NOW - ago * DAY, figures(**named))


def test_levels_are_of_the_lifetime_and_sums_of_the_latest_period_that_has_them() -> None:
    lifetime = ChannelPeriod(
        "lifetime", None, None, figures(followers=5, following=6, posts_count=7, views=99_999, impressions=1)
    )
    shown = account_figures([day(2, reach=20, profile_views=0), day(1, impressions=11), lifetime, day(3, reach=30)])
    assert shown == AccountFigures(5, 6, 7, 11, 20, 0)


def test_views_stand_in_for_impressions_of_the_same_period() -> None:
    assert account_figures([day(1, views=3), day(2, impressions=9)]).impressions == 3
    assert account_figures([day(1, views=3, impressions=4)]).impressions == 4


def test_nothing_known_is_null() -> None:
    assert account_figures([]) == AccountFigures()


@pytest.mark.parametrize(
    ("status", "expires_at", "error_code"),
    [
        ("active", None, None),
        ("active", NOW + 1, None),
        ("active", NOW, "token_expired"),
        ("token_expired", NOW + 1, "token_expired"),
        ("revoked", None, "token_revoked"),
        ("disabled", NOW - 1, "account_disabled"),
    ],
)
def test_health_without_asking(status: str, expires_at: int | None, error_code: str | None) -> None:
    health = stored_health(replace(channel("w1", "c1"), status=status), expires_at, NOW)
    assert (health.error_code, health.is_healthy, health.status) == (error_code, error_code is None, status)
    assert (health.is_live, health.checked_at, health.token_expires_at) == (False, NOW, expires_at)
