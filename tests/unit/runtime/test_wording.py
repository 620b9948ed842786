"""Counts and their nouns agree."""

from __future__ import annotations

import pytest

from services.runtime.wording import counted


@pytest.mark.parametrize(("count", "text"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (21, "21 rows")])
def test_a_noun_agrees_with_its_count(count: int, text: str) -> None:
    assert counted(count, "row") == text
