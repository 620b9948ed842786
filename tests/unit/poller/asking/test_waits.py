"""Waits that platforms tell: what each says in its own headers, what is obeyed of it, and what is said in the log.

Instants in headers are of 2026-11-21T01:00:00Z, when the golden answers were received.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.platforms import all_platforms
from services.platforms.abilities import LimitsByWindow, Refreshable, RefreshFailure, TokenGrant, has
from services.platforms.base import LimitState, Outcome, Verdict
from services.poller.asking.budget import Budget, WindowKey
from services.poller.asking.cut_waits import CLOCKS_SECONDS, LOG_AGAIN, CutWaits
from services.poller.asking.waits import LONGEST_OF_ALL_SECONDS, LONGEST_SECONDS, obeyed, obeyed_failure, obeyed_state
from tests.support.platform_transport import json_answer
from tests.unit.platforms import golden
from tests.unit.poller.test_loop import World, failing, videos, world

NOW = golden.RECEIVED_AT
SECOND, DAY = 1000, 86_400.0
NOW_SECONDS = NOW // SECOND
PLATFORMS = all_platforms()
DATE = "Sat, 21 Nov 2026 01:00:00 GMT"
__all__ = ["world"]  # the fixture of `test_loop.py`


class Told(NamedTuple):
    """An answer's headers, what they say (seconds from now; None: nothing), and what is obeyed of it."""

    platform: str
    headers: dict[str, str]
    says: float | None
    obeyed: float | None
    case: str = "rate_limited"


def x(**headers: Any) -> dict[str, str]:
    return {name.replace("_", "-"): str(value) for name, value in headers.items()}


def usage(minutes: Any) -> dict[str, str]:
    """Meta's estimate, in minutes."""
    told = {"1": [{"type": "instagram", "call_count": 100, "estimated_time_to_regain_access": minutes}]}
    return {"x-business-use-case-usage": orjson.dumps(told).decode()}


OWN_WORDS = [
    # X: an epoch second of a window of 15 minutes.
    Told("x", x(x_rate_limit_reset=NOW_SECONDS + 600), 600, 600),
    Told("x", x(x_rate_limit_reset=NOW_SECONDS + 86_400), DAY, 900),
    Told("x", x(x_rate_limit_reset=NOW_SECONDS - 86_400), 0, 0),
    Told("x", x(x_rate_limit_reset=NOW + 600_000), 600, 600),
    Told("x", x(x_rate_limit_reset=99_999_999_999), 99_999_999_999 - NOW_SECONDS, 900),
    Told("x", x(x_rate_limit_reset=-1), None, None),
    Told("x", x(x_rate_limit_reset="nan"), None, None),
    # X: limits of 24 hours, which other headers tell.
    Told("x", x(x_app_limit_24hour_remaining=0, x_app_limit_24hour_reset=NOW_SECONDS + 7200), 7200, 7200),
    Told("x", x(x_user_limit_24hour_remaining=0, x_user_limit_24hour_reset=NOW_SECONDS + 9 * 86_400), 9 * DAY, DAY),
    # X: the billing period, in its own words.
    Told("x", x(retry_after=20 * 86_400), 20 * DAY, 20 * DAY, "quota_exhausted"),
    Told("x", x(retry_after=400 * 86_400), 400 * DAY, 32 * DAY, "quota_exhausted"),
    Told("x", x(retry_after=20 * 86_400), 20 * DAY, 20 * DAY, "foreign_credits_depleted"),
    # Reddit: seconds from now, of ten minutes.
    Told("reddit", x(x_ratelimit_reset="300"), 300, 300),
    Told("reddit", x(x_ratelimit_reset="431.5"), 431.5, 431.5),
    Told("reddit", x(x_ratelimit_reset=NOW_SECONDS), NOW_SECONDS, 600),
    # Bluesky: an epoch second, of the window that the policy names.
    Told("bluesky", x(ratelimit_reset=NOW_SECONDS + 200, ratelimit_policy="3000;w=300"), 200, 200),
    Told("bluesky", x(ratelimit_reset=NOW_SECONDS + 9000, ratelimit_policy="3000;w=300"), 9000, 300),
    Told("bluesky", x(ratelimit_reset=NOW_SECONDS + 9000, ratelimit_policy="30;w=300, 300;w=86400"), 9000, 9000),
    Told("bluesky", x(ratelimit_reset=NOW_SECONDS + 10**9, ratelimit_policy="1;w=999999999"), 10**9, DAY),
    Told("bluesky", x(ratelimit_reset=NOW_SECONDS + 10**9), 10**9, DAY),
    Told("bluesky", x(ratelimit_reset=NOW + 200_000, ratelimit_policy="3000;w=300"), 200, 200),
    # Pinterest: seconds from now, of the window that the limit names.
    Told("pinterest", x(x_ratelimit_reset=41, x_ratelimit_limit="100, 100;w=60"), 41, 41),
    Told("pinterest", x(x_ratelimit_reset=4100, x_ratelimit_limit="100, 100;w=60"), 4100, 60),
    Told("pinterest", x(x_ratelimit_reset=40_000, x_ratelimit_limit="1000, 1000;w=86400"), 40_000, 40_000),
    Told("pinterest", x(x_ratelimit_reset=10**9, x_ratelimit_limit="1000, 1000;w=86400"), 10**9, DAY),
    # Meta: an estimate in minutes, of an account's window of 24 hours.
    *(
        Told(name, usage(minutes), says, kept)
        for name in ("instagram", "facebook")
        for minutes, says, kept in [
            (19, 1140, 1140), (999_999, 59_999_940, DAY), (0, None, None), (-5, None, None), (True, None, None),
            ("19", None, None),
        ]
    ),
]  # fmt: skip

