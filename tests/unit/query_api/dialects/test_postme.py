"""postme's figures of a post, added up in one pass, against the sums that every other reply is made of."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from schemas.metrics import (
    COMMENTS,
    IMPRESSIONS,
    INT64_MAX,
    INT64_MIN,
    LIKES,
    MILLIS_MAX,
    POST_METRICS,
    REACH,
    SAVES,
    SHARES,
    VIEWS,
    WATCH_TIME,
    Values,
    post_engagements,
    total,
    whole_seconds,
)
from services.query_api.dialects.postme.render import platform_name, post_insights
from services.query_api.reads.query import PUBLISHED, Post, Target, with_fallback
from services.runtime.clock import iso_seconds

COUNTS = st.none() | st.integers(-3, 50) | st.sampled_from((INT64_MAX, INT64_MIN, INT64_MAX - 1))
DURATIONS = st.none() | st.integers(0, 5_000) | st.just(MILLIS_MAX)
VALUES = st.tuples(*(DURATIONS if metric.is_duration else COUNTS for metric in POST_METRICS))


@st.composite
def targets(draw: st.DrawFn) -> Target:
    channel = draw(st.sampled_from(("c1", "c2")))
    return Target(
        target_id="t",
        channel_id=channel,
        post_type="reel",
        status=draw(st.sampled_from((PUBLISHED, PUBLISHED, "scheduled"))),
        external_id="e",
        permalink=None,
        published_at=None,
        content=None,
        is_story=False,
        parent_target_id=None,
        detail={},
        captured_at=draw(st.none() | st.integers(0, 10**13)),
        values=draw(VALUES),
        platform={"c1": "instagram", "c2": "x"}[channel],
        username="tide",
    )


def figures(values: Values) -> dict[str, int]:
    return {
        "views": values[VIEWS] or 0,
        "engagements": post_engagements(values) or 0,
        "reach": values[REACH] or 0,
        "likes": values[LIKES] or 0,
        "comments": values[COMMENTS] or 0,
        "shares": values[SHARES] or 0,
        "saves": values[SAVES] or 0,
    }


def shown(post: Post) -> dict[str, Any]:
    """The reply, by `total` alone."""
    out = [target for target in post.targets if target.status == PUBLISHED]
    by_channel: dict[str, list[Target]] = {}
    for target in out:
        by_channel.setdefault(target.channel_id, []).append(target)
    sums = total([with_fallback(target.values) for target in out])
    at = [target.captured_at for target in out if target.captured_at is not None]
    return {
        "post_id": post.post_id,
        "totals": {
            **figures(sums),
            "impressions": sums[IMPRESSIONS] or 0,
            "watch_time_seconds": whole_seconds(sums[WATCH_TIME]) or 0,
        },
        "channels": [
            {
                "channel_id": channel_id,
                "platform": platform_name(some[0].platform),
                **figures(total([with_fallback(target.values) for target in some])),
            }
            for channel_id, some in by_channel.items()
        ],
        "updated_at": iso_seconds(max(at)) if at else None,
    }


@given(st.lists(targets(), max_size=4))
def test_a_post_shows_the_sums_of_its_published_targets(held: list[Target]) -> None:
    post = Post("p1", PUBLISHED, 1, 2, 3, tuple(held))
    assert post_insights(post) == shown(post)
