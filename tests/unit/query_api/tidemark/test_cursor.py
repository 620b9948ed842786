"""Cursors come back as they were made, and anything else is refused."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.metrics import INT64_MAX, INT64_MIN
from services.query_api.errors import Invalid
from services.query_api.tidemark.cursor import Cursor, decode, encode

IDS = st.text("ABCxyz019._:-", min_size=1, max_size=128)
PLACES = st.integers(INT64_MIN, INT64_MAX)


@given(place=PLACES, last=IDS)
def test_a_cursor_comes_back(place: int, last: str) -> None:
    text = encode("posts", Cursor(place, last))
    assert decode("posts", text) == Cursor(place, last)
    with pytest.raises(Invalid):
        decode("top/likes", text)


def test_without_a_cursor_it_is_the_first_page() -> None:
    assert decode("posts", None) is None


@given(text=st.one_of(st.text(max_size=60), st.binary(max_size=40).map(lambda raw: raw.decode("latin-1"))))
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        decode("posts", text)


@pytest.mark.parametrize(
    "value",
    [
        '["posts",1]',
        '["posts",1.5,"a"]',
        '["posts",true,"a"]',
        '["posts",1,"no id"]',
        '["posts",9223372036854775808,"a"]',
    ],
)
def test_a_forged_one_is_refused(value: str) -> None:
    with pytest.raises(Invalid):
        decode("posts", base64.urlsafe_b64encode(value.encode()).decode())