RETRY_AFTER: list[tuple[str, float | None, float | None]] = [
    ("0", 0, 0),
    ("7", 7, 7),
    ("7.5", 7.5, 7.5),
    ("86400", DAY, DAY),
    ("604800", 7 * DAY, DAY),
    ("999999999999", 999_999_999_999, DAY),
    (str(NOW_SECONDS + 60), NOW_SECONDS + 60, DAY),
    (str(NOW + 60_000), None, None),
    ("Sat, 21 Nov 2026 01:02:00 GMT", 120, 120),
    ("Saturday, 21-Nov-26 01:02:00 GMT", 120, 120),
    ("Sat Nov 21 01:02:00 2026", 120, 120),
    ("Fri, 20 Nov 2026 01:00:00 GMT", 0, 0),
    ("Thu, 01 Jan 1970 00:00:00 GMT", 0, 0),
    ("Fri, 31 Dec 9999 23:59:59 GMT", 251_607_077_999, DAY),
    ("Fri, 31 Dec 99999 23:59:59 GMT", None, None),
    ("-1", None, None),
    ("nan", None, None),
    ("inf", None, None),
    ("1e9", None, None),
    ("1_000", None, None),
    ("٣", None, None),
    ("9" * 5000, None, None),
    ("soon", None, None),
    ("", None, None),
]


def verdict_of(told: Told) -> Verdict:
    answer = golden.response(told.platform, told.case)
    headers = {"content-type": "application/json", **told.headers}
    return PLATFORMS[told.platform].classify(answer["http_status"], headers, golden.body_of(answer), NOW)


@pytest.mark.parametrize("told", OWN_WORDS, ids=lambda told: f"{told.platform}-{orjson.dumps(told.headers).decode()}")
def test_what_each_platform_says_in_headers_of_its_own(told: Told) -> None:
    verdict = verdict_of(told)
    assert verdict.outcome in (Outcome.RETRY_LATER, Outcome.QUOTA_EXHAUSTED)
    assert verdict.retry_after_seconds == (told.says if told.says is None else pytest.approx(told.says))
    kept = obeyed(verdict).retry_after_seconds
    assert kept == (told.obeyed if told.obeyed is None else pytest.approx(told.obeyed))


@pytest.mark.parametrize("name", PLATFORMS)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_of_whoever_answers(name: str, status: int) -> None:
    """The page of a proxy, in a platform's place."""
    for text, says, kept in RETRY_AFTER:
        headers = {"content-type": "text/html", "retry-after": text, "date": DATE}
        verdict = PLATFORMS[name].classify(status, headers, b"<html>", NOW)
        assert verdict.outcome is (Outcome.RETRY_LATER if status == 429 else Outcome.PLATFORM_DOWN), text
        assert (verdict.retry_after_seconds, obeyed(verdict).retry_after_seconds) == (says, kept), text


def test_a_date_without_a_date_to_count_from_says_nothing() -> None:
    headers = {"content-type": "text/html", "retry-after": "Sat, 21 Nov 2026 01:02:00 GMT"}
    assert PLATFORMS["x"].classify(429, headers, b"", NOW).retry_after_seconds is None


@pytest.mark.parametrize("name", PLATFORMS)
def test_a_bare_402_closes_nothing_for_longer_than_a_day(name: str) -> None:
    headers = {"content-type": "text/html", "retry-after": "999999999"}
    verdict = PLATFORMS[name].classify(402, headers, b"<html>", NOW)
    assert verdict.outcome is Outcome.QUOTA_EXHAUSTED
    assert obeyed(verdict).retry_after_seconds == (None if name == "bluesky" else DAY)


