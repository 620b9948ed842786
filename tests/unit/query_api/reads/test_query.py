"""The rules that all replies share."""

from __future__ import annotations

import pytest

from schemas.metrics import AVG_WATCH_TIME, IMPRESSIONS, LIKES, VIEWS
from services.query_api.reads.query import latest, totals, video_views, with_fallback
from tests.support.query_api import values


@pytest.mark.parametrize(
    ("held", "views", "impressions"),
    [
        (values(), None, None),
        (values(views=3), 3, 3),
        (values(impressions=4), 4, 4),
        (values(views=3, impressions=4), 3, 4),
        (values(views=0), 0, 0),
        (values(views=0, impressions=4), 0, 4),
    ],
)
def test_views_and_impressions_stand_in_for_each_other(
    held: tuple[int | None, ...], views: int | None, impressions: int | None
) -> None:
    shown = with_fallback(held)
    assert (shown[VIEWS], shown[IMPRESSIONS]) == (views, impressions)


def test_totals_are_summed_after_the_fallback() -> None:
    sums = totals([values(views=1, avg_watch_time_seconds=5), values(impressions=10, likes=0), values()])
    assert (sums[VIEWS], sums[IMPRESSIONS], sums[LIKES], sums[AVG_WATCH_TIME]) == (11, 11, 0, 5)
    assert totals([]) == values()


@pytest.mark.parametrize(
    ("held", "platform", "post_type", "shown"),
    [
        (values(video_views=5, views=9), "youtube", "", 5),
        (values(views=9), "youtube", "", 9),
        (values(views=9), "tiktok", "tiktok-video", 9),
        (values(views=9), "instagram", "instagram-reel", 9),
        (values(views=9), "instagram", "facebook-video", None),
        (values(views=9), "instagram", "youtube-short", None),
        (values(), "instagram", "instagram-reel", None),
        (values(views=9), "x", "text", 0),
        (values(), "x", "", 0),
    ],
)
def test_video_views(held: tuple[int | None, ...], platform: str, post_type: str, shown: int | None) -> None:
    assert video_views(held, platform, post_type) == shown


def test_the_latest_of_some_instants() -> None:
    assert latest([None, 3, 1]) == 3
    assert latest([None]) is None
