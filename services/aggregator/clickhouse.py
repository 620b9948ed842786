"""ClickHouse: reads states back, and inserts rows in blocks. The only user of its client here.

Guarantee: an insert returns once ClickHouse confirmed it; what fails for reasons that pass is tried again with the
same deduplication token for as long as it takes, so a block lands once. Anything else raises and ends the process.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import clickhouse_connect
import orjson
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from schemas.metrics import CHANNEL_METRICS, POST_METRICS, Metric, Values, millis
from schemas.registers import Register, load_groups
from schemas.windows import WindowTarget
from services.aggregator.errors import SinkUnavailable
from services.aggregator.refusals import answer, insert_in_parts, is_full_disk, is_passing
from services.aggregator.rows import CATALOG_TARGET_TYPE, Row
from services.aggregator.state import (
    PERIOD_MEMORY,
    WINDOW_MEMORY,
    ChannelState,
    Key,
    Listing,
    PeriodKey,
    PostState,
    TargetState,
)
from services.runtime.logging import get_logger
from services.runtime.settings import ClickHouseSettings

log = get_logger(__name__)
Result = TypeVar("Result")
Table = tuple[str, tuple[str, ...]]

# Keys a query; larger lists are asked for in parts.
_KEYS_PER_QUERY = 2_000
_RETRY_SECONDS_MAX = 5.0
_THREADS = 8
# Partitions that begin their batches together come here within this time. A block costs ClickHouse some 20 ms, be it
# of ten rows or of a thousand.
_MEET_SECONDS = 0.05
_LARGE_BLOCK = 5_000
# What fails this long is worth a line to whoever asks whether all is well,
_PROBLEM_SECONDS = 5.0
# and a line in the log this often.
_TOLD_SECONDS = 10.0
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def _instants(column: str) -> str:
    return f"toUnixTimestamp64Milli({column})"


def _metric_columns(metrics: Iterable[Metric]) -> str:
    return ", ".join(metric.name for metric in metrics)


def _values(metrics: Sequence[Metric], columns: Sequence[Any]) -> Values:
    return tuple(millis(value) if metric.is_duration else value for metric, value in zip(metrics, columns, strict=True))


class _Pending:
    """Rows that wait for the next block of their table."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        # With how many of the rows are theirs, in order.
        self.waiters: list[tuple[asyncio.Future[None], int]] = []
        self.is_running = False


@dataclass(slots=True)
class SinkCounters:
    """What the sink did; read by the metrics."""

    rows: int = 0
    blocks: int = 0
    retries: int = 0


