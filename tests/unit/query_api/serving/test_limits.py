"""Requests per key and minute."""

from __future__ import annotations

import pytest

from services.query_api.errors import TooManyRequests
from services.query_api.serving.limits import RateLimiter

KEY = ("w1", "k1")


def test_the_limit_holds_for_a_minute_from_the_first_request() -> None:
    limiter = RateLimiter(2)
    limiter.take(KEY, 0)
    limiter.take(KEY, 59_000)
    with pytest.raises(TooManyRequests) as refused:
        limiter.take(KEY, 59_001)
    assert dict(refused.value.headers)[b"retry-after"] == b"1"
    limiter.take(KEY, 60_000)


def test_keys_are_counted_apart_and_waiting_as_told_is_enough() -> None:
    limiter = RateLimiter(1)
    limiter.take(KEY, 500)
    limiter.take(("w2", "k1"), 500)
    with pytest.raises(TooManyRequests) as refused:
        limiter.take(KEY, 1_234)
    wait = int(dict(refused.value.headers)[b"retry-after"])
    limiter.take(KEY, 1_234 + wait * 1000)


def test_a_clock_set_back_does_not_lock_a_key_out() -> None:
    limiter = RateLimiter(1)
    limiter.take(KEY, 1_000_000)
    limiter.take(KEY, 0)


def test_old_minutes_are_forgotten_and_running_ones_are_not() -> None:
    limiter = RateLimiter(1)
    limiter.take(KEY, 0)
    limiter.take(("w2", "k1"), 50_000)
    limiter.forget_old(70_000)
    limiter.take(KEY, 70_000)
    with pytest.raises(TooManyRequests):
        limiter.take(("w2", "k1"), 70_000)
