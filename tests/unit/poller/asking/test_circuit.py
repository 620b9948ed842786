"""Leaving alone what fails: backoff is bounded, circuits open and close, a token's apart from its platform's."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.poller.asking.circuit import (
    BACKOFF_CAP,
    CIRCUIT_CAP,
    CIRCUIT_FAILURES,
    TOKEN_FAILURES,
    Circuit,
    TokenCircuits,
    backoff,
)

NOW = 1_790_000_000_000


def greatest(_: float, upper: float) -> float:
    return upper


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


def test_a_token_that_fails_is_left_alone_and_the_others_are_not() -> None:
    circuits = TokenCircuits(greatest)
    for count in range(1, TOKEN_FAILURES + 1):
        assert circuits.wait_until("a", NOW) == 0
        assert not circuits.is_open("a")
        until = circuits.failure("a", NOW)
        assert until > NOW + count
    assert circuits.is_open("a")
    assert circuits.wait_until("a", NOW) == until
    assert circuits.wait_until("a", until) == 0
    assert circuits.is_open("a")
    assert circuits.failure("a", until) - until > until - NOW
    assert circuits.wait_until("b", NOW) == 0
    circuits.success("a")
    assert not circuits.is_open("a")
    assert circuits.wait_until("a", NOW) == 0
    assert len(circuits) == 0
