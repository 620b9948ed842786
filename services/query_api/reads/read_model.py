"""Answers the questions of `query` from ClickHouse and the channels in memory; simultaneous look-ups share one query.

A cache of answers stands in front of `ReadModel.answer`, with questions as its keys.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import orjson

from schemas.events import PlatformRaw, PostStatus
from schemas.metrics import NO_POST_VALUES, POST_METRICS, Values
from schemas.registers import Register, load_groups
from schemas.values import read_targets
from schemas.windows import (
    DAY,
    FOLLOWERS,
    LONGEST_RANGE,
    NATIVE_MAX_AGE,
    RANGES,
    ChannelPeriod,
    WindowTarget,
    WindowTotals,
    window_totals,
)
from services.query_api.cache import LONGEST_SECONDS, AnswerCache, channel_tag, channels_tag
from services.query_api.directory import Directory
from services.query_api.fairness import Desk
from services.query_api.observability import QUERY_KEYS
from services.query_api.reads import own, sql
from services.query_api.reads.account_reads import AccountReads
from services.query_api.reads.batching import Batcher
from services.query_api.reads.clickhouse import ClickHouse
from services.query_api.reads.dispatch import Dispatch
from services.query_api.reads.merging import merge_targets, with_register
from services.query_api.reads.own import OwnReads
from services.query_api.reads.parts import KeptParts
from services.query_api.reads.patience import Patience
from services.query_api.reads.query import (
    Account,
    AccountHistoryQuestion,
    AccountQuestion,
    Answered,
    ChannelScores,
    ChannelWindow,
    ChannelWindowQuestion,
    HealthQuestion,
    LivePostQuestion,
    Post,
    PostHistoryQuestion,
    PostQuestion,
    PostScores,
    PostScoresQuestion,
    Question,
    SnapshotsQuestion,
    Target,
    TargetQuestion,
    WindowTotalsQuestion,
)
from services.query_api.reads.scores import SPAN, Scored, channel_scores, weights
from services.query_api.reads.single import SingleQuestions
from services.query_api.reads.snapshots import ReadSnapshots, SnapshotReads
from services.query_api.reads.window_rows import WindowRow, shown_window, stored_window
from services.runtime.logging import get_logger

log = get_logger(__name__)

_METRICS = len(POST_METRICS)
_WINDOW_BYTES = 800


class _PostRow(NamedTuple):
    """A post as stored: catalog columns, targets, and figures by target id, which are None before its first totals."""

    status: str
    created_at: int | None
    published_at: int | None
    updated_at: int
    targets: list[dict[str, Any]]
    figures: dict[str, tuple[int | None, Values]] | None


@dataclass(frozen=True, slots=True)
class _WindowRowQuestion(Question[WindowRow]):
    """The totals of a channel's window that ends at `end`, ms, computed from the registers."""

    channel_id: str
    range: str
    end: int


