"""Budgets: headers and Retry-After are obeyed to the second, backoff is bounded, circuits open and close."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.platforms.base import LimitState
from services.poller.budget import (
    BACKOFF_CAP,
    CIRCUIT_CAP,
    CIRCUIT_FAILURES,
    EMPTY_WAIT,
    QUOTA_WAIT,
    Budget,
    Circuit,
    WindowKey,
    backoff,
)

NOW = 1_790_000_000_000
KEY = WindowKey("x", "w1/c1", "tweets")


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


@given(st.floats(0, 1e6))
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


@given(st.integers(1, 200), st.floats(0, 1))
def test_backoff_is_full_jitter_within_its_cap(attempt: int, share: float) -> None:
    wait = backoff(attempt, lambda lower, upper: lower + share * (upper - lower))
    assert 0 <= wait <= min(BACKOFF_CAP, 1000 * 2 ** (attempt - 1))


def test_a_circuit_opens_lets_one_through_and_closes() -> None:
    circuit = Circuit(greatest)
    for _ in range(CIRCUIT_FAILURES - 1):
        circuit.failure(NOW)
        assert circuit.wait_until(NOW) == 0
    circuit.failure(NOW)
    until = circuit.wait_until(NOW)
    assert until is not None
    assert until > NOW
    assert circuit.wait_until(until) == 0
    circuit.admit()
    assert circuit.wait_until(until) is None
    circuit.success()
    assert circuit.wait_until(until) == 0
    assert not circuit.is_open


def test_a_probe_that_fails_opens_it_for_longer_but_not_for_ever() -> None:
    circuit, now, waits = Circuit(greatest), NOW, []
    for _ in range(CIRCUIT_FAILURES):
        circuit.failure(now)
    for _ in range(12):
        until = circuit.wait_until(now)
        assert until is not None
        waits.append(until - now)
        now = until
        circuit.admit()
        circuit.failure(now)
    assert waits == sorted(waits)
    assert waits[-1] == CIRCUIT_CAP


def test_a_round_that_asked_nothing_gives_the_probe_back() -> None:
    circuit = Circuit(greatest)
    for _ in range(CIRCUIT_FAILURES):
        circuit.failure(NOW)
    later = NOW + CIRCUIT_CAP
    circuit.admit()
    circuit.release()
    assert circuit.wait_until(later) == 0


def test_one_success_starts_the_count_anew() -> None:
    circuit = Circuit(greatest)
    for _ in range(3):
        for _ in range(CIRCUIT_FAILURES - 1):
            circuit.failure(NOW)
        circuit.success()
    assert not circuit.is_open
