"""Fills the store of a replica: in one of its processes, whichever holds the lock, from the topics that it holds.

In: messages. Out: an environment that is as new as the topics. What can't be trusted is made anew, beside, and read
only once it is whole.

Guarantee: each message has its effect once, since the positions are stored with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any, NoReturn, TypeVar

import lmdb
from filelock import FileLock, Timeout

from schemas.writers import SchemasAway
from services.query_api.store import messages
from services.query_api.store.files import Environment, Identity, StoreError
from services.query_api.store.filling import MANY_MESSAGES, Filling, Lost, UnpackingFailed
from services.query_api.store.handle import Store
from services.query_api.store.layout import FORMAT, TOPICS, Damaged
from services.query_api.store.marks import Mark, foreign, last_marks
from services.query_api.store.messages import Decoder, Message
from services.query_api.store.residence import MEMORY_SHARE, RESIDENCE, keep_resident
from services.query_api.store.status import Phase
from services.query_api.store.writing import Writer
from services.runtime.brokers import Brokers, BrokersUnavailable, Place
from services.runtime.clock import Clock
from services.runtime.following import Batch, Follower, at_positions
from services.runtime.heaps import give_back
from services.runtime.logging import get_logger

log = get_logger(__name__)
Result = TypeVar("Result")

# The lock is tried for so often: a process that dies is followed by another within this time.
_ELECT_SECONDS = 0.25
_RETRY_SECONDS = 1.0
_BEAT_SECONDS = 0.25
_PROGRESS_SECONDS = 10.0
# Topics made anew are seen at a new connection, and so often without one.
_IDENTIFY_SECONDS = 10.0
_HOUSEKEEPING_SECONDS = 5.0
# Records of one transaction: larger ones gain nothing, and what a reader waits for is one of them.
_MOST_RECORDS = 5_000
_WAIT_SECONDS = 0.2
_PROBE_SECONDS = 2.0

Identify = Callable[[], Awaitable[str]]
"""Names the cluster and its topics as they are now; raises BrokersUnavailable."""


class _MadeAnew(Exception):
    """What the store held is of topics that are gone."""


class StoreFeed:
    """Fills the store when it is this process's turn.

    Args:
        fetch_schema: see `schemas.codec.RecordCodec`; asked in threads.
        many: a new store is filled by several processes where the topics have so many offsets.
        list_ids: see `messages.decoders`; asked in threads.
        memory_share: the part of the memory up to which the store's file is kept in it; 0 leaves that to the kernel.
    """

    def __init__(
        self,
        store: Store,
        brokers: Brokers,
        partitions: int,
        fetch_schema: Callable[[int], str],
        identify: Identify,
        clock: Clock,
        refused: Callable[[str, Any], None] = lambda _, __: None,
        many: int = MANY_MESSAGES,
        list_ids: Callable[[str], Collection[int]] | None = None,
        memory_share: float = MEMORY_SHARE,
    ) -> None:
        self._store = store
        self._brokers = brokers
        self._partitions = partitions
        self._fetch_schema = fetch_schema
        self._list_ids = list_ids
        self._many = many
        self._memory_share = memory_share
        self._identify = identify
        self._clock = clock
        self._refused = refused
        self._lock = FileLock(store.folder.root / "writer.lock", timeout=0, thread_local=False)
        # LMDB's transactions belong to their thread.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._task: asyncio.Task[None] | None = None
        self._writer: Writer | None = None
        # Held while the thread writes.
        self._writing = asyncio.Lock()
        self._environment: Environment | None = None
        self._follower: Follower | None = None
        self._taken = 0
        self._is_filling = False
        self._is_reconnected = False
        self._phase = Phase.WAITING
        self._damage: asyncio.Event = asyncio.Event()
        self._residence: asyncio.Task[NoReturn] | None = None
        store.on_damage = lambda _: self._damage.set()

    @property
    def is_writer(self) -> bool:
        """Whether this process fills the store."""
        return self._lock.is_locked

    def start(self) -> None:
        """Fill the store in the background, whenever nobody else does."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop filling; what was taken stays."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._thread.shutdown(wait=True)

    async def _run(self) -> None:
        while True:
            try:
                if self._store.identity is None:
                    self._store.identity = Identity(FORMAT, await self._identify(), self._partitions)
                self._lock.acquire()
            except Timeout:
                await asyncio.sleep(_ELECT_SECONDS)
                continue
            except BrokersUnavailable as error:
                log.warning("the store waits", problem=str(error))
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            try:
                await self._lead()
            except (Damaged, _MadeAnew) as error:
                log.warning("the store is made anew", reason=str(error))
                await self._discard()
            except (BrokersUnavailable, SchemasAway) as error:
                log.warning("the store waits", problem=str(error))
                await asyncio.sleep(_RETRY_SECONDS)
            except (StoreError, OSError) as error:
                # A full disk, or one that fails: reads go to ClickHouse until there is a place again.
                log.error("the store can't be written", problem=str(error))
                self._tell(Phase.BROKEN)
                await self._discard()
                await asyncio.sleep(_RETRY_SECONDS)
            except Exception:
                log.exception("filling the store failed")
                await asyncio.sleep(_RETRY_SECONDS)
            finally:
                await self._end_writing()
                self._lock.release()

    async def _lead(self) -> None:
        """Fill and follow for as long as this goes well."""
        self._damage.clear()
        beating = asyncio.create_task(self._beat())
        try:
            self._tell(Phase.WAITING)
            self._store.identity = identity = Identity(FORMAT, await self._identify(), self._partitions)
            decoders = messages.decoders(self._fetch_schema, self._list_ids)
            await self._open(identity, decoders)
            assert self._writer is not None
            await self._require_same_log(self._writer)
            self._taken = 0
            self._tell(Phase.FILLING)
            if self._is_filling:
                await self._fill(self._writer, identity)
            held = await self._in_thread(self._writer.positions)
            self._follower = follower = Follower(
                self._brokers,
                TOPICS,
                range(self._partitions),
                self._take,
                begin=at_positions(held),
                retry_on=(SchemasAway,),
                name="what the store holds",
                most=_MOST_RECORDS,
                wait_seconds=_WAIT_SECONDS,
                probe_seconds=_PROBE_SECONDS,
                on_current=self._set_current,
            )
            await self._follow(follower, decoders, identity)
        finally:
            self._follower = None
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)

    async def _fill(self, writer: Writer, identity: Identity) -> None:
        """Fill a new store with what the topics hold; where that is little, or fails, the rest is left to `_follow`."""

        async def write(
            found: Sequence[Message], positions: Mapping[Place, int], marks: Mapping[Place, Mark], count: int
        ) -> None:
            await self._write(writer.take, found, positions, marks)
            self._taken += count

        held = await self._in_thread(writer.positions)
        filling = Filling(
            self._brokers, self._partitions, held, self._fetch_schema, write, writer.refuse, many=self._many
        )
        self._follower = filling.follower
        tasks = [asyncio.create_task(filling.run()), asyncio.create_task(self._watch(filling.follower, identity))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except Lost:
            raise _MadeAnew("the topics no longer have the place up to which it was read") from None
        except UnpackingFailed as error:
            log.warning("the store is filled by one process alone", problem=str(error))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, follower: Follower, decoders: Mapping[str, Decoder], identity: Identity) -> None:
        following = asyncio.create_task(follower.run())
        watching = asyncio.create_task(self._watch(follower, identity))
        damage = asyncio.create_task(self._damage.wait())
        try:
            if self._is_filling:
                caught_up = asyncio.create_task(follower.caught_up())
                await asyncio.wait({caught_up, following, watching}, return_when=asyncio.FIRST_COMPLETED)
                caught_up.cancel()
                if follower.is_caught_up:
                    # Between two batches: nothing is written while another handle takes over.
                    await self._swap(follower, following, decoders)
                    following = asyncio.create_task(follower.run())
                    self._set_current(follower.is_current)
            done, _ = await asyncio.wait({following, watching, damage}, return_when=asyncio.FIRST_COMPLETED)
            if damage in done:
                raise Damaged("a reader found something that was not stored")
            for task in done:
                task.result()
        finally:
            for task in (following, watching, damage):
                task.cancel()
            await asyncio.gather(following, watching, damage, return_exceptions=True)

    async def _swap(self, follower: Follower, following: asyncio.Task[None], decoders: Mapping[str, Decoder]) -> None:
        """Let the environment that was filled be read, each transaction durable from now on."""
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        filled = self._environment
        assert filled is not None
        path = await self._packed(filled)
        filled.close()
        self._environment = environment = Environment(path)
        self._writer = await self._in_thread(self._new_writer, environment, decoders, True)
        self._is_filling = False
        self._store.folder.make_current(environment.path)
        self._store.use(environment)
        self._keep_resident(environment)
        await self._in_thread(give_back)
        log.info("the store is filled", messages=self._taken)

    async def _packed(self, filled: Environment) -> Path:
        """Where what was filled lies on disk: with full pages, or as it is where there is no room for both."""
        path = self._store.folder.new()
        try:
            await self._in_thread(filled.packed, path)
        except (StoreError, OSError) as error:
            log.warning("the store's pages stay half full", problem=str(error))
            await self._in_thread(filled.sync)
            return filled.path
        return path

    def _new_writer(self, environment: Environment, decoders: Mapping[str, Decoder], is_read: bool) -> Writer:
        return Writer(environment, decoders, self._partitions, self._refused, is_read=is_read)

    async def _open(self, identity: Identity, decoders: Mapping[str, Decoder]) -> None:
        """The environment that the folder names, if it can be trusted; else a new one, which nobody reads yet.

        Raises:
            Damaged: it can't be.
        """
        folder = self._store.folder
        path = folder.current()
        if path is not None:
            self._tell(Phase.CHECKING)
            with folder.opening(path):
                # One handle a process, and whoever only read could not write by it.
                self._store.use(None)
                self._environment = environment = Environment(path)
                environment.check_identity(identity)
                self._keep_resident(environment)
                if not await self._in_thread(environment.was_closed_cleanly):
                    count = await self._in_thread(environment.check_values)
                    log.info("the store was checked", values=count)
                self._writer = await self._in_thread(self._new_writer, environment, decoders, True)
            self._is_filling = False
            self._store.use(environment)
            folder.remove_others(path)
            return
        folder.remove_others(None)
        self._environment = environment = Environment(folder.new(), is_durable=False)
        environment.name(identity)
        self._writer = await self._in_thread(self._new_writer, environment, decoders, False)
        self._is_filling = True

    async def _take(self, batch: Batch) -> None:
        if batch.lost:
            raise _MadeAnew("the topics no longer have the place up to which it was read")
        writer = self._writer
        assert writer is not None
        marks = last_marks(batch.records)
        messages = await self._in_thread(writer.decoded, batch.records)
        await self._write(writer.take, messages, batch.positions, marks)
        self._taken += len(batch.records)
        if not self._is_filling:
            self._store.look()

    async def _write(self, write: Callable[..., object], *arguments: Any) -> None:
        """Write in the thread that writes, with more room where there is too little."""
        async with self._writing:
            while True:
                try:
                    await self._in_thread(write, *arguments)
                    return
                except lmdb.MapFullError:
                    # On the loop, where every snapshot of this process begins and ends: but for that of this turn none
                    # is under way.
                    assert self._environment is not None
                    self._store.end_turn()
                    log.info("the store has more room", bytes=self._environment.grow())

    async def _require_same_log(self, writer: Writer) -> None:
        """Raise when the topics were set back to an older state, also where they reach as far again.

        Raises:
            _MadeAnew: they hold another message where the last one was taken.
            BrokersUnavailable: Kafka does not answer.
        """
        marks = await self._in_thread(writer.marks)
        if marks and (found := await foreign(self._brokers, marks)):
            raise _MadeAnew(f"{found[0].topic} was set back: it holds another message where it was read to")
        self._is_reconnected = False

    def _set_current(self, is_current: bool) -> None:
        # A broker that went away may have lost its last messages.
        self._is_reconnected = self._is_reconnected or not is_current
        if not self._is_filling:
            self._tell(Phase.FOLLOWING if is_current else Phase.FILLING)

    def _tell(self, phase: Phase) -> None:
        self._phase = phase
        follower = self._follower
        left = sum(follower.left.values()) if follower is not None else 0
        now = self._clock.now() if phase == Phase.FOLLOWING else 0
        self._store.status.tell(phase, left=left, taken=self._taken, current_at=now)

    async def _beat(self) -> None:
        told_at = monotonic()
        while True:
            self._tell(self._phase)
            if self._is_filling and self._phase == Phase.FILLING and monotonic() - told_at >= _PROGRESS_SECONDS:
                told_at = monotonic()
                log.info("the store is being filled", done=self._taken, left=self._store.status.told().left)
            await asyncio.sleep(_BEAT_SECONDS)

    async def _watch(self, follower: Follower, identity: Identity) -> None:
        """Look whether the topics are still the same, and keep house."""
        identified = asyncio.get_running_loop().time()
        while True:
            await asyncio.sleep(_HOUSEKEEPING_SECONDS)
            if not self._is_filling and self._environment is not None and self._writer is not None:
                self._environment.forget_dead_readers()
                await self._write(self._writer.prune, self._clock.now())
            if self._is_reconnected and follower.is_current and not self._is_filling and self._writer is not None:
                with suppress(BrokersUnavailable):
                    await self._require_same_log(self._writer)
            if asyncio.get_running_loop().time() - identified >= _IDENTIFY_SECONDS and follower.is_connected:
                with suppress(BrokersUnavailable):
                    if await self._identify() != identity.incarnation:
                        raise _MadeAnew("its topics were made anew")
                    identified = asyncio.get_running_loop().time()

    async def _discard(self) -> None:
        """Read nothing until another environment is whole."""
        await self._end_writing()
        self._store.folder.make_none_current()
        self._store.use(None)
        self._store.folder.remove_others(None)

    def _keep_resident(self, environment: Environment) -> None:
        """Keep in memory what is read, on behalf of all processes, until this one writes it no more."""
        assert self._residence is None
        if self._memory_share:
            self._residence = asyncio.create_task(keep_resident(environment.file, self._memory_share), name=RESIDENCE)

    async def _end_writing(self) -> None:
        """Let go of what this process writes; it goes on reading it."""
        if self._residence is not None:
            self._residence.cancel()
            await asyncio.gather(self._residence, return_exceptions=True)
            self._residence = None
        environment, self._environment, self._writer = self._environment, None, None
        if environment is None:
            return
        is_read = environment is self._store.environment
        with suppress(StoreError, OSError):
            if is_read and self._store.is_readable:
                await self._in_thread(environment.closed_cleanly)
        if not is_read:
            environment.close()

    async def _in_thread(self, call: Callable[..., Result], *arguments: Any) -> Result:
        """Run in the thread that writes; a cancelled caller waits until it is done, since it may be half-way."""
        future = asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.gather(future, return_exceptions=True)
            raise
