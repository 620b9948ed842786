"""A workspace with a history of some weeks, for the pages: posts and accounts that the sandbox answers for.

Answers of the past are published as any producer may do it, with the figures that the sandbox would have answered at
those instants; so the poller's own answers go on from there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any

from infra.sandbox.channels import ACCOUNTS, channel_line
from infra.sandbox.curves import level_value, metric_value
from infra.sandbox.ids import make_id
from tests.support.tidemark import RawPublisher, Tidemark

HOUR = 3_600_000
DAY = 24 * HOUR
_AGES = tuple(hours * HOUR for hours in (1, 3, 6, 12, 24, 48, 72, 168, 336, 672))
_HISTORY = ("bluesky", "youtube", "x")
_TEXTS = (
    "Low tide at six: the harbour shows what the water hides.",
    "How we measure a wave, in four pictures",
    "Behind the scenes of the new tide gauge",
    "Three things that we learned from a year of storms",
    "Ask us anything about sea levels this Friday!",
    "The oldest tide table that we know of is Chinese, from 1056",
    "Spring tide this week. Keep your boots dry",
    "New in the workshop: a buoy that reports every ten minutes",
    "Thank you, volunteers: 1,204 readings in one weekend",
    "Why the Baltic hardly has any tides",
)


@dataclass(frozen=True)
class Shown:
    """A post of the scene on one channel."""

    post_id: str
    platform: str
    external_id: str
    published_at: int
    text: str

    @property
    def target_id(self) -> str:
        """The target's id."""
        return f"{self.post_id}.{self.platform}"


def posts_of(now: int, days: int, seed: int = 7) -> list[Shown]:
    """Posts of some days, two on most of them at few hours of the day, each on one or two channels."""
    random = Random(seed)
    found = []
    for day in range(days):
        for hour in random.sample((8, 12, 17, 20), 2):
            published_at = now // DAY * DAY - day * DAY + hour * HOUR + random.randrange(50) * 60_000
            if published_at > now - HOUR:
                continue
            post_id = f"post-{day:02d}-{hour:02d}"
            text = random.choice(_TEXTS)
            for platform in random.sample(_HISTORY, random.choice((1, 2, 2))):
                number = day * 24 + hour
                made = make_id(platform, published_at, number, account=ACCOUNTS[platform].external_id)
                found.append(Shown(post_id, platform, made, published_at, text))
    return found


def catalog(workspace_id: str, posts: Sequence[Shown]) -> list[dict[str, Any]]:
    """Lines of the catalog: a channel on every platform, one of them with an expired connection, and the posts."""
    lines = [channel_line(platform, workspace_id, f"ch-{platform}") for platform in ACCOUNTS]
    lines.append(
        {
            "type": "channel",
            "workspace_id": workspace_id,
            "id": "ch-old",
            "platform": "threads",
            "external_id": "17841409999999999",
            "username": "tidemark.archive",
            "status": "token_expired",
        }
    )
    for post_id in dict.fromkeys(post.post_id for post in posts):
        held = [post for post in posts if post.post_id == post_id]
        at = datetime.fromtimestamp(held[0].published_at / 1000, UTC).isoformat()
        lines.append(
            {
                "type": "post",
                "workspace_id": workspace_id,
                "id": post_id,
                "status": "published",
                "created_at": at,
                "published_at": at,
                "targets": [
                    {
                        "target_id": post.target_id,
                        "channel_id": f"ch-{post.platform}",
                        "post_type": ACCOUNTS[post.platform].post_type,
                        "status": "published",
                        "external_id": post.external_id,
                        "permalink": f"https://example.com/{post.platform}/{post_id}",
                        "published_at": at,
                        "content": post.text,
                    }
                    for post in held
                ],
            }
        )
    return lines


def answers_of(workspace_id: str, posts: Sequence[Shown], now: int, seed: int) -> list[dict[str, Any]]:
    """Raw events of the past: the sandbox's figures at some ages of each post."""
    found = []
    for post in posts:
        for age in _AGES:
            at = post.published_at + age - 5 * 60_000
            if at >= now or (post.platform == "x" and age > 3 * DAY):
                continue
            found.append(_answer(workspace_id, post, at, seed))
    return found


def _answer(workspace_id: str, post: Shown, at: int, seed: int) -> dict[str, Any]:
    def figure(name: str) -> int:
        return metric_value(seed, post.platform, post.external_id, name, post.published_at, at)

    endpoint, request, body = {"bluesky": _bluesky, "youtube": _youtube, "x": _x}[post.platform](post, figure)
    return {
        "event_id": f"past-{post.target_id}-{at}",
        "workspace_id": workspace_id,
        "channel_id": f"ch-{post.platform}",
        "platform": post.platform,
        "kind": "POST_METRICS",
        "endpoint": endpoint,
        "request": request,
        "targets": [{"target_id": post.target_id, "post_id": post.post_id, "external_id": post.external_id}],
        "http_status": 200,
        "body": json.dumps(body).encode(),
        "captured_at": datetime.fromtimestamp(at / 1000, UTC),
        "origin": "BACKFILL",
    }


