"""Tenants with normal traffic and their models: what each surface may show, and how late it is. No client here.

A tenant publishes one event after the other, and every event makes a state. A read must show one of these states; it is
late by the time since the next state was published.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, Protocol

import orjson

from tests.support.brute_force import METRICS, POSTS, Figures, World, engagements, total

# States that are kept: more than any reader can be late.
KEPT_STATES = 3000
_NOTHING: Figures = dict.fromkeys(METRICS)
# Its shares are without the quotes, which X counts among them.
_POSTFLOW = {
    "likes": "likes", "shares": "shares", "quotes": "quotes", "replies": "comments", "saves": "saves",
    "post_link_clicks": "clicks", "user_profile_clicks": "profile_clicks",
}  # fmt: skip
_OPENPOST = ("impressions", "likes", "comments", "shares")
_POSTFUZE = ("impressions", "likes", "comments", "shares", "saves", "clicks")

By = Mapping[str, Figures]


@dataclass
class State:
    """Figures by target after an event.

    Attributes:
        published_at: monotonic seconds, just before Kafka was given the event.
    """

    figures: By
    published_at: float


@dataclass(frozen=True)
class Read:
    """One request of a product.

    Attributes:
        shown: what a reply shows, to be compared with `expected` of a state; None where only the status is judged.
        status: what the catalog says.
    """

    product: str
    path: str
    status: int = 200
    shown: Callable[[Any], Any] | None = None
    expected: Callable[[By], Any] | None = None


class Tenant(Protocol):
    """What traffic is made of."""

    workspace: str
    history: History

    def answer(self) -> dict[str, Any]:
        """The next event, its state noted."""
        ...

    def reads(self) -> list[Read]:
        """Reads over all products."""
        ...


class History:
    """The states that a tenant went through, newest last; written by one thread, read by another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: deque[State] = deque([State({}, time.monotonic())], KEPT_STATES)

    def add(self, figures: By) -> None:
        """A state that an event is about to make."""
        with self._lock:
            self._states.append(State(figures, time.monotonic()))

    @property
    def newest(self) -> By:
        """The figures that were published last."""
        return self._states[-1].figures

    def lateness(self, asked_at: float, shown: Any, expected: Callable[[By], Any]) -> float | None:
        """Seconds by which an answer is late, 0 when the state shown was the last; None for figures of no state."""
        with self._lock:
            states = list(self._states)
        superseded_at: float | None = None
        for state in reversed(states):
            if expected(state.figures) == shown:
                return 0.0 if superseded_at is None else max(0.0, asked_at - superseded_at)
            superseded_at = state.published_at
        return None


class RandomTenant:
    """A workspace of the brute-force model: X's answers in random order, a catalog that stands.

    Args:
        now: ms.
    """

    def __init__(self, workspace: str, seed: int, now: int) -> None:
        self.workspace = workspace
        self.world = World(workspace, seed, now)
        self.history = History()
        self._stamps: dict[tuple[str, str], tuple[int, bytes]] = {}

    def writes(self) -> list[tuple[str, str, dict[str, Any] | None]]:
        """The catalog: random writes until there is something to read."""
        made = []
        for number in itertools.count():
            assert number < 5000, "the model makes no catalog to read"
            made.append(self.world.write())
            held = self.world.held_posts()
            if number > 20 and len(held) > 1 and all(self.world.targets_of(post) for post in held):
                break
        return made

    def answer(self) -> dict[str, Any]:
        """A random answer of now."""
        world = self.world
        world.now = int(time.time() * 1000)
        before = len(world.said)
        event = world.answer()
        figures = dict(self.history.newest)
        for said in world.said[before:]:
            held = dict(figures.get(said.target_id, _NOTHING))
            for metric, value in said.figures.items():
                place = (said.target_id, metric)
                if said.stamp > self._stamps.get(place, (-1, b"")):
                    self._stamps[place] = said.stamp
                    held[metric] = value
            figures[said.target_id] = held
        self.history.add(figures)
        return event

    def reads(self) -> list[Read]:
        """Every post on every product."""
        found: list[Read] = []
        held = self.world.held_posts()
        for post in POSTS:
            paths = {
                "postme": f"/api/v1/posts/{post}/insights",
                "PostFlow": f"/v1/posts/{post}/metrics",
                "OpenPost": f"/v1/analytics/post/{post}",
                "tidemark": f"/tidemark/v1/posts/{post}",
                "PostFuze": f"/api/v1/posts/{post}/analytics",
            }
            if post not in held:
                found += [Read(product, path, 404) for product, path in paths.items() if product != "PostFuze"]
                continue
            targets = self.world.targets_of(post)
            for product, path in paths.items():
                found.append(Read(product, path, 200, _SHOWN[product], _expected(product, targets)))
            found += [
                Read("PowerPost", f"/api/v1/post-items/{each}/analytics", 200, _powerpost_shown, _powerpost(each))
                for each in targets
            ]
        for channel in sorted(self.world.channels):
            found.append(Read("postme", f"/api/v1/channels/{channel}/insights?range=7d"))
            found.append(Read("OpenPost", f"/v1/analytics?days=30&integration_id={channel}"))
        return found


