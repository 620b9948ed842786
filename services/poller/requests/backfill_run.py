"""Runs one backfill: reads what it is about, sends its parts to the workspace's poller, and repeats what was not done.

The poller that owns the workspace asks the platforms (`backfill.py`); here nothing is asked, and no token is held.

What is done is never written down apart: answers of origin BACKFILL since the job was begun tell it, so a run that is
killed loses nothing, and the next one goes on with what no answer speaks of.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from schemas.codec import Codec, MalformedEvent, RecordCodec
from schemas.conversions import instant as instant_of
from schemas.events import (
    BackfillJob,
    CatalogChannel,
    CatalogPost,
    ChannelStatus,
    Origin,
    PlatformRaw,
    PollerReply,
    PollerRequest,
    PullKind,
    ReplyKind,
)
from schemas.keys import checked_key, parsed_key
from schemas.topic_names import BACKFILLS, CHANNELS, POST_ROLLUPS, POSTS, RAW, REPLIES, REQUESTS
from services.platforms import all_platforms
from services.poller.partitions.captures import tolerant
from services.poller.publisher import KafkaPublisher, Room
from services.poller.reader import Fold, TopicReader
from services.poller.requests.backfill import CONCURRENCY, INACTIVE
from services.poller.requests.backfill_plan import Done, Part, parts_of
from services.runtime.brokers import Record
from services.runtime.clock import SystemClock
from services.runtime.kafka import key, partition_of
from services.runtime.registry import Registry
from services.runtime.settings import KafkaSettings, RegistrySettings

TOPICS = (CHANNELS, POSTS, POST_ROLLUPS, RAW, REQUESTS, REPLIES, BACKFILLS)
# How long a poller may take for one part, and how much later its reply may come.
PART_SECONDS = 60.0
REPLY_SECONDS = 5.0
# Without an acknowledgement after this long the part is sent again; without any for the longer time it is given up.
ACK_SECONDS = 10.0
SILENCE_SECONDS = 120.0
_AGAIN_SECONDS = 1.0
# Kafka's clock may be this far ahead of this machine's, ms.
_CLOCKS = 10 * 60_000


class BackfillSettings(KafkaSettings, RegistrySettings):
    """What the command is told by the environment."""


class BackfillError(RuntimeError):
    """The backfill can't go on; the message says what to do."""


@dataclass(slots=True)
class Outcome:
    """What became of it.

    Attributes:
        parts: how many requests were needed in this run.
        targets: those that an answer came for, in this run or before.
        refused: targets that platforms had no figures for.
        left_out: why channels were not asked, by channel id.
        resumed: when the job was begun (ms) that this run went on with; None for a new one.
    """

    parts: int
    targets: int
    refused: int
    left_out: dict[str, str]
    resumed: int | None


class Wanted(NamedTuple):
    """What is asked for: a workspace, one of its channels or ("") all, and since when (ms)."""

    workspace_id: str
    channel_id: str
    since: int


Show = Callable[[str, int, int], None]
"""Shows what is being done, how many targets and days are done, and of how many."""


class _Waiting:
    def __init__(self, done: Done) -> None:
        self.acknowledged = asyncio.Event()
        self.finished: asyncio.Future[PollerReply] = asyncio.get_running_loop().create_future()
        self.done = done


class Requests:
    """Sends parts and hears what becomes of them."""

    def __init__(self, publisher: KafkaPublisher, codecs: Mapping[str, Codec[Any]], workspace_id: str) -> None:
        self._publisher = publisher
        self._codecs = codecs
        self._workspace_id = workspace_id
        self._clock = SystemClock()
        self._waiting: dict[str, _Waiting] = {}
        self.address = f"backfill-{secrets.token_hex(8)}"

    def hear(self, _: str, record: Record) -> None:
        """Take in one message of the replies."""
        if record.value is None or record.key != self.address.encode():
            return
        reply: PollerReply = self._codecs[REPLIES].decode(record.value)
        waiting = self._waiting.get(reply.request_id)
        if waiting is None:
            return
        waiting.acknowledged.set()
        if reply.event is not None:
            waiting.done.answered(self._codecs[RAW].decode(reply.event))
        if reply.kind == ReplyKind.DONE and not waiting.finished.done():
            waiting.finished.set_result(reply)

    async def ask(self, part: Part, done: Done) -> PollerReply | None:
        """Have one part done; what is answered is noted as it comes.

        Returns:
            The last reply; None when no poller took the part, or the one that did is gone.
        """
        now = self._clock.now()
        request = PollerRequest(
            request_id=secrets.token_hex(12),
            reply_to=self.address,
            workspace_id=self._workspace_id,
            kind=PullKind.TARGETS if part.targets else PullKind.ACCOUNT,
            channel_id="" if part.targets else part.channel.channel_id,
            targets=part.targets,
            requested_at=now,
            deadline_at=now + int(PART_SECONDS * 1000),
            origin=Origin.BACKFILL,
            as_of=part.as_of,
        )
        waiting = self._waiting[request.request_id] = _Waiting(done)
        try:
            await self._publisher.put(REQUESTS, self._workspace_id, self._workspace_id.encode(), request)
            async with asyncio.timeout(ACK_SECONDS):
                await waiting.acknowledged.wait()
            async with asyncio.timeout(PART_SECONDS + REPLY_SECONDS):
                return await waiting.finished
        except TimeoutError:
            return None
        finally:
            del self._waiting[request.request_id]


