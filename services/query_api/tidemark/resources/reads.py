"""Reads posts, targets and channels, many in one query; answers are read only if they must explain unknown figures."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from operator import is_
from typing import Any

from schemas.events import CatalogChannel, PlatformRaw, TargetOrigin
from schemas.registers import Register, load_groups
from schemas.tiers import MILLIS_PER_DAY, rule_of
from schemas.values import read_targets
from services.query_api.reads import own
from services.query_api.reads.payloads import ANSWER_BYTES, batches
from services.query_api.reads.raw_events import raw_event
from services.query_api.reads.sources import Sources
from services.query_api.reads.sql import RAW_EVENTS
from services.query_api.store.reading import View
from services.query_api.store.records import StoredPost
from services.query_api.tidemark.resources import sql
from services.query_api.tidemark.resources.due import is_past
from services.query_api.tidemark.resources.evidence import (
    KnownMeaning,
    Meaning,
    PlatformAnswer,
    PlatformCall,
    is_telling,
    meaning,
    newest_to_each,
    understood,
)
from services.query_api.tidemark.resources.reasons import channel_needs_answers, may_be_refused_apart, needs_answers
from services.query_api.tidemark.resources.states import (
    ChannelState,
    Evidence,
    PeriodState,
    PostState,
    TargetState,
    new_post,
    new_target,
)
from services.query_api.tidemark.resources.stored import stored_post

# Targets that are still polled are asked about at least once a day; the longer time allows for late polls.
_ANSWERS_SINCE = 3 * MILLIS_PER_DAY
# The most calls of one round: a member's post on LinkedIn takes one call for each metric.
_MOST_ANSWERS = 16
# The bodies of at most this many answers are read, failed answers first; of further answers the status alone counts.
_MOST_BODIES = 200
_MOST_BODY_BYTES = 2 * ANSWER_BYTES
_PERIODS = 100
# More rows are parsed in a thread: a page of posts has a thousand rows and takes tens of ms.
_ROWS_ON_THE_LOOP = 100


class ResourceReads:
    """Reads the states of one workspace at one instant.

    Args:
        now: ms.
        is_of_many: whether as many bodies of answers are read as each post or channel alone would have read, where it
            is one of many; else as many as one reply may have read.
    """

    def __init__(self, sources: Sources, workspace_id: str, now: int, *, is_of_many: bool = False) -> None:
        self._store = sources.store
        self._own = sources.own_reads
        self._explanations = sources.explanations
        self._known_calls, self._known_meanings = sources.calls, sources.meanings
        self._desk = sources.desk
        self._directory = sources.directory
        self._workspace_id = workspace_id
        self._now = now
        self._is_of_many = is_of_many

    async def posts(self, ids: Sequence[str]) -> dict[str, PostState]:
        """Posts by id; one that is not there is left out."""
        return await self.explained(await self._look_up(ids, own.posts, self._clickhouse_posts))

    async def stored_posts(self, ids: Sequence[str]) -> list[PostState]:
        """Posts by id as ClickHouse has them, whatever the API's own store says, not explained yet."""
        return await self._clickhouse_posts(ids)

    async def explained(self, posts: Sequence[PostState]) -> dict[str, PostState]:
        """Posts by id, with the answers that explain their unknown figures."""
        before = [target for post in posts for target in post.targets]
        explained = await self._explained(before)
        if all(map(is_, before, explained)):
            return {post.post_id: post for post in posts}
        # By position, which takes a fraction of the time of `_replace`; targets come last.
        targets = iter(explained)
        return {post.post_id: new_post((*post[:-1], tuple(islice(targets, len(post.targets))))) for post in posts}

    async def targets(self, ids: Sequence[str]) -> dict[str, TargetState]:
        """Targets by id; ids that don't exist are left out."""
        wanted = set(ids)
        states = await self._look_up(ids, own.posts_of_targets, self._clickhouse_targets)
        targets = await self._explained(
            [target for post in states for target in post.targets if target.target_id in wanted]
        )
        return {target.target_id: target for target in targets}

    async def channels(self, ids: Sequence[str]) -> dict[str, ChannelState]:
        """Channels by id; ids that don't exist are left out."""
        held = (self._directory.get(self._workspace_id, id_) for id_ in ids)
        return await self.figured([channel for channel in held if channel is not None])

    async def figured(self, known: Sequence[CatalogChannel]) -> dict[str, ChannelState]:
        """Channels by id with their figures, and with the answers that explain unknown ones."""
        if not known:
            return {}
        names = [channel.channel_id for channel in known]
        rows = await self._rows("tidemark_channels", sql.CHANNEL_FIGURES, ids=names, limit=_PERIODS)
        periods: dict[str, list[PeriodState]] = {}
        for channel_id, period, start, end, captured_at, groups, *values in rows:
            register = Register(load_groups(groups), tuple(values), captured_at)
            periods.setdefault(channel_id, []).append(PeriodState(period, start, end, register))
        states = [ChannelState(channel, tuple(periods.get(channel.channel_id, ()))) for channel in known]
        unexplained = [state for state in states if channel_needs_answers(state)]
        evidence = await self._channel_answers(unexplained)
        return {
            state.channel.channel_id: replace(state, evidence=evidence.get(state.channel.channel_id, ()))
            for state in states
        }

    async def _look_up(
        self,
        ids: Sequence[str],
        look_up: Callable[[View, str, Sequence[str]], Mapping[str, StoredPost]],
        otherwise: Callable[[Sequence[str]], Awaitable[list[PostState]]],
    ) -> list[PostState]:
        """Posts out of the API's own store, some at a time, else out of ClickHouse; one may come twice."""
        if self._own is None:
            return await otherwise(ids)
        states: list[PostState] = []
        for first in range(0, len(ids), own.AT_ONCE):
            some = ids[first : first + own.AT_ONCE]
            states += await self._own.first(partial(self._own_states, look_up, some), partial(otherwise, some))
            await asyncio.sleep(0)
        return states

    def _own_states(
        self,
        look_up: Callable[[View, str, Sequence[str]], Mapping[str, StoredPost]],
        ids: Sequence[str],
        view: View,
    ) -> list[PostState]:
        found = look_up(view, self._workspace_id, ids)
        return [stored_post(self._workspace_id, post, self._directory.get) for post in found.values()]

    async def _clickhouse_posts(self, ids: Sequence[str]) -> list[PostState]:
        return await self._states(await self._rows("tidemark_posts", sql.POSTS, ids=list(ids)))

    async def _clickhouse_targets(self, ids: Sequence[str]) -> list[PostState]:
        return await self._states(await self._rows("tidemark_targets", sql.TARGETS, ids=list(ids)))

    async def _rows(self, name: str, text: str, **parameters: Any) -> list[list[Any]]:
        return await self._store.rows(name, text, {"workspace": self._workspace_id, **parameters})

    async def _states(self, rows: Sequence[list[Any]]) -> list[PostState]:
        if len(rows) <= _ROWS_ON_THE_LOOP:
            return self._read_states(rows)
        return await self._desk.run(self._workspace_id, self._read_states, rows)

    def _read_states(self, rows: Iterable[list[Any]]) -> list[PostState]:
        catalog: list[list[Any]] = []
        registers: dict[tuple[str, str], Register] = {}
        for is_figures, subject, *rest in rows:
            if is_figures:
                post_id, *_, groups, captured_at = rest[:6]
                registers[(post_id, subject)] = Register(load_groups(groups), tuple(rest[6:]), captured_at)
            else:
                catalog.append([subject, *rest[:5]])
        return [self._post(row, registers) for row in catalog]

    def _post(self, row: Sequence[Any], registers: Mapping[tuple[str, str], Register]) -> PostState:
        post_id, status, created_at, published_at, updated_at, targets = row
        return PostState(
            post_id,
            status,
            created_at,
            published_at,
            updated_at,
            tuple(
                TargetState(
                    target_id=held["target_id"],
                    post_id=post_id,
                    channel=channel,
                    post_type=held["post_type"],
                    status=held["status"],
                    external_id=held["external_id"],
                    permalink=held["permalink"],
                    published_at=held["published_at"] if held["published_at"] is not None else published_at,
                    is_story=held["is_story"],
                    parent_target_id=held["parent_target_id"],
                    updated_at=updated_at,
                    register=register,
                    content=held.get("content"),
                    origin=held.get("origin", TargetOrigin.PRODUCT.value),
                )
                for held in read_targets(targets)
                # A target that a newer post listed belongs to the newer post.
                if (register := registers.get((post_id, held["target_id"]))) is not None
                and (channel := self._channel(held["channel_id"])) is not None
            ),
        )

    def _channel(self, channel_id: str) -> CatalogChannel | None:
        return self._directory.get(self._workspace_id, channel_id)

    async def _explained(self, targets: Sequence[TargetState]) -> list[TargetState]:
        """Targets in their order, with `is_newest` and with the answers that explain unknown figures."""
        placed = await self._placed(targets)
        unexplained = [target for target in placed if needs_answers(target, self._now)]
        evidence = await self._target_evidence(unexplained)
        if not evidence:
            return placed
        return [
            target._replace(evidence=evidence[target.target_id]) if target.target_id in evidence else target
            for target in placed
        ]

    async def _placed(self, targets: Sequence[TargetState]) -> list[TargetState]:
        """Targets with `is_newest`, which counts on platforms where only a channel's newest posts are polled."""
        rules = {platform: rule_of(platform) for platform in {target.channel.platform for target in targets}}
        ranked = {platform: rule for platform, rule in rules.items() if rule.newest is not None}
        if not ranked:
            return list(targets)
        newest: set[tuple[str, str]] = set()
        limited: dict[tuple[int, int], set[str]] = {}
        for target in targets:
            rule = ranked.get(target.channel.platform)
            if rule is not None and rule.newest is not None and not is_past(target, rule, self._now):
                limited.setdefault((rule.newest, rule.tiers[-1][0]), set()).add(target.channel.channel_id)
        for (count, until), channels in limited.items():
            newest |= await self._newest(sorted(channels), self._now - until, count)
        return [
            target
            if target.channel.platform not in ranked or (target.channel.channel_id, target.target_id) in newest
            else new_target((*target[:-2], False, ()))  # by position, as above
            for target in targets
        ]

    async def _newest(self, channels: Sequence[str], since: int, count: int) -> set[tuple[str, str]]:
        """The newest targets of channels, each with its channel."""

        async def ask_clickhouse() -> set[tuple[str, str]]:
            rows = await self._rows(
                "tidemark_newest_targets", sql.NEWEST_TARGETS, channels=channels, since=since, newest=count
            )
            return {(channel_id, target_id) for channel_id, target_id in rows}

        def from_store(view: View) -> set[tuple[str, str]]:
            return {
                (channel_id, target_id)
                for channel_id in channels
                for target_id in view.newest_targets(self._workspace_id, channel_id, since, count)
            }

        # What subscribers are told is not older than any message before: the store may be between two messages of one
        # transaction, of which one moves a target out and the other brings the newer one.
        if self._own is None or self._is_of_many:
            return await ask_clickhouse()
        return await self._own.first(from_store, ask_clickhouse)

    async def _target_evidence(self, targets: Sequence[TargetState]) -> Mapping[str, tuple[Evidence, ...]]:
        """The answers that explain unknown figures, by target; for replies they may be a few seconds old."""
        # What subscribers are told is not told again.
        if self._is_of_many or not targets:
            return await self._target_answers(targets)

        async def load() -> dict[Hashable, tuple[Evidence, ...]]:
            found = await self._target_answers(targets)
            return {key: found.get(target_id, ()) for target_id, key in keys.items()}

        keys = {target.target_id: (self._workspace_id, target.target_id) for target in targets}
        told = await self._explanations.get(list(keys.values()), load)
        return {target_id: told[key] for target_id, key in keys.items() if told[key]}

    async def _target_answers(self, targets: Sequence[TargetState]) -> dict[str, tuple[Evidence, ...]]:
        if not targets:
            return {}
        # What such a platform refuses is asked for anew once a day, between many answers to other questions.
        apart = {target.target_id for target in targets if may_be_refused_apart(target)}
        rows: list[list[Any]] = []
        for statement, some in (
            (sql.TARGET_ANSWERS, [target for target in targets if target.target_id not in apart]),
            (sql.TARGET_ANSWERS_BY_QUESTION, [target for target in targets if target.target_id in apart]),
        ):
            owners = {target.target_id: target.channel.channel_id for target in some}
            if owners:
                rows += await self._rows(
                    "tidemark_target_answers",
                    statement,
                    ids=list(owners),
                    owners=list(owners.values()),
                    channels=sorted(set(owners.values())),
                    since=self._now - _ANSWERS_SINCE,
                    limit=_MOST_ANSWERS,
                )
        # Most have no such answer.
        answered = {row[0] for row in rows}
        told = [target for target in targets if target.target_id in answered]
        spoke = {target.target_id: _spoke([target.register]) for target in told}
        return await self._evidence(rows, spoke, {target.target_id: target.post_id for target in told}, apart)

    async def _channel_answers(self, channels: Sequence[ChannelState]) -> dict[str, tuple[Evidence, ...]]:
        if not channels:
            return {}
        rows = await self._rows(
            "tidemark_channel_answers",
            sql.CHANNEL_ANSWERS,
            channels=[state.channel.channel_id for state in channels],
            since=self._now - _ANSWERS_SINCE,
            limit=_MOST_ANSWERS,
        )
        spoke = {state.channel.channel_id: _spoke(period.register for period in state.periods) for state in channels}
        return await self._evidence(rows, spoke, {channel_id: channel_id for channel_id in spoke})

    async def _evidence(
        self,
        rows: Iterable[list[Any]],
        spoke: Mapping[str, Mapping[str, int]],
        parts_of: Mapping[str, str],
        refused_apart: Collection[str] = (),
    ) -> dict[str, tuple[Evidence, ...]]:
        """The meanings of the newest answers, by target or channel id.

        Args:
            spoke: for each target or channel, the events that its figures come from, with their times (ms).
            parts_of: the post of each target; of a channel, itself.
            refused_apart: targets of which a good answer may have refused what is unknown.
        """
        answers: dict[str, list[PlatformAnswer]] = {}
        for subject, *answer in rows:
            answers.setdefault(subject, []).append(PlatformAnswer(*answer))
        telling = {
            subject: held
            for subject, held in answers.items()
            if is_telling(held, spoke[subject], looks_back=subject in refused_apart)
        }
        asked = await self._calls({answer.event_id for held in telling.values() for answer in held})
        newest = {subject: newest_to_each(held, asked, subject) for subject, held in telling.items()}
        unread: dict[str, list[PlatformAnswer]] = {}
        for subject, held in newest.items():
            whole = parts_of[subject] if self._is_of_many else ""
            unread.setdefault(whole, []).extend(answer for answer in held if answer.event_id not in spoke[subject])
        meanings = await self._meanings(
            list(dict.fromkeys(id_ for some in unread.values() for id_ in _first_to_read(some)))
        )
        return {
            subject: tuple(understood(answer, subject, meanings) for answer in newest.get(subject, held))
            for subject, held in answers.items()
        }

    async def _calls(self, event_ids: Collection[str]) -> dict[str, PlatformCall]:
        found: dict[str, PlatformCall] = self._known_calls.known(self._workspace_id, event_ids)
        ids = sorted(event_id for event_id in event_ids if event_id not in found)
        if not ids:
            return found
        rows = await self._rows("tidemark_requests", sql.REQUESTS, ids=ids)
        read = {
            event_id: PlatformCall(endpoint, request, dict(zip(targets, externals, strict=True)))
            for event_id, endpoint, request, targets, externals in rows
        }
        self._known_calls.put(self._workspace_id, read)
        return found | read

    async def _meanings(self, event_ids: Sequence[str]) -> dict[str, Meaning]:
        known: dict[str, KnownMeaning] = self._known_meanings.known(self._workspace_id, event_ids)
        unknown = [event_id for event_id in event_ids if event_id not in known]
        read_bytes = sum(held.body_bytes for held in known.values())
        async for ids, size in batches(self._store, self._workspace_id, unknown):
            if read_bytes > _MOST_BODY_BYTES and not self._is_of_many:
                break
            events = await self.events(ids)
            # In a thread: payloads are large, and other reads go on meanwhile.
            read = await self._desk.run(self._workspace_id, _meanings, events, self._now)
            self._known_meanings.put(self._workspace_id, read)
            known.update(read)
            read_bytes += size
        return {event_id: held.meaning for event_id, held in known.items()}

    async def events(self, event_ids: Sequence[str]) -> list[PlatformRaw]:
        """Raw events of these ids, unordered; events that are no longer stored are left out."""
        rows = await self._rows("tidemark_events", RAW_EVENTS, events=list(event_ids))
        return [raw_event(self._workspace_id, row) for row in rows]


def _first_to_read(answers: list[PlatformAnswer]) -> list[str]:
    """The answers whose bodies are read, by id: failed ones first, then the newest."""
    ordered = sorted(answers, key=lambda answer: (not answer.failed, -answer.captured_at, answer.event_id))
    return list(dict.fromkeys(answer.event_id for answer in ordered))[:_MOST_BODIES]


def _spoke(registers: Iterable[Register]) -> dict[str, int]:
    """The ids of the events that figures come from, with their times (ms)."""
    return {stamp.event_id.decode(): stamp.captured_at for register in registers for stamp, _ in register.groups}


def _meanings(events: Iterable[PlatformRaw], now: int) -> dict[str, KnownMeaning]:
    return {event.event_id: KnownMeaning(meaning(event, now), len(event.body)) for event in events}