class ClickHouseReadModel:
    """The read model on ClickHouse.

    Args:
        desk: where payloads are read.
        windows: keeps the totals of channels' windows while no target enters or leaves; None keeps none.
        own_reads: the API's own store, which is asked first; None where there is none.
        parts: keeps what answers said of targets; None keeps none.
        late: keeps snapshots that were read lately, for when newer ones take too long; None keeps none.
    """

    def __init__(
        self,
        clickhouse: ClickHouse,
        directory: Directory,
        windows: AnswerCache[WindowRow] | None = None,
        desk: Desk | None = None,
        own_reads: OwnReads | None = None,
        parts: KeptParts | None = None,
        late: Patience[ReadSnapshots] | None = None,
    ) -> None:
        self._own = own_reads
        self._clickhouse = clickhouse
        self._desk = desk or Desk()
        self._directory = directory
        self._kept_windows = windows
        self._posts: Batcher[tuple[str, str], _PostRow] = Batcher(self._load_posts, owner=_first)
        self._windows: Batcher[tuple[str, str, str], WindowRow] = Batcher(self._load_windows, owner=_first)
        self._accounts = AccountReads(clickhouse, directory, self._desk)
        snapshots = SnapshotReads(clickhouse, directory, self._desk, self._post, parts or KeptParts(0), own_reads, late)
        # Lists, and windows that no stored row covers.
        self._single = SingleQuestions(
            SnapshotsQuestion.answered_by(snapshots.of_workspace),
            PostHistoryQuestion.answered_by(snapshots.of_post),
            AccountQuestion.answered_by(self._accounts.account),
            _WindowRowQuestion.answered_by(self._compute_window),
        )
        self._scores: Batcher[tuple[str, str, int], ChannelScores] = Batcher(
            self._load_scores, max_keys=1, max_loads=6, max_loads_each=2, linger_seconds=0, owner=_first
        )
        self._target_posts: Batcher[tuple[str, str], str] = Batcher(self._load_target_posts, owner=_first)
        self._answers = Dispatch(
            PostQuestion.answered_by(self._post),
            LivePostQuestion.answered_by(self._post),
            TargetQuestion.answered_by(self._target),
            PostScoresQuestion.answered_by(self._post_scores),
            ChannelWindowQuestion.answered_by(self._window),
            WindowTotalsQuestion.answered_by(self._window_totals),
            SnapshotsQuestion.answered_by(self._single.answer),
            PostHistoryQuestion.answered_by(self._single.answer),
            AccountQuestion.answered_by(self._single.answer),
            # Not shared between requests: a long history is read further while it is sent.
            AccountHistoryQuestion.answered_by(self._accounts.history),
            HealthQuestion.answered_by(self._accounts.health),
        )

    async def answer(self, question: Question[Answered]) -> Answered | None:
        """See `query.ReadModel`."""
        return await self._answers.answer(question)

    async def post_with(self, workspace_id: str, post: Post, events: Sequence[PlatformRaw]) -> Post:
        """See `live.StoredReads`."""
        target_ids = sorted({target.target_id for event in events for target in event.targets})
        if self._own is None:
            stored = await self._registers(workspace_id, target_ids)
        else:
            stored = await self._own.first(
                lambda view: {
                    target.target_id: target.register
                    for held in own.posts_of_targets(view, workspace_id, target_ids).values()
                    for target in held.targets
                },
                lambda: self._registers(workspace_id, target_ids),
            )
        # Off the loop: payloads are large.
        merged = await self._desk.run(workspace_id, merge_targets, stored, events)
        return post._replace(
            targets=tuple(
                with_register(target, merged[target.target_id]) if target.target_id in merged else target
                for target in post.targets
            ),
        )

    async def _registers(self, workspace_id: str, target_ids: Sequence[str]) -> dict[str, Register]:
        rows = await self._clickhouse.rows(
            "target_registers", sql.TARGET_REGISTERS, {"workspace": workspace_id, "targets": target_ids}
        )
        return {
            target_id: Register(load_groups(groups), tuple(values), captured_at)
            for target_id, groups, captured_at, *values in rows
        }

    async def account_with(self, question: AccountQuestion, events: Sequence[PlatformRaw]) -> Account | None:
        """See `live.StoredReads`."""
        return await self._accounts.account(question, events)

    async def _post(self, question: PostQuestion | LivePostQuestion) -> Post | None:
        if self._own is None:
            return await self._clickhouse_post(question)
        return await self._own.first(
            lambda view: own.post(view, self._directory, question.workspace_id, question.post_id),
            lambda: self._clickhouse_post(question),
        )

    async def _clickhouse_post(self, question: PostQuestion | LivePostQuestion) -> Post | None:
        row = await self._posts.get((question.workspace_id, question.post_id))
        if row is None:
            return None
        return Post(
            post_id=question.post_id,
            status=row.status,
            created_at=row.created_at,
            published_at=row.published_at,
            updated_at=row.updated_at,
            targets=tuple(self._targets(question.workspace_id, question.post_id, row)),
        )

    def _targets(self, workspace_id: str, post_id: str, row: _PostRow) -> Iterable[Target]:
        for held in row.targets:
            channel = self._directory.get(workspace_id, held["channel_id"])
            if channel is None or held["status"] == PostStatus.DELETED:
                continue
            if row.figures is not None and held["target_id"] not in row.figures:
                continue  # a newer post lists this target
            captured_at, values = (row.figures or {}).get(held["target_id"], (None, NO_POST_VALUES))
            yield Target(
                target_id=held["target_id"],
                channel_id=channel.channel_id,
                platform=channel.platform,
                username=channel.username,
                post_type=held["post_type"],
                status=held["status"],
                external_id=held["external_id"],
                permalink=held["permalink"],
                published_at=held["published_at"] if held["published_at"] is not None else row.published_at,
                content=held["content"],
                is_story=held["is_story"],
                parent_target_id=held["parent_target_id"],
                detail=held["detail"],
                captured_at=captured_at,
                values=values,
                post_id=post_id,
            )

    async def _load_posts(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], _PostRow]:
        QUERY_KEYS.labels("posts").observe(len(keys))
        found: dict[tuple[str, str], _PostRow] = {}
        figures: dict[tuple[str, str], str] = {}
        for row in await self._clickhouse.rows("posts", sql.POSTS, {"keys": list(keys)}):
            is_figures, workspace_id, post_id, status, created_at, published_at, updated_at, targets = row
            key = (workspace_id, post_id)
            if is_figures:
                figures[key] = targets
            else:
                found[key] = _PostRow(status, created_at, published_at, updated_at, read_targets(targets), None)
        for key, text in figures.items():
            if key in found:
                told = orjson.loads(text)
                of_targets = {each["target_id"]: (each["captured_at"], tuple(each["values"])) for each in told}
                found[key] = found[key]._replace(figures=of_targets)
        return found

    async def _target(self, question: TargetQuestion) -> Target | None:
        key = (question.workspace_id, question.target_id)
        if self._own is None:
            post_id = await self._target_posts.get(key)
        else:
            post_id = await self._own.first(lambda view: view.post_of(*key), lambda: self._target_posts.get(key))
        if post_id is None:
            return None
        post = await self._post(PostQuestion(question.workspace_id, post_id))
        targets = () if post is None else post.targets
        return next((target for target in targets if target.target_id == question.target_id), None)

    async def _load_target_posts(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
        QUERY_KEYS.labels("target_posts").observe(len(keys))
        rows = await self._clickhouse.rows("target_posts", sql.TARGET_POSTS, {"keys": list(keys)})
        return {(workspace_id, target_id): post_id for workspace_id, target_id, post_id in rows}

    async def _post_scores(self, question: PostScoresQuestion) -> PostScores | None:
        post = await self._post(PostQuestion(question.workspace_id, question.post_id))
        if post is None:
            return None
        channel_ids = list(dict.fromkeys(target.channel_id for target in post.targets))
        scores = await asyncio.gather(
            *(self._scores.get((question.workspace_id, channel_id, question.end)) for channel_id in channel_ids)
        )
        return PostScores(post, {c: held for c, held in zip(channel_ids, scores, strict=True) if held is not None})

    async def _load_scores(self, keys: Sequence[tuple[str, str, int]]) -> dict[tuple[str, str, int], ChannelScores]:
        ((workspace_id, channel_id, end),) = keys
        if self._own is not None:
            scores = await self._own_scores(self._own, workspace_id, channel_id, end)
            if scores is not None:
                return {keys[0]: scores}
        rows = await self._clickhouse.rows(
            "scored_targets",
            sql.SCORED_TARGETS,
            {"workspace": workspace_id, "channel": channel_id, "start": end - SPAN, "end": end},
        )
        # In a thread, since a channel may have published thousands of posts.
        return {keys[0]: await self._desk.run(workspace_id, _scores, rows)}

    async def _own_scores(
        self, own_reads: OwnReads, workspace_id: str, channel_id: str, end: int
    ) -> ChannelScores | None:
        """A channel's scores out of the store, some targets at a time; None where ClickHouse has to be asked."""
        span = end - SPAN, end, own.MOST_SCORED
        placed = await own_reads.only(lambda view: view.published_targets(workspace_id, channel_id, *span))
        if placed is None:
            return None
        scored: list[Scored] = []
        for first in range(0, len(placed), own.SCORED_AT_ONCE):
            some = placed[first : first + own.SCORED_AT_ONCE]
            found = await own_reads.only(partial(own.scored, workspace_id=workspace_id, placed=some))
            if found is None:
                return None
            scored += found
            await asyncio.sleep(0)
        return await self._desk.run(workspace_id, channel_scores, scored)

    async def _window(self, question: ChannelWindowQuestion) -> ChannelWindow | None:
        channel = self._directory.get(question.workspace_id, question.channel_id)
        if channel is None:
            return None
        row = await self._window_row(question)
        return shown_window(question, channel, row)

    async def _window_row(self, question: ChannelWindowQuestion) -> WindowRow:
        key = (question.workspace_id, question.channel_id, question.range)
        if self._own is None:
            return await self._clickhouse_window(question)
        row = await self._own.first(lambda view: stored_window(view, *key), lambda: self._clickhouse_window(question))
        if row is not None and row.is_exact_at(question.end):
            return row
        # Not told yet, or a target entered or left since.
        return await self._clickhouse_window(question)

    async def _clickhouse_window(self, question: ChannelWindowQuestion) -> WindowRow:
        key = (question.workspace_id, question.channel_id, question.range)
        cache = self._kept_windows
        held = cache.get(key) if cache is not None else None
        if held is not None and held.value.is_exact_at(question.end):
            return held.value
        began_at = cache.now() if cache is not None else 0.0
        row = await self._windows.get(key)
        if row is None or not row.is_exact_at(question.end):
            row = await self._single.answer(_WindowRowQuestion(*key, question.end))
            assert row is not None
        if cache is not None:
            tags = (channel_tag(*key[:2]), channels_tag(question.workspace_id))
            cache.put(key, row, tags=tags, size_bytes=_WINDOW_BYTES, began_at=began_at, seconds=LONGEST_SECONDS)
        return row

    async def _load_windows(self, keys: Sequence[tuple[str, str, str]]) -> dict[tuple[str, str, str], WindowRow]:
        QUERY_KEYS.labels("channel_windows").observe(len(keys))
        rows = await self._clickhouse.rows("channel_windows", sql.CHANNEL_WINDOWS, {"keys": list(keys)})
        return {
            (workspace_id, channel_id, length): WindowRow._make([*rest[:9], tuple(rest[9:])])
            for workspace_id, channel_id, length, *rest in rows
        }

    async def _window_totals(self, question: WindowTotalsQuestion) -> WindowTotals | None:
        known = self._directory.get(question.workspace_id, question.channel_id) is not None
        return await self._totals_of(question) if known else None

    async def _compute_window(self, question: _WindowRowQuestion) -> WindowRow:
        """Compute the totals from registers: the stored row is missing, or a target has entered or left since."""
        totals = await self._totals_of(question)
        return WindowRow(
            source=totals.source,
            start=totals.start,
            end=totals.end,
            valid_from=totals.valid_from,
            valid_until=totals.valid_until,
            engagements=totals.engagements,
            views_or_impressions=totals.views_or_impressions,
            impressions_or_views=totals.impressions_or_views,
            followers=totals.values[FOLLOWERS],
            values=totals.values[:_METRICS],
        )

    async def _totals_of(self, question: _WindowRowQuestion | WindowTotalsQuestion) -> WindowTotals:
        length = RANGES[question.range]
        where = {"workspace": question.workspace_id, "channel": question.channel_id}
        # A platform's own window may have ended a while ago, and posts are summed within its bounds.
        span = {"start": question.end - length - NATIVE_MAX_AGE - DAY, "end": question.end}
        oldest = {"oldest": question.end - LONGEST_RANGE - NATIVE_MAX_AGE}
        targets, measured, periods = await asyncio.gather(
            self._clickhouse.rows("window_targets", sql.WINDOW_TARGETS, {**where, **span}),
            self._clickhouse.rows("channel_measured", sql.CHANNEL_MEASURED, where),
            self._clickhouse.rows("channel_periods", sql.CHANNEL_PERIODS, {**where, **oldest}),
        )
        return window_totals(
            [WindowTarget(published_at, tuple(values)) for published_at, *values in targets],
            [ChannelPeriod(period, start, end, tuple(values)) for period, start, end, *values in periods],
            length,
            question.end,
            is_measured=bool(measured),
        )


def _first(key: tuple[Any, ...]) -> Hashable:
    held: Hashable = key[0]
    return held


def _scores(rows: Iterable[list[Any]]) -> ChannelScores:
    return channel_scores([Scored(target_id, *weights(*values)) for target_id, *values in rows])
