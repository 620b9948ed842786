"""Cursors as text: they come back, for their workspace and their time alone, and nothing else is taken for one."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.runtime.clock import MILLIS_PER_DAY
from services.runtime.cursors import GOOD_DAYS, CursorExpired, CursorRefused, CursorText, Place
from services.runtime.secrets import SecretsError, TokenCipher, TokenPair

OLD, NEW = "an old key of enough characters", "a new key of enough characters"
GIVEN_BEFORE = "AQBqsTuAb04H2d7uAQIDBAUGBwgJgK3iBCvtzoGBtItnWIPFHA6L9VU"
NOW = 1_790_000_000_000
TOPICS = "cluster channels=1 posts=2"
PLACE = Place((1, 2, 3, 4, 5), (6, 7, 8, 9, 10_000_000))
CURSORS = CursorText([NEW, OLD])
offsets = st.tuples(*[st.integers(0, 2**63 - 1)] * 5)


@given(offsets, offsets, st.text("abz019._:-", min_size=1, max_size=128), st.integers(0, 2**40))
def test_a_place_comes_back(at: tuple[int, ...], seen: tuple[int, ...], workspace: str, now: int) -> None:
    text = CURSORS.written(workspace, Place(at, seen), now, TOPICS)
    assert CURSORS.read(workspace, text, now, TOPICS) == Place(at, seen)


@given(offsets, st.tuples(*[st.integers(0, 100_000)] * 3))
def test_a_place_comes_back_with_what_is_not_read_there(at: tuple[int, ...], left: tuple[int, ...]) -> None:
    place = Place(at, at, left)
    text = CURSORS.written("w1", place, NOW, TOPICS)
    assert CURSORS.read_with_time("w1", text, NOW + 5_000, TOPICS) == (place, NOW)


def test_a_cursor_of_before_is_one_of_everything() -> None:
    """As it was written before there was `left`. Servers of then read each cursor that is of everything."""
    given = CursorText([OLD]).written("w1", PLACE, NOW, TOPICS)
    assert given == GIVEN_BEFORE
    assert CURSORS.read("w1", given, NOW, TOPICS).left == ()


def test_text_is_short_and_needs_no_escaping() -> None:
    text = CURSORS.written("w1", PLACE, NOW, TOPICS)
    assert len(text) < 100
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@pytest.mark.parametrize("workspace", ["w2", "w", "w11", ""])
def test_another_workspaces_cursor_is_refused(workspace: str) -> None:
    text = CURSORS.written("w1", PLACE, NOW, TOPICS)
    with pytest.raises(CursorRefused):
        CURSORS.read(workspace, text, NOW, TOPICS)


def test_every_other_character_is_refused() -> None:
    text = CURSORS.written("w1", PLACE, NOW, TOPICS)
    for position, character in enumerate(text):
        for other in "A9-_=é \n\0":
            if other != character:
                with pytest.raises(CursorRefused):
                    CURSORS.read("w1", text[:position] + other + text[position + 1 :], NOW, TOPICS)


@given(st.text(max_size=120) | st.binary(max_size=90).map(lambda held: base64.urlsafe_b64encode(held).decode()))
def test_rubbish_is_refused(text: str) -> None:
    with pytest.raises(CursorRefused):
        CURSORS.read("w1", text, NOW, TOPICS)


@pytest.mark.parametrize("change", [lambda text: text[:-1], lambda text: text + "A", lambda text: text * 10])
def test_a_cursor_cut_or_lengthened_is_refused(change: object) -> None:
    assert callable(change)
    with pytest.raises(CursorRefused):
        CURSORS.read("w1", change(CURSORS.written("w1", PLACE, NOW, TOPICS)), NOW, TOPICS)


def test_a_cursor_is_good_for_ninety_days() -> None:
    text = CURSORS.written("w1", PLACE, NOW, TOPICS)
    assert CURSORS.read("w1", text, NOW + GOOD_DAYS * MILLIS_PER_DAY, TOPICS) == PLACE
    # Nor does a clock that goes a little behind the giver's spoil it.
    assert CURSORS.read("w1", text, NOW - 60_000, TOPICS) == PLACE
    with pytest.raises(CursorExpired):
        CURSORS.read("w1", text, NOW + GOOD_DAYS * MILLIS_PER_DAY + 1000, TOPICS)


def test_an_old_cursor_of_another_workspace_is_refused_and_not_called_old() -> None:
    text = CURSORS.written("w1", PLACE, NOW, TOPICS)
    with pytest.raises(CursorRefused):
        CURSORS.read("w2", text, NOW + 2 * GOOD_DAYS * MILLIS_PER_DAY, TOPICS)


def test_a_cursor_of_topics_that_were_made_anew_is_expired() -> None:
    text = CURSORS.written("w1", PLACE, NOW, TOPICS)
    with pytest.raises(CursorExpired):
        CURSORS.read("w1", text, NOW, "cluster channels=1 posts=3")


def test_keys_are_rotated_by_putting_a_new_one_first() -> None:
    before = CursorText([OLD]).written("w1", PLACE, NOW, TOPICS)
    assert CURSORS.read("w1", before, NOW, TOPICS) == PLACE
    after = CURSORS.written("w1", PLACE, NOW, TOPICS)
    with pytest.raises(CursorRefused):
        CursorText([OLD]).read("w1", after, NOW, TOPICS)


def test_keys_are_checked_as_those_of_tokens() -> None:
    for keys in ([], ["short"]):
        with pytest.raises(SecretsError, match="TIDEMARK_SECRET_KEYS"):
            CursorText(keys)
    # The same keys open tokens, by another key of each.
    cipher = TokenCipher([NEW])
    assert cipher.decrypt(cipher.encrypt(TokenPair("a"), ("w1", "c1")), ("w1", "c1")) == TokenPair("a")