class ClickHouseSink:
    """One connection pool, shared by all partitions of the process.

    Args:
        settings: address and database.
        on_retry: called with the error each time a call fails and will be tried again.
    """

    def __init__(self, settings: ClickHouseSettings, on_retry: Callable[[str], None] | None = None) -> None:
        self._settings = settings
        self._client: Client | None = None
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="clickhouse")
        self._types: dict[str, list[Any]] = {}
        self._pending: dict[Table, _Pending] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._on_retry = on_retry
        self.counters = SinkCounters()
        # By kind of call, since when it fails and why: on a full disk inserts fail while queries answer.
        self._failing: dict[str, tuple[float, str]] = {}
        self._told_at = float("-inf")

    @property
    def failing_since(self) -> float | None:
        """When calls of any kind began to fail (event loop's time); None while all succeed."""
        return min((since for since, _ in self._failing.values()), default=None)

    @property
    def problem(self) -> str | None:
        """Why nothing is stored at present, in a line for the operator; None when things are."""
        if not self._failing:
            return None
        since, why = min(self._failing.values())
        seconds = asyncio.get_running_loop().time() - since
        if seconds < _PROBLEM_SECONDS:
            return None
        if is_full_disk(why):
            return f"the disk of ClickHouse is full since {seconds:.0f} s: free some space; events wait meanwhile"
        return f"ClickHouse takes nothing since {seconds:.0f} s ({why[:200]}); events wait meanwhile"

    def close(self) -> None:
        """Drop the connections; nothing may be in flight."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._client is not None:
            self._client.close()

    # Reading states back

    async def active_generation(self) -> int:
        """The rebuild generation that public names show."""
        rows = await self.query("SELECT argMax(generation, version) FROM active_generations")
        return int(rows[0][0])

    async def generation_of(self, partition: int) -> int:
        """The generation that a partition's owner writes to: the active one, or a newer one that it took over."""
        rows = await self.query(
            "SELECT max(generation) FROM rebuild_handovers FINAL WHERE partition = {partition:UInt32} "
            "AND generation IN (SELECT generation FROM rebuilds FINAL WHERE state IN ('handover', 'done'))",
            {"partition": partition},
        )
        return max(int(rows[0][0]), await self.active_generation())

    async def claim(self, partition: int, instance: str) -> int:
        """Store a claim of a partition; returns its epoch, greater than every earlier claim's."""
        rows = await self.query(
            "SELECT max(epoch) + 1, toUnixTimestamp64Milli(now64(3)) FROM partition_claims "
            "WHERE partition = {partition:UInt32}",
            {"partition": partition},
        )
        epoch, now = int(rows[0][0]), int(rows[0][1])
        table = ("partition_claims", ("partition", "epoch", "instance", "claimed_at"))
        await self.insert(table, [(partition, epoch, instance, now)])
        return epoch

    async def fetch_targets(self, generation: int, keys: Sequence[Key]) -> dict[Key, TargetState]:
        """Targets by key; absent ones are new."""
        found: dict[Key, TargetState] = {}
        query = (
            "SELECT workspace_id, target_id, post_id, channel_id, is_listed, "
            f"{_instants('published_at')}, {_instants('captured_at')}, registers, {_metric_columns(POST_METRICS)} "
            "FROM latest_post_metrics_store FINAL WHERE generation = {generation:UInt16} "
            "AND (workspace_id, target_id) IN {keys:Array(Tuple(String, String))}"
        )
        for row in await self._by_keys(query, generation, keys):
            workspace_id, target_id, post_id, channel_id, is_listed, published_at, captured_at, registers = row[:8]
            register = Register(load_groups(registers), _values(POST_METRICS, row[8:]), captured_at)
            found[(workspace_id, target_id)] = TargetState(
                target_id, post_id, channel_id, bool(is_listed), published_at, register
            )
        return found

    async def fetch_posts(self, generation: int, keys: Sequence[Key]) -> dict[Key, PostState]:
        """Posts of the catalog by key; absent ones are new."""
        query = (
            f"SELECT workspace_id, post_id, is_deleted, targets, {_instants('updated_at')} FROM posts_store FINAL "
            "WHERE (workspace_id, post_id) IN {keys:Array(Tuple(String, String))}"
        )
        found: dict[Key, PostState] = {}
        for workspace_id, post_id, is_deleted, targets, updated_at in await self._by_keys(query, generation, keys):
            ids = tuple(target["target_id"] for target in orjson.loads(targets))
            found[(workspace_id, post_id)] = PostState(post_id, not is_deleted, ids, updated_at)
        return found

    async def fetch_channels(self, generation: int, keys: Sequence[Key], now: int) -> dict[Key, ChannelState]:
        """Channels with their recent periods and the targets that windows can hold, by key.

        Args:
            now: ms; decides what is recent.
        """
        found: dict[Key, ChannelState] = {}

        def state(workspace_id: str, channel_id: str) -> ChannelState:
            return found.setdefault((workspace_id, channel_id), ChannelState(channel_id))

        where = "(workspace_id, channel_id) IN {keys:Array(Tuple(String, String))}"
        held = self._by_keys(
            f"SELECT workspace_id, channel_id, platform FROM channels_store FINAL WHERE {where} AND is_deleted = 0",
            generation,
            keys,
        )
        periods = self._by_keys(
            f"SELECT workspace_id, channel_id, period, {_instants('period_start')}, {_instants('period_end')}, "
            f"{_instants('captured_at')}, registers, {_metric_columns(CHANNEL_METRICS)} "
            f"FROM latest_channel_metrics_store FINAL WHERE generation = {{generation:UInt16}} AND {where} "
            "AND (period_end IS NULL OR period_end >= fromUnixTimestamp64Milli({since:Int64}))",
            generation,
            keys,
            {"since": now - PERIOD_MEMORY},
        )
        windows = self._by_keys(
            f"SELECT workspace_id, channel_id, target_id, {_instants('published_at')}, "
            f"{_metric_columns(POST_METRICS)} FROM latest_post_metrics_store FINAL "
            f"WHERE generation = {{generation:UInt16}} AND {where} AND is_listed "
            "AND published_at >= fromUnixTimestamp64Milli({since:Int64})",
            generation,
            keys,
            {"since": now - WINDOW_MEMORY},
        )
        measured = self._by_keys(
            "SELECT workspace_id, channel_id, count() FROM latest_post_metrics_store FINAL "
            f"WHERE generation = {{generation:UInt16}} AND {where} AND is_listed AND captured_at IS NOT NULL "
            "GROUP BY workspace_id, channel_id",
            generation,
            keys,
        )
        for workspace_id, channel_id, platform in await held:
            channel = state(workspace_id, channel_id)
            channel.is_held, channel.platform = True, platform
        for row in await periods:
            register = Register(load_groups(row[6]), _values(CHANNEL_METRICS, row[7:]), row[5])
            state(row[0], row[1]).periods[(row[2], row[3], row[4])] = register
        for row in await windows:
            state(row[0], row[1]).window[row[2]] = WindowTarget(row[3], _values(POST_METRICS, row[4:]))
        for workspace_id, channel_id, count in await measured:
            state(workspace_id, channel_id).measured_count = int(count)
        return found

    async def fetch_periods(
        self, generation: int, keys: Sequence[tuple[Key, PeriodKey]]
    ) -> dict[tuple[Key, PeriodKey], Register]:
        """Figures of exact periods, however old."""
        wanted = set(keys)
        query = (
            f"SELECT workspace_id, channel_id, period, {_instants('period_start')}, {_instants('period_end')}, "
            f"{_instants('captured_at')}, registers, {_metric_columns(CHANNEL_METRICS)} "
            "FROM latest_channel_metrics_store FINAL WHERE generation = {generation:UInt16} "
            "AND (workspace_id, channel_id) IN {keys:Array(Tuple(String, String))}"
        )
        found: dict[tuple[Key, PeriodKey], Register] = {}
        for row in await self._by_keys(query, generation, list(dict.fromkeys(key for key, _ in keys))):
            at = ((row[0], row[1]), (row[2], row[3], row[4]))
            if at in wanted:
                found[at] = Register(load_groups(row[6]), _values(CHANNEL_METRICS, row[7:]), row[5])
        return found

    async def fetch_channel_targets(self, generation: int, keys: Sequence[Key]) -> list[Key]:
        """Listed targets of channels, of any age."""
        query = (
            "SELECT workspace_id, target_id FROM latest_post_metrics_store FINAL "
            "WHERE generation = {generation:UInt16} AND is_listed "
            "AND (workspace_id, channel_id) IN {keys:Array(Tuple(String, String))}"
        )
        return [(row[0], row[1]) for row in await self._by_keys(query, generation, keys)]

    async def fetch_listings(self, keys: Sequence[Key]) -> dict[Key, list[Listing]]:
        """Every listing of targets in the catalog as mirrored."""
        # Any version of a post may list a target, and its newest says whether it still does: the index narrows the
        # search to the former, and the key finds the latter.
        query = (
            f"SELECT workspace_id, target.target_id, {_instants('updated_at')}, post_id, target.channel_id, "
            f"ifNull(target.published_at, {_instants('published_at')}) FROM posts_store FINAL "
            f"ARRAY JOIN JSONExtract(targets, 'Array({CATALOG_TARGET_TYPE})') AS target "
            "WHERE (workspace_id, post_id) IN (SELECT workspace_id, post_id FROM posts_store "
            "WHERE workspace_id IN {workspaces:Array(String)} AND hasAny(target_ids, {targets:Array(String)})) "
            "AND is_deleted = 0 AND target.status != 'deleted' "
            "AND (workspace_id, target.target_id) IN {keys:Array(Tuple(String, String))}"
        )
        found: dict[Key, list[Listing]] = {}
        for start in range(0, len(keys), _KEYS_PER_QUERY):
            part = keys[start : start + _KEYS_PER_QUERY]
            workspaces, targets = sorted({key[0] for key in part}), sorted({key[1] for key in part})
            for row in await self.query(query, {"keys": part, "workspaces": workspaces, "targets": targets}):
                found.setdefault((row[0], row[1]), []).append(Listing(*row[2:]))
        return found

    async def expired_channels(self, generation: int, partition: int, now: int) -> list[Key]:
        """Channels of a partition whose stored totals are not exact for `now` any more."""
        rows = await self.query(
            "SELECT DISTINCT workspace_id, channel_id FROM channel_totals_store FINAL "
            "WHERE generation = {generation:UInt16} AND partition = {partition:UInt32} AND is_deleted = 0 "
            "AND valid_until < fromUnixTimestamp64Milli({now:Int64}) ORDER BY workspace_id, channel_id LIMIT 500",
            {"generation": generation, "partition": partition, "now": now},
        )
        return [(row[0], row[1]) for row in rows]

    async def _by_keys(
        self, query: str, generation: int, keys: Sequence[Key], parameters: dict[str, Any] | None = None
    ) -> list[Sequence[Any]]:
        rows: list[Sequence[Any]] = []
        for start in range(0, len(keys), _KEYS_PER_QUERY):
            part = keys[start : start + _KEYS_PER_QUERY]
            rows.extend(await self.query(query, {"generation": generation, "keys": part, **(parameters or {})}))
        return rows

    async def query(self, query: str, parameters: dict[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        """Rows of any query; instants have to be asked for as numbers."""

        def run() -> Sequence[Sequence[Any]]:
            return self._connected().query(query, parameters=parameters, settings={"max_threads": 2}).result_rows

        return await self._until_done("query", run)

    async def command(
        self, statement: str, parameters: dict[str, Any] | None = None, settings: dict[str, Any] | None = None
    ) -> None:
        """Run a statement without a result."""

        def run() -> None:
            self._connected().command(statement, parameters=parameters, settings=settings)

        await self._until_done("command", run)

    # Inserting

    async def insert(self, table: Table, rows: Sequence[Row]) -> None:
        """Add rows and wait until they are stored.

        Rows that arrive within a moment, or while a block of the same table is on its way, share the next one: the
        number of blocks follows ClickHouse's pace and not the number of partitions.

        Raises:
            RowsRefused: ClickHouse will never take some of them; the others are stored.
        """
        pending = self._pending.setdefault(table, _Pending())
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        pending.rows.extend(rows)
        pending.waiters.append((waiter, len(rows)))
        if not pending.is_running:
            pending.is_running = True
            task = asyncio.create_task(self._drain(table, pending))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        await waiter

    async def _drain(self, table: Table, pending: _Pending) -> None:
        try:
            while pending.rows:
                if len(pending.rows) < _LARGE_BLOCK:
                    await asyncio.sleep(_MEET_SECONDS)
                rows, waiters = pending.rows, pending.waiters
                pending.rows, pending.waiters = [], []
                try:
                    refused = await insert_in_parts(lambda part: self._insert_block(table, part), table[0], rows)
                except BaseException as error:
                    for waiter, _ in waiters:
                        if not waiter.done():
                            waiter.set_exception(error if isinstance(error, Exception) else SinkUnavailable("stopped"))
                    if not isinstance(error, Exception):
                        raise
                else:
                    answer(waiters, rows, refused)
        finally:
            pending.is_running = False

    async def _insert_block(self, table: Table, rows: Sequence[Row]) -> None:
        name, columns = table
        # A retried block carries the same token, so that the server drops what it has already.
        # Answers of as many months as anybody likes may come together.
        settings = {"insert_deduplication_token": uuid.uuid4().hex, "max_partitions_per_insert_block": 0}

        def run() -> None:
            client = self._connected()
            types = self._types.get(name)
            if types is None:
                types = self._types[name] = list(client.create_insert_context(name, list(columns)).column_types)
            client.insert(
                name,
                list(zip(*rows, strict=True)),
                column_names=list(columns),
                column_types=types,
                column_oriented=True,
                settings=settings,
            )

        await self._until_done("insert", run)
        self.counters.rows += len(rows)
        self.counters.blocks += 1

    # Connection and retries

    def _connected(self) -> Client:
        if self._client is None:
            connection = self._settings.clickhouse_connection()
            self._client = clickhouse_connect.get_client(
                **connection,
                database=self._settings.clickhouse_database,
                autogenerate_session_id=False,
                form_encode_query_params=True,
                connect_timeout=5,
                send_receive_timeout=60,
                query_retries=0,
                # Within a machine the bytes are cheaper than their compression, on both sides.
                compress=False if connection["host"] in _LOOPBACK else "lz4",
            )
        return self._client

    async def _until_done(self, kind: str, call: Callable[[], Result]) -> Result:
        loop = asyncio.get_running_loop()

        def translated() -> Result:
            try:
                return call()
            except ClickHouseError as error:
                if is_passing(error):
                    raise SinkUnavailable(str(error).splitlines()[0] if str(error) else "no answer") from None
                raise
            except OSError as error:
                raise SinkUnavailable(f"{type(error).__name__}: {error}") from None

        try:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(SinkUnavailable),
                wait=wait_random_exponential(multiplier=0.1, max=_RETRY_SECONDS_MAX),
                before_sleep=lambda state: self._note_retry(kind, state.outcome.exception() if state.outcome else None),
                reraise=True,
            ):
                with attempt:
                    result = await loop.run_in_executor(self._threads, translated)
        finally:
            # Also when it was given up: others of the kind note it again at their next try.
            self._failing.pop(kind, None)
        return result

    def _note_retry(self, kind: str, error: BaseException | None) -> None:
        self.counters.retries += 1
        now = asyncio.get_running_loop().time()
        since, _ = self._failing.get(kind, (now, ""))
        self._failing[kind] = (since, str(error))
        if now - self._told_at >= _TOLD_SECONDS:
            self._told_at = now
            log.warning("clickhouse_unavailable", call=kind, seconds=round(now - since), error=str(error))
        if self._on_retry is not None:
            self._on_retry(str(error))
