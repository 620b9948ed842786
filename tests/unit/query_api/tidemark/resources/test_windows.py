"""A channel's window: of each total, whether the platform told it."""

from __future__ import annotations

import pytest

from schemas.metrics import CHANNEL_NAMES, POST_NAMES
from schemas.windows import DAY, ChannelPeriod, WindowTarget, window_totals
from services.query_api.reads.query import WindowTotalsQuestion
from services.query_api.tidemark.resources.windows import window
from tests.support.query_api import NOW, fake_api

END = NOW // 1000 * 1000
POST = WindowTarget(END - DAY // 2, tuple({"likes": 34, "reach": 9, "impressions": 68}.get(n) for n in POST_NAMES))


def shown(**told: int) -> dict[str, object]:
    own = ChannelPeriod("window", END - DAY, END, tuple(told.get(name) for name in CHANNEL_NAMES))
    periods = [own] if told else []
    return window("c1", "24h", window_totals([POST], periods, DAY, END, is_measured=True))


def test_a_total_that_the_page_does_not_tell_is_its_posts() -> None:
    found = shown(views=5000, engagements=1965)
    assert found["source"] == "channel"
    assert found["metrics"]["likes"] == 34  # type: ignore[index]
    assert found["sources"] == {
        "views": "channel", "engagements": "channel", "engagement_rate": "channel",
        "likes": "posts", "reach": "posts", "impressions": "posts",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("told", "engagements"),
    [
        ({"views": 1, "comments": 2}, "mixed"),
        ({"views": 1}, "posts"),
        ({"views": 1, "likes": 3}, "channel"),
        ({}, "posts"),
    ],
)
def test_engagements_are_of_what_they_are_made_of(told: dict[str, int], engagements: str) -> None:
    assert shown(**told)["sources"]["engagements"] == engagements  # type: ignore[index]


def test_a_rate_that_is_called_the_channels_is_made_of_its_figures() -> None:
    """Saves, which nobody reports, are no part of the engagements."""
    found = shown(views=7000, likes=100, comments=30, shares=10)
    assert (found["metrics"]["engagement_rate"], found["sources"]["engagement_rate"]) == (140 / 7000, "channel")  # type: ignore[index]


async def test_it_is_answered() -> None:
    api = fake_api()
    key = api.add_key("w1", "good")
    totals = window_totals([POST], [], 7 * DAY, END, is_measured=True)
    api.read_model.answers[WindowTotalsQuestion("w1", "c1", "7d", END)] = totals
    reply = await api.client.get("/tidemark/v1/channels/c1/windows?range=7d", headers=key)
    assert reply.status_code == 200
    assert reply.json()["sources"]["likes"] == "posts"
    assert (await api.client.get("/tidemark/v1/channels/c9/windows", headers=key)).status_code == 404
    assert (await api.client.get("/tidemark/v1/channels/c1/windows?range=1d", headers=key)).status_code == 422
