"""What polls cost, as callers meet it: their own, of this month, by platform."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import orjson
import pytest

from schemas.events import PollerSpending
from schemas.topic_names import SPENDING
from services.query_api.spending import Spending
from services.query_api.tidemark.usage.models import SCHEMA
from services.query_api.tidemark.usage.render import usage
from services.query_api.tidemark.usage.routes import ENDPOINTS
from services.query_api.views import Place
from tests.support.query_api import NOW, FakeApi, fake_api
from tests.unit.query_api.tidemark.resources.test_endpoints import conforms

# NOW is on the 28th of June.
DAYS = (*([0] * 26), 70_000, 30_000, *([0] * 3))
JUNE = PollerSpending("w1", "x", "2026-06", DAYS, {"user": 1, "post": 18}, 1_000_000, "2026-05-30", NOW - 1_500)


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    made = fake_api(cache_bytes=1_000_000)
    yield made
    await made.client.aclose()


def put(spending: Spending, event: PollerSpending | None, key: str, offset: int = 0) -> None:
    spending.observe(key.encode(), event, Place(0, offset))


async def test_a_workspace_sees_what_its_own_polls_cost(api: FakeApi) -> None:
    headers = api.add_key("w1", "good")
    empty = (await api.client.get("/tidemark/v1/usage", headers=headers)).json()
    assert empty == {"month": "2026-06", "platforms": []}
    put(api.spending, JUNE, "w1/x/2026-06")
    put(api.spending, replace(JUNE, month="2026-05"), "w1/x/2026-05")
    put(api.spending, replace(JUNE, workspace_id="w2", days=(5_000_000,) * 31), "w2/x/2026-06")
    found = (await api.client.get("/tidemark/v1/usage", headers=headers)).json()
    (x,) = found["platforms"]
    assert (x["spent_usd"], x["budget_usd"], x["left_usd"]) == (0.1, 1.0, 0.9)
    assert x["reads"] == {"post": 18, "user": 1}
    assert (len(x["days_usd"]), x["days_usd"][-2:]) == (28, [0.07, 0.03])
    assert 0.1 < x["forecast_usd"] < 0.2
    assert x["as_of"] == "2026-06-28T09:14:20Z"
    assert conforms(found, SCHEMA)


def test_a_month_that_is_deleted_is_gone() -> None:
    spending = Spending()
    put(spending, JUNE, "w1/x/2026-06")
    put(spending, None, "w1/x/2026-06", 1)
    assert (spending.of("w1", "2026-06"), spending.topic) == ([], SPENDING)


def test_without_a_budget_there_is_nothing_left_to_show_and_beyond_a_part_it_is_0() -> None:
    unbounded = usage([replace(JUNE, share=None, priced_on="")], NOW)["platforms"][0]
    assert (unbounded["budget_usd"], unbounded["left_usd"], unbounded["priced_on"]) == (None, None, None)
    assert usage([replace(JUNE, share=50_000)], NOW)["platforms"][0]["left_usd"] == 0


def test_the_sample_is_what_the_schema_says() -> None:
    (endpoint,) = ENDPOINTS
    assert conforms(orjson.loads(orjson.dumps(endpoint.sample)), endpoint.schema)
    assert not conforms({}, endpoint.schema)