@pytest.mark.parametrize(("name", "case"), [found for found in golden.cases() if "quota" in found[1]])
def test_what_is_computed_of_a_day_is_not_cut(name: str, case: str) -> None:
    answer = golden.response(name, case)
    for hour in range(0, 400 * 24, 7):
        now = NOW + hour * 3_600_000 + 1
        verdict = PLATFORMS[name].classify(answer["http_status"], {}, golden.body_of(answer), now)
        assert obeyed(verdict) == verdict


RESETS = [
    ("x", x(x_rate_limit_limit=900, x_rate_limit_remaining=0), "x-rate-limit-reset", True, 900),
    ("x", x(x_app_limit_24hour_limit=9, x_app_limit_24hour_remaining=0), "x-app-limit-24hour-reset", True, DAY),
    ("bluesky", x(ratelimit_remaining=0, ratelimit_policy="3000;w=300"), "ratelimit-reset", True, 300),
    ("bluesky", x(ratelimit_remaining=0), "ratelimit-reset", True, DAY),
    ("reddit", x(x_ratelimit_remaining="0.0", x_ratelimit_used=100), "x-ratelimit-reset", False, 600),
    ("pinterest", x(x_ratelimit_remaining=0, x_ratelimit_limit="9, 9;w=60"), "x-ratelimit-reset", False, 60),
    ("pinterest", x(x_ratelimit_remaining=0, x_ratelimit_limit="9, 9;w=86400"), "x-ratelimit-reset", False, DAY),
    ("instagram", usage(19), "retry-after", False, DAY),
    ("facebook", usage(19), "retry-after", False, DAY),
]


@pytest.mark.parametrize(("name", "headers", "reset", "is_instant", "window"), RESETS)
@pytest.mark.parametrize("seconds", [1, 30, 5000, 10**6, 10**9, 10**10])
def test_a_reset_is_obeyed_for_a_window_at_most(
    name: str, headers: dict[str, str], reset: str, is_instant: bool, window: float, seconds: int
) -> None:
    platform, told = PLATFORMS[name], {**headers, reset: str(seconds + (NOW_SECONDS if is_instant else 0))}
    if has(platform, LimitsByWindow):
        states = list(platform.all_limits(told, NOW))
    else:
        states = [state for state in [platform.limits(told, NOW)] if state is not None]
    budget, key = Budget(), WindowKey(name, "w/c", "posts")
    for state in states:
        budget.observe(key, state, NOW)
    assert budget.wait_until(key, NOW) == NOW + min(seconds, window) * SECOND


@given(st.floats() | st.integers(-(10**30), 10**30), st.none() | st.floats(0, 1e12))
def test_nothing_that_is_told_is_obeyed_for_longer_than_a_month(told: float, known: float | None) -> None:
    for outcome in (Outcome.RETRY_LATER, Outcome.QUOTA_EXHAUSTED, Outcome.PLATFORM_DOWN):
        seconds = obeyed(Verdict(outcome, told, longest_seconds=known)).retry_after_seconds
        if math.isnan(told) or told < 0:
            assert seconds is None
        else:
            assert seconds is not None
            assert 0 <= seconds <= min(told, LONGEST_OF_ALL_SECONDS)
            assert known is not None or seconds <= LONGEST_SECONDS
    kept = obeyed_failure(RefreshFailure(Outcome.RETRY_LATER, told)).retry_after_seconds
    assert kept is None or 0 <= kept <= LONGEST_SECONDS


@given(st.integers(-(10**18), 10**18), st.sampled_from([None, 60.0, 900.0, DAY]))
def test_no_reset_is_later_than_a_window(reset_at: int, known: float | None) -> None:
    kept = obeyed_state(LimitState(10, 0, reset_at, longest_seconds=known), NOW).reset_at
    assert kept == min(reset_at, NOW + int((known or DAY) * SECOND))


def test_a_budget_is_never_closed_for_longer_than_a_month_whoever_asks() -> None:
    budget, key = Budget(), WindowKey("x", "w/c", "tweets")
    assert budget.hold(key, 1e15, NOW, exhausted=True) - NOW <= LONGEST_OF_ALL_SECONDS * SECOND + 1


@pytest.mark.parametrize("window", [None, 86_400])
def test_a_clock_that_is_set_back_by_years_leaves_nothing_closed_for_years(window: int | None) -> None:
    budget, key = Budget(), WindowKey("reddit", "w/c", "api")
    budget.observe(key, LimitState(100, 0, NOW + 500_000, window), NOW)
    budget.clock_set_back(10**11)
    assert budget.wait_until(key, NOW - 10**11) <= NOW - 10**11 + DAY * SECOND
    budget.observe(key, LimitState(100, 0, NOW + 500_000, window), NOW)
    budget.clock_set_back(2 * SECOND)
    assert budget.wait_until(key, NOW - 2 * SECOND) == NOW + 500_000


