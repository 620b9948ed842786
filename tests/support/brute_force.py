"""A brute-force model of one workspace, to hold every surface against: it keeps all events and adds up anew. Pure.

Written apart from the services' registers, folds, windows and renderers on purpose. Answers are X's, whose two blocks
of figures make registers of several stamps; the mapping of those few fields stands here once more.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

HOUR = 3_600_000
DAY = 24 * HOUR
RANGES = {"24h": DAY, "7d": 7 * DAY, "28d": 28 * DAY}
CHANNELS = ("c1", "c2")
POSTS = ("p1", "p2", "p3")
TARGETS = ("t1", "t2", "t3", "t4", "t5")
_PUBLIC = {
    "impression_count": "impressions",
    "like_count": "likes",
    "reply_count": "comments",
    "bookmark_count": "saves",
    "quote_count": "quotes",
}
_PRIVATE = {"url_link_clicks": "clicks", "user_profile_clicks": "profile_clicks"}
METRICS = ("impressions", "likes", "comments", "shares", "quotes", "saves", "clicks", "profile_clicks")
INTERACTIONS = ("likes", "comments", "shares", "saves")

Figures = dict[str, int | None]


@dataclass(frozen=True)
class Said:
    """What one answer said of one target."""

    target_id: str
    figures: Mapping[str, int | None]
    captured_at: int
    event_id: str

    @property
    def stamp(self) -> tuple[int, bytes]:
        """What decides between answers."""
        return self.captured_at, self.event_id.encode()


@dataclass
class World:
    """One workspace: the catalog as written last, and everything that was ever said.

    Attributes:
        seed: of its steps.
        now: ms; what times are chosen around.
    """

    workspace_id: str
    seed: int
    now: int
    channels: set[str] = field(default_factory=set)
    posts: dict[str, dict[str, Any]] = field(default_factory=dict)
    said: list[Said] = field(default_factory=list)
    events: int = 0

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)

    # Steps

    def write(self) -> tuple[str, str, dict[str, Any] | None]:
        """A random catalog write: `posts` or `channels`, the id, and the body; None deletes."""
        chance = self._chance
        if chance.random() < 0.3:
            channel = chance.choice(CHANNELS)
            if chance.random() < 0.3:
                self.channels.discard(channel)
                return "channels", channel, None
            self.channels.add(channel)
            # Not active: nobody else may speak of its targets.
            return "channels", channel, {"platform": "x", "external_id": f"9{channel[1]}", "status": "disabled"}
        post = chance.choice(POSTS)
        # At the end again: the order is that of the last writes.
        self.posts.pop(post, None)
        if chance.random() < 0.15:
            return "posts", post, None
        targets = [self._target(target_id) for target_id in chance.sample(TARGETS, chance.randrange(4))]
        body = {
            "status": chance.choice(("published", "published", "published", "deleted")),
            "published_at": _iso(self._instant()),
            "targets": targets,
        }
        self.posts[post] = body
        return "posts", post, body

    def _target(self, target_id: str) -> dict[str, Any]:
        chance = self._chance
        body = {
            "target_id": target_id,
            "channel_id": chance.choice(CHANNELS),
            "status": chance.choice(("published", "published", "published", "deleted")),
            "external_id": target_id[1:],
        }
        if chance.random() < 0.4:
            body["published_at"] = _iso(self._instant())
        return body

    def _instant(self) -> int:
        """Inside, outside and within seconds of the windows' edges."""
        edge = self._chance.choice((HOUR, DAY, 7 * DAY, 28 * DAY, 40 * DAY))
        return (self.now - edge + self._chance.choice((0, 0, 5000, 20_000, -HOUR))) // 1000 * 1000

    def answer(self) -> dict[str, Any]:
        """A random raw event: X's answer for some targets, blocks and counts missing now and then."""
        chance = self._chance
        self.events += 1
        event_id = f"{chance.randrange(100):02d}-{self.workspace_id}-{self.events}"
        # Few instants, so that ids have to decide.
        captured_at = self.now - chance.randrange(6) * 60_000
        asked = chance.sample(TARGETS, chance.randrange(1, 4))
        data = []
        for target_id in asked:
            if chance.random() < 0.15:
                continue  # left out of the answer: nothing is said of it
            item: dict[str, Any] = {"id": target_id[1:]}
            figures: Figures = {}
            if chance.random() < 0.8:
                item["public_metrics"] = block = self._block((*_PUBLIC, "retweet_count"))
                figures |= {name: block.get(at) for at, name in _PUBLIC.items()}
                parts = [block[at] for at in ("retweet_count", "quote_count") if at in block]
                figures["shares"] = sum(parts) if parts else None
            if chance.random() < 0.4:
                item["non_public_metrics"] = block = self._block(tuple(_PRIVATE))
                figures |= {name: block.get(at) for at, name in _PRIVATE.items()}
            data.append(item)
            if figures:
                self.said.append(Said(target_id, figures, captured_at, event_id))
        return {
            "event_id": event_id,
            "workspace_id": self.workspace_id,
            "channel_id": chance.choice(CHANNELS),
            "platform": "x",
            "kind": "POST_METRICS",
            "endpoint": "/2/tweets",
            "request": {},
            "targets": [{"target_id": each, "post_id": "any", "external_id": each[1:]} for each in asked],
            "http_status": 200,
            "body": orjson.dumps({"data": data}),
            "captured_at": datetime.fromtimestamp(captured_at / 1000, UTC),
            "origin": "SCHEDULE",
        }

    def _block(self, names: tuple[str, ...]) -> dict[str, int]:
        """Counts by name; an empty block would say nothing, so one of them is always there."""
        kept = [name for name in names if self._chance.random() < 0.9] or [names[0]]
        return {name: self._chance.choice((0, 1, 7, 1234, 99_999)) for name in kept}

    # Numbers

    def listed(self, target_id: str) -> tuple[str, dict[str, Any]] | None:
        """A target's post and its entry there: of all where both count the one written last, on a channel held."""
        counting = [
            (post_id, entry)
            for post_id, post in self.posts.items()
            for entry in post["targets"]
            if entry["target_id"] == target_id and "deleted" not in (post["status"], entry["status"])
        ]
        if not counting or counting[-1][1]["channel_id"] not in self.channels:
            return None
        return counting[-1]

    def held_posts(self) -> list[str]:
        """Posts that read anything but 404."""
        return [post_id for post_id in POSTS if post_id in self.posts and self.posts[post_id]["status"] != "deleted"]

    def targets_of(self, post_id: str) -> list[str]:
        """A held post's counting targets, in its order."""
        entries = self.posts[post_id]["targets"]
        found = [(entry["target_id"], self.listed(entry["target_id"])) for entry in entries]
        return [target_id for target_id, held in found if held is not None and held[0] == post_id]

    def figures(self, target_id: str) -> Figures:
        """Each metric by the answer with the greatest stamp that spoke of it."""
        found: Figures = {}
        for metric in METRICS:
            speaking = [said for said in self.said if said.target_id == target_id and metric in said.figures]
            found[metric] = max(speaking, key=lambda said: said.stamp).figures[metric] if speaking else None
        return found

    def captured_at(self, target_id: str) -> int | None:
        """The freshest answer that spoke of a target, ms."""
        return max((said.captured_at for said in self.said if said.target_id == target_id), default=None)

    def published_at(self, target_id: str) -> int:
        """When a listed target went out, ms: its own time, else its post's."""
        held = self.listed(target_id)
        assert held is not None
        text = held[1].get("published_at") or self.posts[held[0]]["published_at"]
        return round(datetime.fromisoformat(text).timestamp() * 1000)

    def window(self, channel_id: str, start: int, end: int) -> tuple[str, Figures]:
        """Source and sums of a channel's window, `start` and `end` ms."""
        mine = [each for each in TARGETS if (held := self.listed(each)) and held[1]["channel_id"] == channel_id]
        if all(self.captured_at(each) is None for each in mine):
            return "none", dict.fromkeys(METRICS)
        return "posts", total([self.figures(each) for each in mine if start <= self.published_at(each) < end])

    def snapshots(self) -> Iterator[tuple[str, str]]:
        """Target and event of every row of `post_snapshots`."""
        return iter(sorted({(said.target_id, said.event_id) for said in self.said}))


def total(parts: list[Figures]) -> Figures:
    """Sums of what any part has."""
    sums: Figures = {}
    for metric in METRICS:
        known = [value for part in parts if (value := part[metric]) is not None]
        sums[metric] = sum(known) if known else None
    return sums


def engagements(figures: Figures) -> int | None:
    """The four interactions."""
    known = [value for name in INTERACTIONS if (value := figures[name]) is not None]
    return sum(known) if known else None


def rate(figures: Figures) -> float | None:
    """Engagements an impression; X reports neither reach nor views."""
    shown, done = figures["impressions"], engagements(figures)
    return done / shown if shown and done is not None else None


def total_rate(parts: list[Figures]) -> float | None:
    """Over several targets: of those that have a rate, all engagements over all impressions."""
    counted = [(engagements(part), part["impressions"]) for part in parts if rate(part) is not None]
    shown = sum(impressions or 0 for _, impressions in counted)
    return sum(done or 0 for done, _ in counted) / shown if shown else None


def _iso(instant: int) -> str:
    return datetime.fromtimestamp(instant / 1000, UTC).isoformat()
