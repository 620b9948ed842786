"""Long spans of an account over a fake ClickHouse: read a part at a time, however answers lie."""

from __future__ import annotations

from typing import Any, cast

import pytest

from schemas.events import CatalogChannel
from schemas.metrics import CHANNEL_METRICS
from services.query_api.fairness import Desk
from services.query_api.reads.account_answers import AccountAnswers
from services.query_api.reads.account_history import AccountHistories
from services.query_api.reads.clickhouse import ClickHouse
from services.query_api.reads.polls import AccountAnswer, polls
from services.query_api.reads.query import AccountHistoryQuestion

ANSWERS = 120_000
FIRST = 10_000_000
_NO_FIGURES = [None] * (len(CHANNEL_METRICS) - 1)


class Stored:
    """Answers of one channel, each so many ms after the one before."""

    def __init__(self, apart: int, answers: int = ANSWERS) -> None:
        self._apart = apart
        self._answers = answers
        self.pages = 0

    def _at(self, name: str) -> int:
        return FIRST + int(name) * self._apart

    async def rows(self, name: str, sql: str, parameters: dict[str, Any], seconds: float = 5.0) -> list[list[Any]]:
        """What the query of that name reads."""
        if name == "channel_snapshots":
            self.pages += 1
            first = int(parameters["after_event"] or -1) + 1
            last = min(self._answers, first + parameters["limit"])
            names = (f"{number:09}" for number in range(first, last))
            return [[event, self._at(event), "lifetime", None, None, 1, int(event), *_NO_FIGURES] for event in names]
        if name == "raw_answers":
            return [[event, self._at(event), "SCHEDULE", "/me", {}] for event in parameters["events"]]
        if name == "raw_sizes":
            return [[event, 2] for event in parameters["events"]]
        return [[event, "e30="] for event in parameters["events"]] if name == "raw_bodies" else []


@pytest.mark.parametrize("apart", [1_000, 3_600_000])
async def test_a_long_span_comes_by_parts_also_without_a_pause(apart: int) -> None:
    stored, desk = Stored(apart), Desk()
    clickhouse = cast("ClickHouse", stored)
    histories = AccountHistories(clickhouse, desk, AccountAnswers(clickhouse, desk))
    question = AccountHistoryQuestion("w", "c1", 0, 2**53)
    channel = cast("CatalogChannel", type("Channel", (), {"channel_id": "c1", "platform": "x"}))
    history = await histories.history(question, channel)
    assert 2_000 < len(history.snapshots) < 2_200
    assert stored.pages <= 4  # of 13
    assert [one.figures.followers for one in history.snapshots] == list(range(len(history.snapshots)))
    assert history.rest is not None
    following = await anext(history.rest)
    assert following[0].figures.followers == len(history.snapshots)
    await history.rest.aclose()


@pytest.mark.timeout(60)
def test_a_poll_of_many_answers_takes_no_longer_each() -> None:
    answers = [
        AccountAnswer(f"{number:06}", number, "SCHEDULE", f"/{'a' * (number % 400)}/{number}", {})
        for number in range(30_000)
    ]
    (poll,) = polls(answers)
    assert poll == answers
