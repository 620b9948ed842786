"""PostFuze's parameters and refusals."""

from __future__ import annotations

import pytest

from services.query_api.reads.query import AccountHistoryQuestion, AccountQuestion, LivePostQuestion, Post
from tests.support.query_api import NOW, fake_api, target, values

DAY = 86_400_000


@pytest.mark.parametrize(
    ("query", "since", "until"),
    [
        ({"since": "1781395200"}, 1_781_395_200_000, NOW),
        ({"until": "1781395200"}, 1_781_395_200_000 - 30 * DAY, 1_781_395_200_000),
        ({"since": "1", "until": "2"}, 1000, 2000),
    ],
)
async def test_bounds_that_are_left_out(query: dict[str, str], since: int, until: int) -> None:
    api = fake_api()
    await api.client.get("/api/v1/social-accounts/c1/metrics", params=query, headers=api.add_key("w1", "good"))
    assert api.read_model.asked == [AccountHistoryQuestion("w1", "c1", since, until)]


@pytest.mark.parametrize("query", [{"since": "2", "until": "2"}, {"since": "3", "until": "2"}, {"since": "4000000000"}])
async def test_an_empty_range_is_422(query: dict[str, str]) -> None:
    api = fake_api()
    path = "/api/v1/social-accounts/c1/metrics"
    reply = await api.client.get(path, params=query, headers=api.add_key("w1", "good"))
    assert (reply.status_code, reply.json()["code"]) == (422, "invalid_parameter")
    assert not api.read_model.asked


async def test_without_bounds_the_account_as_it_stands_is_asked() -> None:
    api = fake_api()
    await api.client.get("/api/v1/social-accounts/c1/metrics", headers=api.add_key("w1", "good"))
    assert api.read_model.asked == [AccountQuestion("w1", "c1")]


@pytest.mark.parametrize("targets", [(), (target("t1", status="draft"), target("t2", status="failed"))])
async def test_a_post_that_is_not_published_is_422_with_the_documents_message(targets: tuple[object, ...]) -> None:
    api = fake_api()
    post = Post("p1", "published", None, None, NOW, targets)  # type: ignore[arg-type]  # targets, as parametrized
    api.read_model.answers[LivePostQuestion("w1", "p1")] = post
    reply = await api.client.get("/api/v1/posts/p1/analytics", headers=api.add_key("w1", "good"))
    assert (reply.status_code, reply.json()["code"]) == (422, "post_not_published")
    assert reply.json()["message"] == "Analytics are only available after a post is published"


@pytest.mark.parametrize(
    ("figures", "rate"),
    [
        ({"likes": 41, "impressions": 1000}, 0.041),
        ({"likes": 1, "impressions": 2000}, 0.001),
        ({"likes": 9, "impressions": 2000}, 0.005),
        ({"likes": 1, "impressions": 2001}, 0.0),
        ({"likes": 1, "reach": 4, "views": 2}, 0.5),
        ({"likes": 1, "reach": 4}, 0.25),
        ({"likes": 1, "impressions": 0, "reach": 4}, 0.25),
        ({"likes": 1}, None),
        ({"impressions": 5}, None),
    ],
)
async def test_rates_have_three_decimals_halves_up(figures: dict[str, int], rate: float | None) -> None:
    api = fake_api()
    shown = target("t1", captured_at=NOW, values=values(**figures))
    api.read_model.answers[LivePostQuestion("w1", "p1")] = Post("p1", "published", None, None, NOW, (shown,))
    reply = await api.client.get("/api/v1/posts/p1/analytics", headers=api.add_key("w1", "good"))
    assert reply.json()["metrics_by_account"][0]["engagement_rate"] == rate