class _Run:
    """The parts of one backfill, some of each platform at a time."""

    def __init__(self, requests: Requests, done: Done, parts: list[Part], show: Show) -> None:
        self._requests = requests
        self._done = done
        self._show = show
        self._platforms = all_platforms()
        self._clock = SystemClock()
        self._parts = parts
        self._total = sum(len(part.targets) or 1 for part in parts)
        # Answered, refused or left out: what needs no asking any more.
        self._over = 0
        self._heard_at = asyncio.get_running_loop().time()
        self.asked = 0
        self.refused = 0
        self.left_out: dict[str, str] = {}

    async def run(self) -> None:
        """Do everything that is left.

        Raises:
            BackfillError: no poller takes requests of the workspace.
        """
        queues: dict[str, list[Part]] = {}
        for part in reversed(self._parts):
            queues.setdefault(part.channel.platform, []).append(part)
        try:
            async with asyncio.TaskGroup() as tasks:
                for queue in queues.values():
                    for _ in range(CONCURRENCY):
                        tasks.create_task(self._work(queue))
        except* BackfillError as errors:
            raise errors.exceptions[0] from None

    async def _work(self, queue: list[Part]) -> None:
        while queue:
            part = queue.pop()
            count = len(part.targets) or 1
            await self._finish(part)
            self._over += count
            self._show(part.channel.channel_id, self._over, self._total)

    async def _finish(self, part: Part) -> None:
        platform, loop = self._platforms[part.channel.platform], asyncio.get_running_loop()
        while (left := self._done.left(part, platform, self._clock.now())) is not None:
            channel_id = part.channel.channel_id
            if channel_id in self.left_out:
                return
            reply = await self._requests.ask(left, self._done)
            now = loop.time()
            if reply is None:
                if now - self._heard_at > SILENCE_SECONDS:
                    raise BackfillError(
                        "no poller takes requests of this workspace: start `tidemark poller`, or look at its /readyz; "
                        "then run this again to go on from here"
                    )
                self._show("waiting for a poller", self._over, self._total)
            else:
                self._heard_at = now
                self.asked += 1
                if reply.error_code is None:
                    self.refused += len(self._targets_left(part))
                    return
                if reply.error_code == INACTIVE:
                    self.left_out[channel_id] = "its poller does not ask for it now: its token or account is broken"
                    return
                self._show("waiting for scheduled polls and budgets", self._over, self._total)
            await asyncio.sleep(_AGAIN_SECONDS)

    def _targets_left(self, part: Part) -> tuple[Any, ...]:
        left = self._done.left(part, self._platforms[part.channel.platform], self._clock.now())
        return () if left is None else left.targets


async def run_backfill(settings: BackfillSettings, wanted: Wanted, show: Show, *, anew: bool = False) -> Outcome:
    """Run a backfill to its end, or go on with the one that is under way.

    A job that has not ended is gone on with, back to the earlier of its and the given instant.

    Args:
        anew: begin a new one whatever is under way.

    Raises:
        BackfillError: the workspace or the channel does not exist, or no poller works.
        Stop: the topics contradict each other.
        RegistryUnavailable: run `tidemark topics`, or try again.
    """
    reader, clock, platforms = TopicReader(settings), SystemClock(), all_platforms()
    show("waiting for Kafka", 0, 1)
    count = await reader.partition_count(TOPICS)
    partition = [partition_of(wanted.workspace_id, count)]
    registry = Registry(settings, settings)
    codecs = {name: await asyncio.to_thread(registry.codec, name) for name in TOPICS if name != POST_ROLLUPS}
    rollups = await asyncio.to_thread(registry.record_codec, POST_ROLLUPS)

    show("reading the catalog", 0, 1)
    channels = await _read_channels(reader, codecs[CHANNELS], wanted, partition)
    posts: dict[str, CatalogPost] = await _latest(reader, POSTS, codecs[POSTS], wanted.workspace_id, partition)
    captured = await _captured(reader, rollups, wanted.workspace_id, partition)
    jobs = await _latest(reader, BACKFILLS, codecs[BACKFILLS], wanted.workspace_id, partition)
    job, resumed = chosen_job(jobs.get(wanted.channel_id), wanted, clock.now(), anew=anew)

    done = Done()
    if resumed:
        show("reading what was answered", 0, 1)
        fold = tolerant(_answers(codecs[RAW], job, done))
        await reader.replay(RAW, fold, job.started_at - _CLOCKS, partition)
    parts = parts_of(channels, posts.values(), captured, platforms, since=job.since, started_at=job.started_at)

    async with AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        publisher = KafkaPublisher(settings, codecs, count, Room(1000, 64 << 20))
        await publisher.start()
        stack.push_async_callback(publisher.close, 5.0)
        requests = Requests(publisher, codecs, wanted.workspace_id)
        standing = asyncio.Event()
        tail = tasks.create_task(
            reader.tail((REPLIES,), tolerant(requests.hear), [partition_of(requests.address, count)], standing)
        )
        stack.callback(tail.cancel)
        await standing.wait()
        await publisher.write(BACKFILLS, job)
        run = _Run(requests, done, parts, show)
        await run.run()
        await publisher.write(BACKFILLS, replace(job, finished_at=clock.now()))
    left_out = {
        name: f"it is {channel.status}" for name, channel in channels.items() if channel.status != ChannelStatus.ACTIVE
    }
    answered = sum(
        (part.channel.channel_id, target.target_id) in done.targets for part in parts for target in part.targets
    )
    return Outcome(run.asked, answered, run.refused, left_out | run.left_out, job.started_at if resumed else None)


