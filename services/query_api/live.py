"""Answers live questions: the poller asks the platforms, and their answers are merged over the stored figures.

In: questions. Out: answers with the freshest figures that arrived before the deadline; other targets show their last
snapshot. The merge follows the aggregator's rules, so a live answer equals what is stored a moment later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

from schemas.events import ChannelStatus, PlatformRaw, PollerReply, PullKind, PullTarget
from services.query_api.directory import Directory
from services.query_api.errors import ReadsUnavailable
from services.query_api.fairness import TooManyAtOnce, Turns
from services.query_api.flights import Flights
from services.query_api.observability import LIVE
from services.query_api.reads.dispatch import Dispatch
from services.query_api.reads.query import (
    PUBLISHED,
    Account,
    AccountQuestion,
    Answered,
    Health,
    HealthQuestion,
    LivePostQuestion,
    Post,
    Question,
    ReadModel,
    Target,
)
from services.runtime.clock import Clock

# Requests to the poller at once, in all and of one workspace. A question without a turn is answered from storage.
_MOST_PULLS, _MOST_PULLS_EACH = 64, 8
_TURN_SECONDS = 0.5
_UNASKED = frozenset({ChannelStatus.DISABLED, ChannelStatus.REVOKED})


class Pulled(NamedTuple):
    """The reply to a request to the poller.

    Attributes:
        events: answers of platforms, in the order in which they came.
        done: the last part of the reply; None when the deadline came first.
    """

    events: Sequence[PlatformRaw]
    done: PollerReply | None


class Link(Protocol):
    """The way to the poller; see `services.query_api.poller_link.PollerLink`."""

    async def ask(
        self, kind: PullKind, workspace_id: str, *, channel_id: str = "", targets: Sequence[PullTarget] = ()
    ) -> Pulled | None:
        """Ask the poller, and wait for its answers until the deadline; None when no poller takes the request."""


class StoredReads(ReadModel, Protocol):
    """A read model that merges fresh answers over what is stored."""

    async def post_with(self, workspace_id: str, post: Post, events: Sequence[PlatformRaw]) -> Post:
        """The post with its targets' figures from the answers merged in."""

    async def account_with(self, question: AccountQuestion, events: Sequence[PlatformRaw]) -> Account | None:
        """The account with the figures from the answers merged in; live when the answers hold any."""


class LiveReads:
    """A read model that asks the platforms for live questions, and passes all other questions on."""

    def __init__(self, stored: StoredReads, link: Link, directory: Directory, clock: Clock) -> None:
        self._stored = stored
        self._link = link
        self._directory = directory
        self._clock = clock
        self._flights = Flights()
        self._turns = Turns(_MOST_PULLS, _MOST_PULLS_EACH, seconds=_TURN_SECONDS)
        self._live = Dispatch(
            LivePostQuestion.answered_by(self._post),
            AccountQuestion.answered_by(self._account),
            HealthQuestion.answered_by(self._health),
        )

    async def answer(self, question: Question[Answered]) -> Answered | None:
        """The answer to a question; None when the channel or post does not exist, as in `query.ReadModel`."""
        if question not in self._live:
            return await self._stored.answer(question)
        # A health question names its instant, which is left out here: questions of one moment share one answer.
        key: Hashable = (
            (HealthQuestion, question.workspace_id, question.channel_id)
            if isinstance(question, HealthQuestion)
            else question
        )
        return await self._flights.share(key, partial(self._live.answer, question))

    async def _post(self, question: LivePostQuestion) -> Post | None:
        post = await self._stored.answer(question)
        if post is None:
            return None
        targets = [_pull(post, target) for target in post.targets if self._is_asked(question.workspace_id, target)]
        if not targets:
            return post
        pulled = await self._pull(PullKind.TARGETS, question.workspace_id, targets=targets)
        if pulled is None or not pulled.events:
            return post
        return await self._stored.post_with(question.workspace_id, post, pulled.events)

    def _is_asked(self, workspace_id: str, target: Target) -> bool:
        channel = self._directory.get(workspace_id, target.channel_id)
        return (
            target.status == PUBLISHED
            and bool(target.external_id)
            and channel is not None
            and channel.status == ChannelStatus.ACTIVE
        )

    async def _account(self, question: AccountQuestion) -> Account | None:
        # Storage is read at the same time, so that the snapshot is there when it is needed.
        reading = asyncio.ensure_future(self._stored.answer(question))
        reading.add_done_callback(_seen)
        try:
            channel = self._directory.get(question.workspace_id, question.channel_id)
            if channel is not None and channel.status == ChannelStatus.ACTIVE:
                pulled = await self._pull(PullKind.ACCOUNT, question.workspace_id, channel_id=question.channel_id)
                if pulled is not None and pulled.events:
                    return await self._stored.account_with(question, pulled.events)
            return await reading
        finally:
            reading.cancel()

    async def _health(self, question: HealthQuestion) -> Health | None:
        channel = self._directory.get(question.workspace_id, question.channel_id)
        if channel is not None and ChannelStatus(channel.status) not in _UNASKED:
            pulled = await self._pull(PullKind.HEALTH, question.workspace_id, channel_id=question.channel_id)
            done = pulled.done if pulled is not None else None
            # A poller that did not ask the platform may still know a newer status than this process's catalog.
            if done is not None and (done.is_live or done.error_code is not None):
                return Health(
                    channel_id=channel.channel_id,
                    platform=channel.platform,
                    is_healthy=done.error_code is None,
                    status=done.status or channel.status,
                    error_code=done.error_code,
                    token_expires_at=done.token_expires_at,
                    is_live=done.is_live,
                    checked_at=self._clock.now(),
                )
        return await self._stored.answer(question)

    async def _pull(
        self, kind: PullKind, workspace_id: str, *, channel_id: str = "", targets: Sequence[PullTarget] = ()
    ) -> Pulled | None:
        """Ask the poller at the workspace's turn; None when no turn comes in time, or no poller answers."""
        try:
            async with self._turns.turn(workspace_id):
                pulled = await self._link.ask(kind, workspace_id, channel_id=channel_id, targets=targets)
        except (ReadsUnavailable, TooManyAtOnce):
            LIVE.labels(kind.value, "busy").inc()
            return None
        outcome = "no_poller" if pulled is None else "done" if pulled.done is not None else "deadline"
        LIVE.labels(kind.value, outcome).inc()
        return pulled


def _seen(reading: asyncio.Future[Any]) -> None:
    """Retrieve the task's outcome, which nobody else does when there is a live answer."""
    if not reading.cancelled():
        reading.exception()


def _pull(post: Post, target: Target) -> PullTarget:
    return PullTarget(
        target_id=target.target_id,
        channel_id=target.channel_id,
        post_id=post.post_id,
        external_id=target.external_id,
        post_type=target.post_type,
        published_at=target.published_at,
        is_story=target.is_story,
    )
