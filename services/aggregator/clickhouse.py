"""The aggregator's connection to ClickHouse: queries, statements and inserts, each tried until it succeeds.

Guarantee: an insert returns once ClickHouse confirmed it. A call that fails for a reason that passes (decided by
`refusals.is_passing`) is tried again for as long as it takes, an insert with the same deduplication token, so that its
block lands once. Any other error is raised, and ends the process. On a cluster most replicas have an insert before it
counts as confirmed, and a query is answered only by a replica that has all of these: whichever replica answers, states
are filled from what was written.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from services.aggregator.errors import SinkUnavailable
from services.aggregator.inserts import SharedBlocks
from services.aggregator.refusals import is_full_disk, is_passing
from services.aggregator.rows import Row, Table
from services.runtime.logging import get_logger
from services.runtime.settings import ClickHouseSettings

log = get_logger(__name__)
Result = TypeVar("Result")

_RETRY_SECONDS_MAX = 5.0
_THREADS = 8
# After failing for this long a kind of call is reported to the operator as a problem.
_PROBLEM_SECONDS = 5.0
# Failing calls are logged at most this often.
_LOGGED_SECONDS = 10.0
# On a cluster. Consistent reads take inserts whose quorums follow each other; a conflict passes (codes 285, 286, 289).
_QUORUM: dict[str, Any] = {"insert_quorum": "auto", "insert_quorum_parallel": 0}
_CONSISTENT: dict[str, Any] = {"select_sequential_consistency": 1}
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class ClickHouse:
    """One pool of connections, shared by all partitions of the process.

    Args:
        settings: address and database.
        on_retry: called with the error each time a call fails and will be tried again.
    """

    def __init__(self, settings: ClickHouseSettings, on_retry: Callable[[str], None] | None = None) -> None:
        self._settings = settings
        is_cluster = bool(settings.clickhouse_cluster)
        self._read_settings = {"max_threads": 2, **(_CONSISTENT if is_cluster else {})}
        self._insert_settings = _QUORUM if is_cluster else {}
        self._client: Client | None = None
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="clickhouse")
        self._types: dict[str, list[Any]] = {}
        self._blocks = SharedBlocks(self._insert_block)
        self._on_retry = on_retry
        # For each kind of call that fails: since when, and why. On a full disk inserts fail while queries succeed.
        self._failing: dict[str, tuple[float, str]] = {}
        self._logged_at = float("-inf")

    @property
    def failing_since(self) -> float | None:
        """When the first kind of call began to fail, in seconds of the event loop's clock; None while all succeed."""
        return min((since for since, _ in self._failing.values()), default=None)

    @property
    def problem(self) -> str | None:
        """Why rows can't be stored at present, in one line for the operator; None while calls succeed.

        None as well for the first 5 seconds of failing.
        """
        if not self._failing:
            return None
        since, why = min(self._failing.values())
        seconds = asyncio.get_running_loop().time() - since
        if seconds < _PROBLEM_SECONDS:
            return None
        if is_full_disk(why):
            return f"the disk of ClickHouse has been full for {seconds:.0f} s: free some space; events wait meanwhile"
        return f"ClickHouse has taken nothing for {seconds:.0f} s ({why[:200]}); events wait meanwhile"

    def reconnect(self) -> None:
        """Have the next call connect anew, by the settings as they are now; calls that run go on."""
        self._client = None

    def close(self) -> None:
        """Close the connections; no call may be running."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._client is not None:
            self._client.close()

    async def query(self, query: str, parameters: dict[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        """Rows of a query; waits while ClickHouse is away.

        Args:
            query: selects instants as numbers, as the client's own conversion is slow.
            parameters: values by the names in the query (`{name:Type}`).

        Raises:
            ClickHouseError: the query itself is wrong; trying again does not help.
        """

        def run() -> Sequence[Sequence[Any]]:
            return self._connected().query(query, parameters=parameters, settings=self._read_settings).result_rows

        return await self._until_done("query", run)

    async def command(
        self, statement: str, parameters: dict[str, Any] | None = None, settings: dict[str, Any] | None = None
    ) -> None:
        """Run a statement that returns no rows; waits while ClickHouse is away.

        Args:
            parameters: values by the names in the statement (`{name:Type}`).
            settings: ClickHouse settings for this statement.

        Raises:
            ClickHouseError: the statement itself is wrong; trying again does not help.
        """

        def run() -> None:
            self._connected().command(statement, parameters=parameters, settings=settings)

        await self._until_done("command", run)

    async def insert(self, table: Table, rows: Sequence[Row]) -> None:
        """Insert rows and wait until they are stored; rows that arrive within 50 ms share a block.

        Raises:
            RowsRefused: ClickHouse will never take some of them; the others are stored.
        """
        await self._blocks.insert(table, rows)

    async def _insert_block(self, table: Table, rows: Sequence[Row]) -> None:
        name, columns = table
        # A repeated block carries the same token, so that the server drops rows that it has stored already.
        # One block may hold rows of any number of months, and months are partitions of the tables.
        settings = {
            "insert_deduplication_token": uuid.uuid4().hex,
            "max_partitions_per_insert_block": 0,
            **self._insert_settings,
        }

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
                # Within one machine, sending plain bytes costs both sides less than compression.
                compress=False if connection["host"] in _LOOPBACK else "lz4",
            )
        return self._client

    async def _until_done(self, kind: str, call: Callable[[], Result]) -> Result:
        """Run a blocking call in a thread, again and again while ClickHouse is away."""
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
            # Cleared as well when the call was cancelled: another call of this kind notes the failure again when it
            # fails.
            self._failing.pop(kind, None)
        return result

    def _note_retry(self, kind: str, error: BaseException | None) -> None:
        now = asyncio.get_running_loop().time()
        since, _ = self._failing.get(kind, (now, ""))
        self._failing[kind] = (since, str(error))
        if now - self._logged_at >= _LOGGED_SECONDS:
            self._logged_at = now
            log.warning("clickhouse_unavailable", call=kind, seconds=round(now - since), error=str(error))
        if self._on_retry is not None:
            self._on_retry(str(error))