class CountingTenant:
    """A workspace with a post on each of some platforms, whose likes only grow."""

    ACCOUNTS: ClassVar = {
        "bluesky": "did:plc:hostilehostilehostilehos",
        "youtube": "UChostilehostilehostile",
        "x": "4711",
    }

    def __init__(self, workspace: str) -> None:
        self.workspace = workspace
        self.history = History()
        self._rounds = itertools.count(1)

    def answer(self) -> dict[str, Any]:
        """The next answer, each platform in turn."""
        likes = next(self._rounds)
        platform = list(self.ACCOUNTS)[likes % len(self.ACCOUNTS)]
        bodies: dict[str, tuple[str, Any]] = {
            "bluesky": ("/xrpc/app.bsky.feed.getPosts", {"posts": [{"uri": "bluesky-1", "likeCount": likes}]}),
            "youtube": (
                "/youtube/v3/videos",
                {"items": [{"id": "youtube-1", "statistics": {"likeCount": str(likes)}}]},
            ),
            "x": ("/2/tweets", {"data": [{"id": "x-1", "public_metrics": {"like_count": likes}}]}),
        }
        endpoint, body = bodies[platform]
        event = {
            "event_id": f"{self.workspace}-{likes}",
            "workspace_id": self.workspace,
            "channel_id": f"c-{platform}",
            "platform": platform,
            "kind": "POST_METRICS",
            "endpoint": endpoint,
            "request": {"part": "statistics"},
            "targets": [{"target_id": f"t-{platform}", "post_id": f"p-{platform}", "external_id": f"{platform}-1"}],
            "http_status": 200,
            "body": orjson.dumps(body),
            "captured_at": datetime.now(UTC),
            "origin": "SCHEDULE",
        }
        self.history.add({**self.history.newest, f"t-{platform}": {**_NOTHING, "likes": likes}})
        return event

    def reads(self) -> list[Read]:
        """Each post on each product: its likes."""
        found: list[Read] = []
        for platform in self.ACCOUNTS:
            post, target = f"p-{platform}", f"t-{platform}"

            def likes(by: By, target: str = target) -> int:
                return by.get(target, _NOTHING)["likes"] or 0

            found += [
                Read("postme", f"/api/v1/posts/{post}/insights", 200, lambda body: body["totals"]["likes"], likes),
                Read("PostFlow", f"/v1/posts/{post}/metrics", 200, lambda body: body[0]["likes"] or 0, likes),
                Read("OpenPost", f"/v1/analytics/post/{post}", 200, _openpost_likes, likes),
                Read("tidemark", f"/tidemark/v1/posts/{post}", 200, lambda body: body["metrics"]["likes"] or 0, likes),
                Read(
                    "tidemark", f"/tidemark/v1/targets/{target}", 200, lambda body: body["metrics"]["likes"] or 0, likes
                ),
                Read("PostFuze", f"/api/v1/posts/{post}/analytics", 200, _postfuze_likes, likes),
                Read("PowerPost", f"/api/v1/post-items/{target}/analytics", 200, _powerpost_likes, likes),
                Read("postme", f"/api/v1/channels/c-{platform}/insights?range=24h"),
            ]
        return [*found, Read("tidemark", "/tidemark/v1/posts?limit=10"), Read("OpenPost", "/v1/analytics?days=30")]


def _openpost_likes(body: Any) -> Any:
    return body["data"]["totals"]["likes"]


def _postfuze_likes(body: Any) -> Any:
    return sum(row["likes"] or 0 for row in body["metrics_by_account"])


def _powerpost_likes(body: Any) -> Any:
    return body["metrics"]["likes"] if body["metrics"] else 0


def _zeroed(figures: Figures, names: tuple[str, ...]) -> dict[str, int]:
    return {name: figures[name] or 0 for name in names}


def _postme(figures: Figures) -> dict[str, int]:
    shown = _zeroed(figures, ("impressions", "likes", "comments", "shares", "saves"))
    # X has no views: impressions stand in for them.
    return shown | {"views": shown["impressions"], "reach": 0, "engagements": engagements(figures) or 0}


def _postflow(figures: Figures) -> dict[str, int]:
    shown = {at: figures[name] or 0 for at, name in _POSTFLOW.items()}
    return shown | {"shares": max(0, shown["shares"] - shown["quotes"])}


def _powerpost_shown(body: Any) -> Any:
    return body["metrics"] and {name: body["metrics"][name] for name in ("views", "likes", "comments")}


def _powerpost(target: str) -> Callable[[By], Any]:
    def expected(by: By) -> Any:
        if target not in by:
            return None
        figures = by[target]
        return {"views": figures["impressions"] or 0, **_zeroed(figures, ("likes", "comments"))}

    return expected


_SHOWN: dict[str, Callable[[Any], Any]] = {
    "postme": lambda body: {name: body["totals"][name] for name in _postme(_NOTHING)},
    "PostFlow": lambda body: [(row["id"], {at: row[at] or 0 for at in _POSTFLOW}) for row in body],
    "OpenPost": lambda body: body["data"]["totals"],
    "tidemark": lambda body: {name: body["metrics"][name] for name in METRICS},
    "PostFuze": lambda body: [
        (row["target_id"], {at: row[at] or 0 for at in _POSTFUZE}) for row in body["metrics_by_account"]
    ],
}


def _expected(product: str, targets: list[str]) -> Callable[[By], Any]:
    """What a product shows of a post with these targets."""

    def of(by: By, target: str) -> Figures:
        return by.get(target, _NOTHING)

    def summed(by: By) -> Figures:
        return total([of(by, each) for each in targets])

    makers: dict[str, Callable[[By], Any]] = {
        "postme": lambda by: _postme(summed(by)),
        "PostFlow": lambda by: [(each, _postflow(of(by, each))) for each in targets],
        "OpenPost": lambda by: _zeroed(summed(by), _OPENPOST),
        "tidemark": summed,
        "PostFuze": lambda by: [(each, _zeroed(by[each], _POSTFUZE)) for each in targets if each in by],
    }
    return makers[product]
