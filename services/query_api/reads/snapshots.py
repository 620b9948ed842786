"""Snapshots of targets, each with the target's own part of the platform's answer, read a few payloads at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from schemas.events import CatalogChannel
from schemas.metrics import Values
from services.platforms import platform
from services.platforms.json_reading import parsed_once
from services.query_api.directory import Directory
from services.query_api.fairness import Desk
from services.query_api.reads import sql
from services.query_api.reads.account_answers import shown_bytes
from services.query_api.reads.clickhouse import ClickHouse
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
from services.runtime.logging import get_logger

log = get_logger(__name__)

# An answer is full after so many bytes of payloads have been read for it, too: of each, a part may be shown that is
# next to nothing.
_READ_BYTES = 4 * ANSWER_BYTES


class _Stood(NamedTuple):
    """A target as it stood at one answer."""

    event_id: str
    target_id: str
    captured_at: int
    values: Values


class SnapshotReads:
    """Answers the questions about snapshots.

    Args:
        desk: where payloads are read.
        post: finds a post's latest figures.
    """

    def __init__(
        self,
        clickhouse: ClickHouse,
        directory: Directory,
        desk: Desk,
        post: Callable[[PostQuestion], Awaitable[Post | None]],
    ) -> None:
        self._clickhouse = clickhouse
        self._directory = directory
        self._desk = desk
        self._post = post

    async def of_workspace(self, question: SnapshotsQuestion) -> tuple[Snapshot, ...] | None:
        """A workspace's newest snapshots, or one channel's; None when the channel is not there."""
        if question.channel_id is not None and self._directory.get(question.workspace_id, question.channel_id) is None:
            return None
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
            return ()
        owners = await self._clickhouse.rows(
            "target_channels",
            sql.TARGET_CHANNELS,
            {"workspace": question.workspace_id, "targets": sorted({row.target_id for row in stood})},
        )
        channels = {
            target_id: channel
            for target_id, channel_id in owners
            if (channel := self._directory.get(question.workspace_id, channel_id)) is not None
        }
        return await self._with_parts(question.workspace_id, stood, channels)

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
        snapshots: dict[str, list[Snapshot]] = {}
        for snapshot in await self._with_parts(question.workspace_id, _stood(rows), channels):
            snapshots.setdefault(snapshot.target_id, []).append(snapshot)
        return PostHistory(post, snapshots)

    async def _with_parts(
        self, workspace_id: str, stood: Sequence[_Stood], channels: Mapping[str, CatalogChannel]
    ) -> tuple[Snapshot, ...]:
        """Rows whose target has a channel, each with its own part of the answer, until the answer is full.

        What is left out are the oldest rows: "up to" so many is what the lists promise.
        """
        shown = [row for row in stood if row.target_id in channels]
        targets_by_event: dict[str, list[str]] = {}
        for row in shown:
            targets_by_event.setdefault(row.event_id, []).append(row.target_id)
        parts: dict[tuple[str, str], bytes | None] = {}
        read: set[str] = set()
        read_bytes = held_bytes = 0
        async for event_ids, size in batches(self._clickhouse, workspace_id, list(targets_by_event)):
            if read and (read_bytes + size > _READ_BYTES or held_bytes > ANSWER_BYTES):
                break
            rows = await self._clickhouse.rows(
                "raw_events", sql.RAW_EVENTS, {"workspace": workspace_id, "events": event_ids}
            )
            # Off the loop: payloads are large, and hot reads go on meanwhile.
            found = await self._desk.run(
                workspace_id, _parts, workspace_id, rows, targets_by_event, ANSWER_BYTES - held_bytes
            )
            parts |= found
            read.update(event_ids)
            read_bytes += size
            held_bytes += sum(len(part) for part in found.values() if part is not None)
        snapshots: list[Snapshot] = []
        room = ANSWER_BYTES
        for row in shown:
            part = parts.get((row.event_id, row.target_id), b"{}")
            if part is None or row.event_id not in read:
                break
            room -= len(part)
            if snapshots and room < 0:
                break
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
        return tuple(snapshots)


def _stood(rows: Iterable[list[Any]]) -> list[_Stood]:
    return [_Stood(event_id, target_id, at, tuple(values)) for event_id, target_id, at, *values in rows]


def _parts(
    workspace_id: str, rows: Iterable[list[Any]], targets_by_event: Mapping[str, Sequence[str]], most_bytes: int
) -> dict[tuple[str, str], bytes | None]:
    """Each target's own part of each answer as JSON, by event and target; what can't be read is left out.

    Args:
        targets_by_event: in the order in which they are shown.
        most_bytes: what comes after more than this is None.
    """
    found: dict[tuple[str, str], bytes | None] = {}
    held = 0
    order = {event_id: place for place, event_id in enumerate(targets_by_event)}
    for event in sorted((raw_event(workspace_id, row) for row in rows), key=lambda event: order[event.event_id]):
        places = {target.target_id: place for place, target in enumerate(event.targets)}
        with parsed_once():
            for target_id in targets_by_event[event.event_id]:
                place = places.get(target_id)
                if place is None:
                    continue
                if held > most_bytes:
                    found[event.event_id, target_id] = None
                    continue
                try:
                    part = shown_bytes(platform(event.platform).part(event, place))
                except Exception as error:  # one strange payload must not take the whole list away
                    log.warning("part of a payload can't be read", platform=event.platform, error=type(error).__name__)
                    continue
                if part is not None:
                    found[event.event_id, target_id] = part
                    held += len(part)
    return found
