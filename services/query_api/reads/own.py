"""Posts, targets and windows out of the query API's own store, and whoever answers where the store can't.

The store answers while it is as new as the topics. Otherwise ClickHouse does, and where ClickHouse does not answer
either, the store as it is: better old than nothing, with its age.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from time import monotonic
from typing import Any, TypeVar

from schemas.events import CatalogChannel
from services.query_api.directory import Directory
from services.query_api.errors import ReadsUnavailable
from services.query_api.observability import STORE
from services.query_api.reads.query import ChannelScores, Post, Target
from services.query_api.reads.scores import SCORED_METRICS, SPAN, Scored, channel_scores, weights
from services.query_api.store.handle import Store, StoreUnavailable
from services.query_api.store.ordering import Placed
from services.query_api.store.reading import Incomplete, View
from services.query_api.store.records import StoredPost

Found = TypeVar("Found")
ChannelOf = Callable[[str, str], CatalogChannel | None]
"""A channel by workspace and id, of the channels in memory or of a snapshot; None where it is not there."""
# As that of `records.StoredTarget`: half the time of the class's constructor.
_new_target: Callable[[tuple[Any, ...]], Target] = partial(tuple.__new__, Target)
_new_post: Callable[[tuple[Any, ...]], Post] = partial(tuple.__new__, Post)
# The fields with which both a target in the store and one of a reply begin.
_SHOWN = Target._fields.index("values") + 1
_CHANNEL = Target._fields.index("channel_id")
# After an old answer, so long replies say how old they may be.
_STALE_SECONDS = 5.0
# Looked up without giving way: a page of 500 takes some milliseconds.
AT_ONCE = 100
SCORED_AT_ONCE = 200
"""A channel's targets that are compared without giving way, and without a task: some milliseconds."""
MOST_SCORED = 2_000
"""Scores of channels with more are ClickHouse's: there a read takes less of a processor."""


class OwnReads:
    """Reads of the store, or of whoever stands in for it.

    Args:
        on_stale: told before an old answer is given: nothing that is being made now may be kept.
    """

    def __init__(self, store: Store, on_stale: Callable[[], None] = lambda: None) -> None:
        self._store = store
        self._on_stale = on_stale
        self._stale_until = float("-inf")

    @property
    def stale_seconds(self) -> float:
        """How old replies may be, as the store had to answer though it was not current; 0 where it had not lately."""
        return self._store.silent_seconds if monotonic() < self._stale_until else 0.0

    async def first(self, read: Callable[[View], Found], otherwise: Callable[[], Awaitable[Found]]) -> Found:
        """What the store says, else what ClickHouse says.

        Raises:
            ReadsUnavailable: neither answers.
        """
        try:
            with self._store.view() as view:
                found = read(view)
        except (StoreUnavailable, Incomplete):
            pass
        else:
            STORE.labels("store").inc()
            return found
        try:
            found = await otherwise()
        except ReadsUnavailable:
            try:
                with self._store.view(is_current=False) as view:
                    found = read(view)
            except (StoreUnavailable, Incomplete):
                pass
            else:
                STORE.labels("old").inc()
                self._on_stale()
                self._stale_until = monotonic() + _STALE_SECONDS
                return found
            raise
        STORE.labels("clickhouse").inc()
        return found

    async def only(self, read: Callable[[View], Found]) -> Found | None:
        """What the store says; None where it can't, and the caller asks ClickHouse another question instead."""
        return await self.first(read, _nothing)


async def _nothing() -> None:
    """No other answer."""


def post(view: View, directory: Directory, workspace_id: str, post_id: str) -> Post | None:
    """A post as replies need it; None where it is not there."""
    read = view.read_post(workspace_id, post_id)
    if read is None:
        return None
    status, created_at, published_at, updated_at, stored = read
    # What a reply needs of a target begins with what is stored of it.
    channel_of = directory.get
    targets: list[Target] = []
    for target in stored:
        channel = channel_of(workspace_id, target[_CHANNEL])
        if channel is not None:
            more = channel.platform, channel.username, post_id
            targets.append(_new_target(target[:_SHOWN] + more))
    return _new_post((post_id, status, created_at, published_at, updated_at, tuple(targets)))


def posts(view: View, workspace_id: str, ids: Sequence[str]) -> dict[str, StoredPost]:
    """Posts by id; one that is not there is left out."""
    found = ((id_, view.post(workspace_id, id_)) for id_ in ids)
    return {id_: stored for id_, stored in found if stored is not None}


def posts_of_targets(view: View, workspace_id: str, ids: Sequence[str]) -> dict[str, StoredPost]:
    """The posts of targets, by post id; a target that no post lists is left out."""
    of_posts = dict.fromkeys(post_id for id_ in ids if (post_id := view.post_of(workspace_id, id_)) is not None)
    return posts(view, workspace_id, list(of_posts))


def post_scores(view: View, workspace_id: str, channel_ids: Iterable[str], end: int) -> dict[str, ChannelScores] | None:
    """The scores of channels' posts, compared at `end`, ms; None where they are more than `SCORED_AT_ONCE`."""
    found: dict[str, ChannelScores] = {}
    room = SCORED_AT_ONCE
    for channel_id in channel_ids:
        placed = view.published_targets(workspace_id, channel_id, end - SPAN, end, room)
        if placed is None:
            return None
        room -= len(placed)
        found[channel_id] = channel_scores(scored(view, workspace_id, placed))
    return found


def scored(view: View, workspace_id: str, placed: Sequence[Placed]) -> list[Scored]:
    """What a channel's scores are made of: of some of its targets the published, measured ones."""
    return [
        Scored(each.target_id, *weights(*[values[metric] for metric in SCORED_METRICS]))
        for each in placed
        if each.is_out and (values := view.measured(workspace_id, each)) is not None
    ]


def channels_of_targets(view: View, workspace_id: str, ids: Sequence[str]) -> dict[str, str]:
    """The channel id of each target; a target that no post lists is left out."""
    wanted = set(ids)
    return {
        target.target_id: target.channel_id
        for post in posts_of_targets(view, workspace_id, ids).values()
        for target in post.targets
        if target.target_id in wanted
    }
