"""Kinds of parameters: what is taken, and what is refused with which words."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from services.query_api.serving.parameters import Id, Ids, Instant, Limit


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-06-28", 1_782_604_800_000),
        ("2026-06-28T09:14:22Z", 1_782_638_062_000),
        ("2026-06-28T11:14:22.345+02:00", 1_782_638_062_345),
        ("2026-06-28T09:14:22", 1_782_638_062_000),
        ("1970-01-01", 0),
    ],
)
def test_an_instant_is_utc_unless_it_says_otherwise(text: str, expected: int) -> None:
    assert TypeAdapter(Instant).validate_python(text) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "1969-12-31", "2300-01-01", "0001-01-01", 5])
def test_what_is_no_instant_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Instant).validate_python(text)


def test_ids_come_as_text_or_list_each_once() -> None:
    adapter = TypeAdapter(Ids)
    assert adapter.validate_python("b,a,b") == ("b", "a")
    assert adapter.validate_python(["b", "a", "b"]) == ("b", "a")
    assert len(adapter.validate_python(",".join(map(str, range(500))))) == 500
    for bad in ("", "a,", "a b", [], [1], list(map(str, range(501))), None, {"a": 1}):
        with pytest.raises(ValidationError):
            adapter.validate_python(bad)


def test_an_id_and_a_limit_have_bounds() -> None:
    assert TypeAdapter(Id).validate_python("a" * 128) == "a" * 128
    assert TypeAdapter(Limit).validate_python("500") == 500
    for adapter, bad in [(TypeAdapter(Id), "a" * 129), (TypeAdapter(Id), "ü")]:
        with pytest.raises(ValidationError):
            adapter.validate_python(bad)
    for number in ("0", "501", "x"):
        with pytest.raises(ValidationError):
            TypeAdapter(Limit).validate_python(number)
