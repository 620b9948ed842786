"""Budgets: headers and Retry-After are obeyed to the second, limits kept by pace, the app's apart from a token's."""

from __future__ import annotations

import bisect
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.platforms.base import Limit, LimitState
from services.poller.asking.budget import APP, EMPTY_WAIT, QUOTA_WAIT, Budget, WindowKey
from tests.support import properties

NOW = 1_790_000_000_000
KEY = WindowKey("x", "w1/c1", "tweets")
HOUR = 3_600_000


def greatest(_: float, upper: float) -> float:
    return upper


def test_an_empty_window_waits_for_its_reset() -> None:
    budget = Budget()
    budget.observe(KEY, LimitState(900, 0, NOW + 60_000), NOW)
    assert budget.wait_until(KEY, NOW) == NOW + 60_000
    assert budget.wait_until(KEY._replace(owner="w1/c2"), NOW) == 0
    assert budget.wait_until(KEY._replace(limit_group="users"), NOW) == 0
    assert budget.wait_until(KEY, NOW + 60_000) == 0


def test_calls_in_flight_count_against_the_window() -> None:
    budget = Budget()
    budget.observe(KEY, LimitState(900, 2, NOW + 60_000), NOW)
    budget.begin(KEY, NOW)
    assert budget.wait_until(KEY, NOW) == 0
    budget.begin(KEY, NOW)
    assert budget.wait_until(KEY, NOW) == NOW + 60_000
    budget.end(KEY)
    budget.end(KEY)
    assert budget.wait_until(KEY, NOW) == 0


def test_a_window_without_a_reset_time_is_left_alone_for_a_minute() -> None:
    budget = Budget()
    budget.observe(KEY, LimitState(100, 0, None), NOW)
    assert budget.wait_until(KEY, NOW) == NOW + EMPTY_WAIT
    assert budget.wait_until(KEY, NOW + EMPTY_WAIT) == 0


def test_headers_without_figures_change_nothing() -> None:
    budget = Budget()
    budget.observe(KEY, None, NOW)
    budget.observe(KEY, LimitState(900, None, None), NOW)
    assert budget.wait_until(KEY, NOW) == 0


@given(st.floats(1, 1e6))
def test_retry_after_is_obeyed_to_the_second(seconds: float) -> None:
    budget = Budget()
    until = budget.hold(KEY, seconds, NOW, exhausted=False)
    assert NOW + seconds * 1000 <= until <= NOW + seconds * 1000 + 1
    assert budget.wait_until(KEY, until - 1) == until
    assert budget.wait_until(KEY, until) == 0


def test_a_refusal_without_a_time_backs_off_and_is_forgiven() -> None:
    budget = Budget(greatest)
    first = budget.hold(KEY, None, NOW, exhausted=False)
    second = budget.hold(KEY, None, first, exhausted=False)
    assert second - first > first - NOW
    budget.served(KEY)
    assert budget.hold(KEY, None, second, exhausted=False) - second == first - NOW


@pytest.mark.parametrize("told", [0.0, 0.2, 5.0, 60.0])
def test_a_time_at_which_the_platform_refuses_again_is_not_believed_twice(told: float) -> None:
    budget, now = Budget(greatest), NOW
    for _ in range(3):
        tried = 0
        began = now
        while now - began < 3_600_000:
            now = budget.hold(KEY, told, now, exhausted=False)
            tried += 1
        assert tried <= 20
        # It is forgiven once something was answered.
        budget.served(KEY)
        assert budget.hold(KEY, 5.0, now, exhausted=False) - now == 5_001
        budget.served(KEY)
        now += 5_001


@pytest.mark.parametrize("app_wide", [False, True])
def test_after_a_refusal_one_call_at_a_time_shows_whether_it_is_over(app_wide: bool) -> None:
    budget = Budget(greatest)
    until = budget.hold(KEY, 5.0, NOW, exhausted=False, app_wide=app_wide)
    others = [KEY, KEY._replace(owner="w/other")] if app_wide else [KEY]
    budget.begin(KEY, until)
    assert all(budget.wait_until(other, until) > until for other in others)
    budget.end(KEY)
    again = budget.hold(KEY, 5.0, until, exhausted=False, app_wide=app_wide)
    budget.begin(KEY, again)
    budget.end(KEY)
    budget.served(KEY)
    for other in others:
        budget.begin(other, again)
        assert budget.wait_until(other, again) == 0
    assert KEY._replace(owner="w/other") not in others or budget.wait_until(others[1], again) == 0