def cuts(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines that were logged about cut waits since the last look."""
    return [line for line in capsys.readouterr().out.splitlines() if "longer wait" in line]


def test_a_wait_that_is_cut_is_logged_once_an_hour(capsys: pytest.CaptureFixture[str]) -> None:
    waits = CutWaits()
    for after in range(100):
        waits.verdict("x", Verdict(Outcome.RETRY_LATER, 1e9, "429 hush"), NOW + after)
        waits.state("x", LimitState(9, 0, NOW + 10**12), NOW + after)
        waits.failure("x", RefreshFailure(Outcome.RETRY_LATER, 1e9, "hush"), NOW + after)
    shown = cuts(capsys)
    assert len(shown) == 3
    assert "hush" not in "".join(shown)
    waits.verdict("x", Verdict(Outcome.RETRY_LATER, 1e9), NOW + LOG_AGAIN)
    waits.verdict("reddit", Verdict(Outcome.RETRY_LATER, 1e9), NOW)
    assert len(cuts(capsys)) == 2


def test_a_wait_that_is_within_its_window_is_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    waits = CutWaits()
    waits.verdict("x", Verdict(Outcome.RETRY_LATER, 900 + CLOCKS_SECONDS, longest_seconds=900), NOW)
    waits.verdict("x", Verdict(Outcome.RETRY_LATER, None), NOW)
    waits.state("x", LimitState(9, 0, None), NOW)
    waits.state("x", LimitState(9, 0, NOW - 10**12), NOW)
    assert cuts(capsys) == []


@pytest.mark.parametrize("status", [429, 503])
async def test_one_absurd_wait_stops_nobody_for_longer_than_a_day(
    world: World, capsys: pytest.CaptureFixture[str], status: int
) -> None:
    world.youtube.answer = failing(status, "rateLimitExceeded", retry_after="999999999999")
    world.connect("c1")
    world.publish("a", channel_id="c1")
    await world.time.advance(SECOND)
    asked = world.calls()
    await world.time.advance(3_600_000)
    world.youtube.answer = videos
    await world.time.advance(22 * 3_600_000)
    assert world.calls() == asked
    await world.time.advance(2 * 3_600_000)
    assert world.asked()[-1].http_status == 200
    assert len(cuts(capsys)) == 1


async def test_headers_of_an_absurd_reset_stop_nobody_for_longer_than_the_window(world: World) -> None:
    headers = {"x_rate_limit_limit": "900", "x_rate_limit_remaining": "0", "x_rate_limit_reset": "99999999999"}

    def answer(_: httpx.Request) -> httpx.Response:
        return json_answer(200, b'{"data":[]}', **headers)

    world.wires["x"].answer = answer
    world.connect(platform="x")
    world.publish("a")
    await world.time.advance(SECOND)
    world.publish("b")
    await world.time.advance(880 * SECOND)
    assert world.calls("/2/tweets") == 1
    await world.time.advance(30 * SECOND)
    assert world.calls("/2/tweets") == 2


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        (x(ratelimit_reset=NOW_SECONDS + 200, date=DATE), 200),
        (x(ratelimit_reset=NOW_SECONDS + 200), None),
        (x(ratelimit_reset=NOW_SECONDS + 200, retry_after=7), 7),
    ],
)
def test_the_end_of_a_limit_of_a_token_endpoint_is_no_wait_since_1970(
    headers: dict[str, str], says: float | None
) -> None:
    body = orjson.dumps({"error": "RateLimitExceeded", "message": "Rate Limit Exceeded"})
    platform = PLATFORMS["bluesky"]
    assert has(platform, Refreshable)
    failure = platform.read_refresh(429, {"content-type": "application/json", **headers}, body)
    assert isinstance(failure, RefreshFailure)
    assert failure.retry_after_seconds == says
    assert obeyed_failure(failure) == failure


@pytest.mark.parametrize("name", ["x", "linkedin", "instagram", "threads", "tiktok", "youtube", "pinterest", "reddit"])
def test_a_life_that_is_none_is_no_end_of_a_token(name: str) -> None:
    platform = PLATFORMS[name]
    assert has(platform, Refreshable)
    lives = [0, -1, -1e300, 1e300, 10**18, "never", "", "-5", "nan", "9" * 400, None, [], True]
    for life in lives:
        body = orjson.dumps({"access_token": "a", "token_type": "bearer", "expires_in": life})
        grant = platform.read_refresh(200, {}, body)
        assert isinstance(grant, TokenGrant)
        assert grant.expires_in_seconds is None, life
