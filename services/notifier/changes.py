"""Gathers what changed in each workspace, so that webhooks are told at most once a second, with a cursor. Pure.

The cursor begins before the first message that is told of, and a replica that has not read as far as the last one does
not answer it yet: so reading from it shows the change, whichever replica answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.topic_names import CHANNEL_ROLLUPS, POST_ROLLUPS, TOPICS_OF_CHANGES
from services.runtime.brokers import Place
from services.runtime.cursors import CursorExpired, CursorRefused, CursorText
from services.runtime.cursors import Place as CursorPlace

MOST_OFTEN_MILLIS: Final = 1_000
"""A workspace is told of changed metrics at most once in this time."""
COUNTED: Final = (POST_ROLLUPS, CHANNEL_ROLLUPS)
# Counts of more things are no counts of ours.
_MOST_THINGS: Final = 2**53


@dataclass(slots=True)
class News:
    """What changed in a workspace and was not told yet.

    Attributes:
        at: of each topic, the offset from which it is told.
        happened_at: time of the first message, ms.
        newest_at: time of the newest message, ms: a webhook that was made or enabled before it is told.
    """

    at: tuple[int, ...]
    happened_at: int
    newest_at: int
    things: Mapping[str, set[str]] = field(default_factory=lambda: {topic: set() for topic in COUNTED})


class Gathering:
    """What changed in workspaces whose webhooks want to know."""

    def __init__(self) -> None:
        self._news: dict[str, News] = {}
        self._told_at: dict[str, int] = {}

    def add(self, workspace_id: str, topic: str, id_: str, at: tuple[int, ...], happened_at: int) -> None:
        """Note a change; `at` are offsets of the workspace's topics that are not after the change."""
        news = self._news.get(workspace_id)
        if news is None:
            news = self._news[workspace_id] = News(at, happened_at, happened_at)
        news.newest_at = max(news.newest_at, happened_at)
        news.things[topic].add(id_)

    def take(self, now: int) -> dict[str, News]:
        """The news that is to be told now, by workspace; each has then to be told."""
        # A clock that was set back must not keep news from being told.
        due = [name for name in self._news if not 0 <= now - self._told_at.get(name, 0) < MOST_OFTEN_MILLIS]
        if len(self._told_at) > 10_000:
            self._told_at = {name: at for name, at in self._told_at.items() if now - at < MOST_OFTEN_MILLIS}
        self._told_at.update(dict.fromkeys(due, now))
        return {name: self._news.pop(name) for name in due}

    def safe(self, positions: Mapping[Place, int], partition_of: Callable[[str], int]) -> dict[Place, int]:
        """The positions behind which everything was told: those of a restart, which reads the rest again."""
        safe = dict(positions)
        for workspace_id, news in self._news.items():
            partition = partition_of(workspace_id)
            for topic, offset in zip(TOPICS_OF_CHANGES, news.at, strict=True):
                place = Place(topic, partition)
                safe[place] = min(safe.get(place, offset), offset)
        return safe


def told(
    workspace_id: str, news: News, seen: tuple[int, ...], cursors: CursorText, incarnation: str, now: int
) -> Callable[[str | None], str]:
    """What a webhook is told of news: a function from the content of an untried delivery, or None, to the content.

    Args:
        seen: of each topic, the offset up to which it was read.
    """
    place = CursorPlace(news.at, seen)
    # The same for every webhook that has no untried news.
    alone: list[str] = []
    counts = {topic: len(ids) for topic, ids in news.things.items()}

    def content(before: str | None) -> str:
        at, posts, channels = place, counts[POST_ROLLUPS], counts[CHANNEL_ROLLUPS]
        if before is None and alone:
            return alone[0]
        if before is not None and (earlier := _earlier(before)) is not None:
            posts, channels = posts + earlier.posts, channels + earlier.channels
            try:
                held = cursors.read(workspace_id, earlier.cursor, now, incarnation)
            except (CursorRefused, CursorExpired):
                pass  # of topics that were made anew, or of keys that are gone: nothing can be read from there
            else:
                at = CursorPlace(tuple(map(min, held.at, place.at)), tuple(map(max, held.seen, place.seen)))
        cursor = cursors.written(workspace_id, at, now, incarnation)
        text = orjson.dumps({"cursor": cursor, "posts": posts, "channels": channels}).decode()
        if before is None:
            alone.append(text)
        return text

    return content


class _Earlier(BaseModel):
    """What an untried delivery tells already; whoever may write the topic of deliveries can write anything there."""

    model_config = ConfigDict(strict=True)

    cursor: str
    posts: int = Field(ge=0, le=_MOST_THINGS)
    channels: int = Field(ge=0, le=_MOST_THINGS)


def _earlier(content: str) -> _Earlier | None:
    """The content of an untried delivery; None where it is no content of ours."""
    try:
        return _Earlier.model_validate_json(content)
    except ValidationError:
        return None