def test_calls_under_way_that_meet_a_limit_together_are_one_refusal() -> None:
    budget = Budget(greatest)
    for after in range(8):
        until = budget.hold(KEY, None, NOW + after, exhausted=False)
    alone = Budget(greatest).hold(KEY, None, NOW + 7, exhausted=False)
    assert until == alone


def test_a_refusal_without_a_time_takes_the_windows() -> None:
    budget = Budget()
    budget.observe(KEY, LimitState(900, 5, NOW + 7_000), NOW)
    assert budget.hold(KEY, None, NOW, exhausted=False) == NOW + 7_000


def test_an_exhausted_quota_waits_long() -> None:
    assert Budget().hold(KEY, None, NOW, exhausted=True) == NOW + QUOTA_WAIT


def test_windows_that_are_over_are_forgotten() -> None:
    budget = Budget()
    for number in range(20_001):
        key = KEY._replace(owner=str(number))
        budget.begin(key, NOW + number)
        budget.end(key)
    assert len(budget._windows) < 11_000


LIMITS = {
    "youtube": (Limit("data", 10_000, 24 * 3600),),
    "x": (Limit("tweets", 5000, 900, is_app_wide=False),),
    "tiktok": (Limit("video_query", 600, 60),),
}
DATA = WindowKey("youtube", "w1/c1", "data")


def calls_in(budget: Budget, key: WindowKey, until: int, pause: Callable[[int], int] = lambda _: 0) -> list[int]:
    """When calls begin that are made as soon as the budget lets them."""
    now = NOW
    begun: list[int] = []
    while True:
        now = max(now + pause(len(begun)), budget.wait_until(key, now))
        if now >= until:
            return begun
        budget.begin(key, now)
        budget.end(key)
        begun.append(now)


def most_within(begun: list[int], window: int) -> int:
    """Most calls of any stretch of time as long as a window."""
    return max(bisect.bisect_left(begun, at + window) - position for position, at in enumerate(begun))


def test_a_days_quota_lasts_for_the_day() -> None:
    day = 24 * 3600 * 1000
    begun = calls_in(Budget(limits=LIMITS), DATA, NOW + 2 * day)
    assert most_within(begun, day) <= 10_000
    hours = [sum(NOW + hour * 3_600_000 <= at < NOW + (hour + 1) * 3_600_000 for at in begun) for hour in range(48)]
    assert min(hours) > 0.9 * 10_000 / 24
    assert max(hours[1:]) < 1.1 * 10_000 / 24
    assert hours[0] < 2.5 * 10_000 / 24


@given(
    st.integers(1, 200),
    st.integers(1, 100),
    st.floats(0.01, 1),
    st.lists(st.integers(0, 30_000), max_size=30),
)
@settings(max_examples=properties.of(60), deadline=None)
def test_no_window_holds_more_calls_than_its_limit(calls: int, seconds: int, share: float, pauses: list[int]) -> None:
    budget = Budget(limits={"x": (Limit("tweets", calls, seconds),)})
    budget.set_share(share)

    def pause(count: int) -> int:
        return pauses[count % len(pauses)] if pauses else 0

    begun = calls_in(budget, KEY, NOW + 60_000 + 5 * seconds * 1000, pause)
    assert begun
    assert most_within(begun, seconds * 1000) <= max(1, calls * share)


def test_an_apps_limit_is_shared_and_a_tokens_is_not() -> None:
    budget = Budget(limits=LIMITS)
    for key, other in ((DATA, False), (KEY, True)):
        while not budget.wait_until(key, NOW):
            budget.begin(key, NOW)
        assert (budget.wait_until(key._replace(owner="w2/c9"), NOW) == 0) is other
    assert budget.app_wait_until(DATA, NOW) > NOW
    assert budget.app_wait_until(KEY, NOW) == 0


def test_a_process_keeps_to_its_share() -> None:
    whole, half = Budget(limits=LIMITS), Budget(limits=LIMITS)
    half.begin(DATA, NOW)
    half.set_share(0.5)
    hour = NOW + 6 * 3_600_000
    assert len(calls_in(half, DATA, hour)) == pytest.approx(len(calls_in(whole, DATA, hour)) / 2, rel=0.01)


def test_an_exhausted_quota_of_the_app_stops_all_of_its_calls_and_a_tokens_only_its_own() -> None:
    budget = Budget(limits=LIMITS)
    until = budget.hold(DATA, 3600, NOW, exhausted=True)
    assert budget.wait_until(DATA._replace(owner="w2/c9"), NOW) == until
    assert budget.wait_until(WindowKey("youtube", APP, "data"), NOW) == until
    assert budget.wait_until(DATA._replace(limit_group="analytics"), NOW) == 0
    until = budget.hold(KEY, 900, NOW, exhausted=True)
    assert (budget.wait_until(KEY, NOW), budget.wait_until(KEY._replace(owner="w2/c9"), NOW)) == (until, 0)
    until = budget.hold(KEY, 3600, NOW, exhausted=True, app_wide=True)
    assert budget.wait_until(KEY._replace(owner="w2/c9"), NOW) == until