def chosen_job(held: BackfillJob | None, wanted: Wanted, now: int, *, anew: bool) -> tuple[BackfillJob, bool]:
    """The job to do, and whether it is one that was begun before."""
    if held is not None and held.finished_at is None and not anew:
        return replace(held, since=min(held.since, wanted.since)), True
    return BackfillJob(wanted.workspace_id, wanted.channel_id, wanted.since, now), False


async def _latest(
    reader: TopicReader, topic: str, codec: Codec[Any], workspace_id: str, partitions: list[int]
) -> dict[str, Any]:
    """The last value of each key of a workspace on a compacted topic, by the rest of the key."""
    found: dict[str, Any] = {}

    def fold(_: str, record: Record) -> None:
        if parsed_key(topic, record.key)[0] != workspace_id:
            return
        event = None if record.value is None else codec.decode(record.value)
        _, subject = checked_key(topic, record.key, event)
        if event is None:
            found.pop(subject, None)
        else:
            found[subject] = event

    await reader.replay(topic, tolerant(fold), None, partitions)
    return found


async def _read_channels(
    reader: TopicReader, codec: Codec[Any], wanted: Wanted, partitions: list[int]
) -> dict[str, CatalogChannel]:
    channels: dict[str, CatalogChannel] = await _latest(reader, CHANNELS, codec, wanted.workspace_id, partitions)
    if not channels:
        raise BackfillError(f"there is no channel in workspace {wanted.workspace_id!r}; look at --workspace")
    if wanted.channel_id and wanted.channel_id not in channels:
        raise BackfillError(
            f"there is no channel {wanted.channel_id!r} in workspace {wanted.workspace_id!r}; "
            f"it has {', '.join(sorted(channels)[:10])}"
        )
    return {name: channel for name, channel in channels.items() if wanted.channel_id in ("", name)}


async def _captured(
    reader: TopicReader, codec: RecordCodec, workspace_id: str, partitions: list[int]
) -> dict[tuple[str, str], int]:
    """When each post of a workspace was last captured on each channel, ms."""
    found: dict[tuple[str, str], int] = {}

    def fold(_: str, record: Record) -> None:
        if record.value is None or parsed_key(POST_ROLLUPS, record.key)[0] != workspace_id:
            return
        rollup = codec.decode(record.value)
        _, post_id = checked_key(POST_ROLLUPS, record.key, rollup)
        for part in rollup["channels"]:
            captured_at = instant_of(part["captured_at"])
            if captured_at is not None:
                place = (post_id, part["channel_id"])
                found[place] = max(captured_at, found.get(place, 0))

    await reader.replay(POST_ROLLUPS, tolerant(fold), None, partitions)
    return found


def _answers(codec: Codec[Any], job: BackfillJob, done: Done) -> Fold:
    """Folds `platform.raw` into what is done of a job."""
    platforms, workspace = all_platforms(), key(job.workspace_id)

    def fold(_: str, record: Record) -> None:
        if record.key != workspace or record.value is None:
            return
        event: PlatformRaw = codec.decode(record.value)
        platform = platforms.get(event.platform)
        if event.origin != Origin.BACKFILL or event.captured_at < job.started_at or platform is None:
            return
        try:
            done.replay(event, platform)
        except ValueError as error:
            raise MalformedEvent(str(error)) from error

    return fold
