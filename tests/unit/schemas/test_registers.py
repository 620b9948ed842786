"""Registers: order, repeats and ties never change where they end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from schemas.registers import Register, dump_groups, empty_register, load_groups, merge

METRICS = 4
Answer = tuple[int, int, tuple[int | None, ...], int, bytes]


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    spoken = draw(st.integers(0, 2**METRICS - 1))
    ranged = draw(st.sampled_from([0, 0, 0, 2**METRICS - 1, 5])) & spoken
    values = tuple(draw(st.none() | st.integers(0, 9)) if spoken >> index & 1 else None for index in range(METRICS))
    return spoken, ranged, values, draw(st.integers(0, 3)), draw(st.sampled_from([b"a", b"b", b"c"]))


def folded(sequence: list[Answer]) -> Register:
    register = empty_register(METRICS)
    for answer in sequence:
        register = merge(register, *answer)
    return register


@given(st.lists(answers(), max_size=8), st.randoms())
def test_order_and_repeats_change_nothing(sequence: list[Answer], random: object) -> None:
    shuffled = sequence + sequence[: len(sequence) // 2]
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis's Random
    assert folded(shuffled) == folded(sequence)


@given(st.lists(answers(), max_size=8))
def test_each_figure_is_the_greatest_answers(sequence: list[Answer]) -> None:
    register = folded(sequence)
    for index in range(METRICS):
        said = [
            (not (ranged >> index & 1), at, event_id, values[index] is not None, values[index] or 0)
            for spoken, ranged, values, at, event_id in sequence
            if spoken >> index & 1
        ]
        best = max(said, default=None)
        assert register.values[index] == (best[4] if best and best[3] else None)
    spoke = [at for spoken, _, _, at, _ in sequence if spoken]
    assert register.captured_at == max(spoke, default=None)


@given(st.lists(answers(), max_size=8))
def test_groups_are_disjoint_and_survive_storage(sequence: list[Answer]) -> None:
    register = folded(sequence)
    seen = 0
    for _, mask in register.groups:
        assert mask
        assert not seen & mask
        seen |= mask
    assert load_groups(dump_groups(register.groups)) == register.groups


def test_a_range_of_dates_never_replaces_a_lifetime_figure() -> None:
    lifetime = merge(empty_register(1), 1, 0, (100,), 1, b"a")
    assert merge(lifetime, 1, 1, (7,), 2, b"b").values == (100,)
    alone = merge(empty_register(1), 1, 1, (7,), 2, b"b")
    assert alone.values == (7,)
    assert merge(alone, 1, 0, (100,), 1, b"a").values == (100,)


def test_a_hidden_count_replaces_a_known_one() -> None:
    known = merge(empty_register(2), 3, 0, (5, 6), 1, b"a")
    assert merge(known, 3, 0, (None, 8), 2, b"b").values == (None, 8)
