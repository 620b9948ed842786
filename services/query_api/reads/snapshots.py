"""Snapshots of targets, each with the target's own part of the platform's answer, read a few payloads at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from functools import partial
from time import time
from typing import Any, NamedTuple

import orjson

from schemas.events import CatalogChannel, PlatformRaw
from schemas.metrics import Values
from services.platforms import platform
from services.platforms.json_reading import Parsed
from services.query_api.directory import Directory
from services.query_api.fairness import Desk
from services.query_api.reads import own, sql
from services.query_api.reads.account_answers import shown_bytes
from services.query_api.reads.clickhouse import ClickHouse
from services.query_api.reads.own import OwnReads
from services.query_api.reads.parts import NOTHING, Answer, KeptParts, until_full
from services.query_api.reads.patience import Patience
from services.query_api.reads.payloads import ANSWER_BYTES, batches
from services.query_api.reads.query import (
    Post,
    PostHistory,
    PostHistoryQuestion,
    PostQuestion,
    Snapshot,
    SnapshotsQuestion,
)
from services.query_api.reads.raw_events import raw_event
from services.runtime.clock import MILLIS_PER_DAY
from services.runtime.logging import get_logger

log = get_logger(__name__)

# An answer is full after so many bytes of payloads have been read for it, too: of each, a part may be shown that is
# next to nothing.
_READ_BYTES = 4 * ANSWER_BYTES
_SNAPSHOT_BYTES = 500


class _Stood(NamedTuple):
    """A target as it stood at one answer."""

    event_id: str
    target_id: str
    captured_at: int
    values: Values


class ReadSnapshots(NamedTuple):
    """Snapshots, and the bytes of their parts."""

    snapshots: tuple[Snapshot, ...] = ()
    part_bytes: int = 0

    @property
    def held_bytes(self) -> int:
        """The memory of all, roughly."""
        return self.part_bytes + _SNAPSHOT_BYTES * len(self.snapshots)


class SnapshotReads:
    """Answers the questions about snapshots.

    Args:
        desk: where payloads are read.
        post: finds a post's latest figures.
        kept: what was read of payloads lately.
        own_reads: the API's own store, which knows the channels of targets; None where there is none.
        late: snapshots that were read lately; None keeps none.
    """

    def __init__(
        self,
        clickhouse: ClickHouse,
        directory: Directory,
        desk: Desk,
        post: Callable[[PostQuestion], Awaitable[Post | None]],
        kept: KeptParts,
        own_reads: OwnReads | None = None,
        late: Patience[ReadSnapshots] | None = None,
    ) -> None:
        self._clickhouse = clickhouse
        self._directory = directory
        self._desk = desk
        self._post = post
        self._kept = kept
        self._own = own_reads
        self._late = late or Patience(0)

    async def of_workspace(self, question: SnapshotsQuestion) -> tuple[Snapshot, ...] | None:
        """A workspace's newest snapshots, or one channel's; None when the channel is not there."""
        if question.channel_id is not None and self._directory.get(question.workspace_id, question.channel_id) is None:
            return None
        read: list[ReadSnapshots] = []

        async def load() -> dict[Hashable, ReadSnapshots]:
            read.append(await self._read_workspace(question))
            return {key: read[0]}

        key = SnapshotsQuestion, question.workspace_id, question.channel_id, _days(question.since), question.limit
        found = (await self._late.get([key], load, question.workspace_id))[key].snapshots
        if read:
            return found
        # Read a moment ago: what was deleted or moved since is not shown.
        owners = await self._owners(question.workspace_id, sorted({snapshot.target_id for snapshot in found}))
        return tuple(
            snapshot
            for snapshot in found
            if snapshot.captured_at >= question.since
            and owners.get(snapshot.target_id) == snapshot.channel_id
            and self._directory.get(question.workspace_id, snapshot.channel_id) is not None
        )

    async def _read_workspace(self, question: SnapshotsQuestion) -> ReadSnapshots:
        rows = await self._clickhouse.rows(
            "workspace_snapshots",
            sql.WORKSPACE_SNAPSHOTS,
            {
                "workspace": question.workspace_id,
                "channel": question.channel_id or "",
                "since": question.since,
                "limit": question.limit,
            },
        )
        stood = _stood(rows)
        if not stood:
            return ReadSnapshots()
        owners = await self._owners(question.workspace_id, sorted({row.target_id for row in stood}))
        channels = {
            target_id: channel
            for target_id, channel_id in owners.items()
            if (channel := self._directory.get(question.workspace_id, channel_id)) is not None
        }
        return await self._with_parts(question.workspace_id, stood, channels)

    async def _owners(self, workspace_id: str, target_ids: Sequence[str]) -> dict[str, str]:
        """The channel of each target, by the catalog; a target that no post lists is left out."""
        if self._own is None:
            return await self._clickhouse_owners(workspace_id, target_ids)
        owners: dict[str, str] = {}
        for first in range(0, len(target_ids), own.AT_ONCE):
            some = target_ids[first : first + own.AT_ONCE]
            owners |= await self._own.first(
                partial(own.channels_of_targets, workspace_id=workspace_id, ids=some),
                partial(self._clickhouse_owners, workspace_id, some),
            )
            await asyncio.sleep(0)
        return owners

    async def _clickhouse_owners(self, workspace_id: str, target_ids: Sequence[str]) -> dict[str, str]:
        parameters = {"workspace": workspace_id, "targets": list(target_ids)}
        return dict(await self._clickhouse.rows("target_channels", sql.TARGET_CHANNELS, parameters))

    async def of_post(self, question: PostHistoryQuestion) -> PostHistory | None:
        """A post with its snapshots; None when the post is not there."""
        post = await self._post(PostQuestion(question.workspace_id, question.post_id))
        if post is None:
            return None
        channels = {
            target.target_id: channel
            for target in post.targets
            if (channel := self._directory.get(question.workspace_id, target.channel_id)) is not None
        }
        if not channels:
            return PostHistory(post, {})
        key = PostHistoryQuestion, question.workspace_id, tuple(channels), _days(question.since), question.limit

        async def load() -> dict[Hashable, ReadSnapshots]:
            return {key: await self._read_targets(question, channels)}

        snapshots: dict[str, list[Snapshot]] = {}
        for snapshot in (await self._late.get([key], load, question.workspace_id))[key].snapshots:
            if (
                snapshot.captured_at >= question.since
                and channels[snapshot.target_id].channel_id == snapshot.channel_id
            ):
                snapshots.setdefault(snapshot.target_id, []).append(snapshot)
        return PostHistory(post, snapshots)

    async def _read_targets(
        self, question: PostHistoryQuestion, channels: Mapping[str, CatalogChannel]
    ) -> ReadSnapshots:
        rows = await self._clickhouse.rows(
            "target_snapshots",
            sql.TARGET_SNAPSHOTS,
            {
                "workspace": question.workspace_id,
                "targets": list(channels),
                "since": question.since,
                "limit": question.limit,
            },
        )
        return await self._with_parts(question.workspace_id, _stood(rows), channels)

    async def _with_parts(
        self, workspace_id: str, stood: Sequence[_Stood], channels: Mapping[str, CatalogChannel]
    ) -> ReadSnapshots:
        """Rows whose target has a channel, each with its own part of the answer, until the answer is full.

        What is left out are the oldest rows: "up to" so many is what the lists promise.
        """
        shown = [row for row in stood if row.target_id in channels]
        targets_by_event: dict[str, list[str]] = {}
        for row in shown:
            targets_by_event.setdefault(row.event_id, []).append(row.target_id)
        answers = await self._answers(workspace_id, targets_by_event)
        snapshots: list[Snapshot] = []
        part_bytes = 0
        for row in shown:
            answer = answers.get(row.event_id)
            part = None if answer is None else answer.parts[row.target_id]
            if part is None:
                break
            if snapshots and part_bytes + len(part) > ANSWER_BYTES:
                break
            part_bytes += len(part)
            snapshots.append(
                Snapshot(
                    event_id=row.event_id,
                    target_id=row.target_id,
                    channel_id=channels[row.target_id].channel_id,
                    captured_at=row.captured_at,
                    values=row.values,
                    part=orjson.Fragment(part),
                )
            )
        return ReadSnapshots(tuple(snapshots), part_bytes)

    async def _answers(self, workspace_id: str, targets_by_event: Mapping[str, Sequence[str]]) -> dict[str, Answer]:
        """What answers said of targets, by event, until there is no more room."""
        found: dict[str, Answer] = {}
        for event_id, targets in targets_by_event.items():
            kept = self._kept.get(workspace_id, event_id, targets)
            if kept is not None:
                found[event_id] = kept
        order = list(targets_by_event)
        missing = [event_id for event_id in order if event_id not in found]
        async for event_ids, _ in batches(self._clickhouse, workspace_id, missing):
            before = order[: order.index(event_ids[0])]
            taken = [answer for _, answer in until_full(before, found, _READ_BYTES, ANSWER_BYTES)]
            room = ANSWER_BYTES - sum(answer.held_bytes for answer in taken)
            if len(taken) < len(before) or room < 0 or sum(answer.size_bytes for answer in taken) > _READ_BYTES:
                break
            rows = await self._clickhouse.rows(
                "raw_events", sql.RAW_EVENTS, {"workspace": workspace_id, "events": event_ids}
            )
            wanted = {event_id: targets_by_event[event_id] for event_id in event_ids}
            # Off the loop: payloads are large, and hot reads go on meanwhile.
            fetched = await self._desk.run(workspace_id, _parts, workspace_id, rows, wanted, room)
            for event_id, answer in fetched.items():
                self._kept.put(workspace_id, event_id, answer)
            # Of an answer that retention has deleted nothing is shown.
            found |= {event_id: Answer(0, dict.fromkeys(targets, NOTHING)) for event_id, targets in wanted.items()}
            found |= fetched
        return dict(until_full(order, found, _READ_BYTES, ANSWER_BYTES))


def _days(since: int) -> int:
    """How many days back an instant, ms, is: questions of one moment ask for whole days."""
    return round((time() * 1000 - since) / MILLIS_PER_DAY)


def _stood(rows: Iterable[list[Any]]) -> list[_Stood]:
    return [_Stood(event_id, target_id, at, tuple(values)) for event_id, target_id, at, values in rows]


def _parts(
    workspace_id: str, rows: Iterable[list[Any]], targets_by_event: Mapping[str, Sequence[str]], most_bytes: int
) -> dict[str, Answer]:
    """Each target's own part of each answer as JSON, by event; what can't be read counts as nothing.

    Args:
        targets_by_event: in the order in which they are shown.
        most_bytes: what comes after more than this is None.
    """
    found: dict[str, Answer] = {}
    held = 0
    order = {event_id: place for place, event_id in enumerate(targets_by_event)}
    for event in sorted((raw_event(workspace_id, row) for row in rows), key=lambda event: order[event.event_id]):
        places = {target.target_id: place for place, target in enumerate(event.targets)}
        parts: dict[str, bytes | None] = {}
        with Parsed():
            for target_id in targets_by_event[event.event_id]:
                part: bytes | None = None
                if held <= most_bytes:
                    part = _part(event, places.get(target_id)) or NOTHING
                    held += len(part)
                parts[target_id] = part
        found[event.event_id] = Answer(len(event.body), parts)
    return found


def _part(event: PlatformRaw, place: int | None) -> bytes | None:
    if place is None:
        return None
    try:
        return shown_bytes(platform(event.platform).part(event, place))
    except Exception as error:  # one strange payload must not take the whole list away
        log.warning("part of a payload can't be read", platform=event.platform, error=type(error).__name__)
        return None
