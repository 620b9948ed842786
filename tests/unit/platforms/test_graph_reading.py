"""What a request to the Graph API asked for, by its `fields`."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.platforms import _graph_reading
from services.platforms._graph_reading import _without_brackets, asked, split

_BRACKETED = re.compile(r"\([^(){}]*\)|\{[^(){}]*\}")


@given(st.text("(){}a,", max_size=40))
def test_brackets_go_from_the_inside_out(text: str) -> None:
    """As they were taken out first, one level after the other."""
    expected, shorter = text, _BRACKETED.sub("", text)
    while shorter != expected:
        expected, shorter = shorter, _BRACKETED.sub("", shorter)
    assert _without_brackets(text) == expected


@pytest.mark.parametrize("unit", ["(", "{", "(}", "()", "a(", "insights.a(", "insights.a()", "insights.", ".a(b)"])
def test_long_fields_take_a_moment_and_are_not_remembered(unit: str) -> None:
    """16,000 nested brackets took 6 seconds, and 1,024 texts of any length were remembered."""
    _graph_reading._kept_asked.cache_clear()
    text = "insights" + unit * (150_000 // len(unit))
    for fields in (text, text + ")" * text.count("(") + "}" * text.count("{")):
        began = time.process_time()
        asked(fields)
        split(fields)
        assert time.process_time() - began < 0.6
    assert _graph_reading._kept_asked.cache_info().currsize == 0
    assert asked("id,insights.metric(a,b){c(d)}.e").insights == {"a", "b"}