def test_too_fast_concerns_the_app_where_its_limit_is_one_of_pace() -> None:
    budget = Budget(limits=LIMITS)
    budget.hold(DATA, 60, NOW, exhausted=False)
    assert budget.wait_until(DATA._replace(owner="w2/c9"), NOW) == 0
    videos = WindowKey("tiktok", "w1/c1", "video_query")
    until = budget.hold(videos, 60, NOW, exhausted=False)
    assert budget.wait_until(videos._replace(owner="w2/c9"), NOW) == until


def test_half_of_a_burst_and_of_a_window_is_kept_for_what_is_more_urgent() -> None:
    budget = Budget(greatest, {"youtube": (Limit("data", 10_000, 86_400),)})
    app, token = WindowKey("youtube", APP, "data"), WindowKey("youtube", "w/c", "data")
    assert budget.state(NOW).left == {("youtube", "data"): 500}
    made = 0
    while budget.has_to_spare(token, NOW):
        assert not budget.wait_until(token, NOW)
        budget.begin(token, NOW)
        budget.end(token)
        made += 1
    assert made in (250, 251)
    assert budget.wait_until(token, NOW) == 0
    left = budget.state(NOW).left["youtube", "data"]
    assert made + left == 500
    for _ in range(left):
        assert budget.wait_until(app, NOW) == 0
        budget.begin(app, NOW)
        budget.end(app)
    assert budget.wait_until(app, NOW) > NOW
    assert budget.state(NOW).left["youtube", "data"] == 0
    assert budget.state(NOW).closed["youtube", "data"] > 0


def test_what_headers_say_is_kept_by_half_and_shown() -> None:
    budget, app = Budget(greatest), WindowKey("x", APP, "tweets")
    budget.observe(app, LimitState(100, 51, NOW + 1000), NOW)
    assert budget.has_to_spare(app, NOW)
    budget.observe(app, LimitState(100, 50, NOW + 1000), NOW)
    assert not budget.has_to_spare(app, NOW)
    assert budget.wait_until(app, NOW) == 0
    assert budget.state(NOW).left == {("x", "tweets"): 50}
    own = WindowKey("x", "w/c", "tweets")
    budget.observe(own, LimitState(100, 0, NOW + 1000), NOW)
    assert budget.state(NOW).waiting == {"x": 1}
    assert budget.state(NOW + 1000).waiting == {"x": 0}


def day_state(limit: int, remaining: int, reset_at: int, *, is_app_wide: bool = False) -> LimitState:
    return LimitState(limit, remaining, reset_at, 24 * 3600, is_app_wide)


def test_a_days_limit_is_spread_over_the_day_with_a_burst_at_its_begin() -> None:
    day, budget = 24 * HOUR, Budget(lambda _, upper: upper)
    key, remaining, begun = WindowKey("x", "w/c", "tweets"), 1000, NOW
    made: list[int] = []
    now = begun
    while now < begun + day:
        wait = budget.wait_until(key, now)
        if wait > now:
            now = wait
            continue
        remaining -= 1
        made.append(now)
        budget.begin(key, now)
        budget.end(key)
        budget.observe(key, LimitState(900, 900, now + 900_000), now)
        budget.observe(key, day_state(1000, remaining, begun + day), now)
        now += 1000
    assert len(made) == 1000
    early = sum(at < begun + HOUR for at in made)
    assert 100 <= early <= 150
    by_hour = [sum((at - begun) // HOUR == hour for at in made) for hour in range(24)]
    assert min(by_hour) >= 30
    assert budget.wait_until(key, begun + day) == 0


def test_a_spent_day_waits_for_its_reset_and_an_apps_day_closes_all_tokens() -> None:
    budget, now = Budget(lambda _, upper: upper), NOW
    one, other = WindowKey("x", "w/c1", "tweets"), WindowKey("x", "w/c2", "tweets")
    budget.observe(one, day_state(100, 0, now + 5 * HOUR), now)
    assert budget.wait_until(one, now) == now + 5 * HOUR
    assert budget.wait_until(other, now) == 0
    budget.observe(one, day_state(100, 0, now + 6 * HOUR, is_app_wide=True), now)
    assert budget.wait_until(other, now) == now + 6 * HOUR