def _bluesky(post: Shown, figure: Any) -> tuple[str, dict[str, str], Any]:
    counts = {name: figure(name) for name in ("likeCount", "repostCount", "replyCount", "quoteCount", "bookmarkCount")}
    return "/xrpc/app.bsky.feed.getPosts", {"uris": post.external_id}, {"posts": [{"uri": post.external_id, **counts}]}


def _youtube(post: Shown, figure: Any) -> tuple[str, dict[str, str], Any]:
    counts = {name: str(figure(name)) for name in ("viewCount", "likeCount", "commentCount")}
    item = {"kind": "youtube#video", "id": post.external_id, "statistics": counts}
    request = {"part": "statistics", "id": post.external_id}
    return "/youtube/v3/videos", request, {"kind": "youtube#videoListResponse", "items": [item]}


def _x(post: Shown, figure: Any) -> tuple[str, dict[str, str], Any]:
    names = ("impression_count", "like_count", "reply_count", "retweet_count", "quote_count", "bookmark_count")
    item = {"id": post.external_id, "public_metrics": {name: figure(name) for name in names}}
    return "/2/tweets", {"ids": post.external_id, "tweet.fields": "public_metrics"}, {"data": [item]}


def account_answers(workspace_id: str, now: int, days: int, seed: int) -> list[dict[str, Any]]:
    """Raw events of the past: an answer about each of two accounts on each day before today."""
    bluesky, youtube = ACCOUNTS["bluesky"].external_id, ACCOUNTS["youtube"].external_id
    found = []
    for day in range(1, days):
        at = now // DAY * DAY - day * DAY + 6 * HOUR

        def level(platform: str, account: str, name: str, at: int = at) -> int:
            return level_value(seed, platform, account, name, at)

        counts = {"followersCount": "followers", "followsCount": "following", "postsCount": "posts"}
        profile = {"did": bluesky, **{key: level("bluesky", bluesky, name) for key, name in counts.items()}}
        statistics = {
            "subscriberCount": str(level("youtube", youtube, "followers")),
            "videoCount": str(level("youtube", youtube, "posts")),
            "hiddenSubscriberCount": False,
        }
        item = {"kind": "youtube#channel", "id": youtube, "statistics": statistics}
        for platform, endpoint, request, body in (
            ("bluesky", "/xrpc/app.bsky.actor.getProfiles", {"actors": bluesky}, {"profiles": [profile]}),
            (
                "youtube",
                "/youtube/v3/channels",
                {"part": "statistics", "id": youtube},
                {"kind": "youtube#channelListResponse", "items": [item]},
            ),
        ):
            found.append(
                {
                    "event_id": f"past-ch-{platform}-{at}",
                    "workspace_id": workspace_id,
                    "channel_id": f"ch-{platform}",
                    "platform": platform,
                    "kind": "CHANNEL_METRICS",
                    "endpoint": endpoint,
                    "request": request,
                    "targets": [],
                    "http_status": 200,
                    "body": json.dumps(body).encode(),
                    "captured_at": datetime.fromtimestamp(at / 1000, UTC),
                    "origin": "BACKFILL",
                }
            )
    return found


def show(tidemark: Tidemark, workspace_id: str, days: int) -> tuple[str, list[Shown]]:
    """Write the scene into a workspace of a running Tidemark; returns a key of the workspace, and the posts."""
    now = time.time_ns() // 1_000_000
    posts = posts_of(now, days)
    lines = "\n".join(json.dumps(line) for line in catalog(workspace_id, posts))
    reply = tidemark.admin("POST", "/admin/v1/catalog", content=lines.encode()).raise_for_status().json()
    assert not reply["rejected"], reply["rejected"][:3]
    publisher = RawPublisher(tidemark.ready)
    seed = tidemark.sandbox("healthz")["seed"]
    for event in (*answers_of(workspace_id, posts, now, seed), *account_answers(workspace_id, now, days, seed)):
        publisher.publish(event)
    publisher.flush()
    return new_key(tidemark, workspace_id), posts


def new_key(tidemark: Tidemark, workspace_id: str) -> str:
    """A key of a workspace that reads analytics."""
    body = {"scopes": ["analytics:read"], "style": "tidemark"}
    made = tidemark.admin("POST", f"/admin/v1/workspaces/{workspace_id}/keys", body).raise_for_status()
    key: str = made.json()["key"]
    return key
