"""The connection to ClickHouse: SQL with server-side parameters in, rows of JSON values out, within a deadline."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Any

import clickhouse_connect
import orjson
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.exceptions import ClickHouseError

from services.query_api.errors import ReadsUnavailable
from services.query_api.observability import QUERY_SECONDS
from services.runtime.logging import get_logger
from services.runtime.settings import ClickHouseSettings

log = get_logger(__name__)

# A lookup takes milliseconds and the longest list some tenths of a second; whoever waits longer is told to come again.
DEADLINE_SECONDS = 5.0
_SETTINGS = {
    # One thread a query: a lookup has too little to share, and many run at once.
    "max_threads": 1,
    "max_execution_time": int(DEADLINE_SECONDS),
    # Rebuild generations are partitions, not part of the sorting keys: merged with each other, the rows of one that is
    # being filled would hide those of the active one.
    "do_not_merge_across_partitions_select_final": 1,
    "output_format_json_quote_64bit_integers": 0,
    "output_format_json_quote_decimals": 0,
    "wait_end_of_query": 1,
}


class ClickHouse:
    """Runs queries; connects when first needed, and again after a failure to connect."""

    def __init__(self, settings: ClickHouseSettings) -> None:
        self._settings = settings
        self._client: AsyncClient | None = None
        self._connecting = asyncio.Lock()

    async def rows(self, name: str, sql: str, parameters: dict[str, Any]) -> list[list[Any]]:
        """Run one query.

        Args:
            name: of the query, for metrics and logs.
            sql: with `{name:Type}` where a value goes; values are never part of it.
            parameters: the values.

        Returns:
            Rows of JSON values: integers, strings, lists, None.

        Raises:
            ReadsUnavailable: no answer within the deadline, or an error.
        """
        started = perf_counter()
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                client = self._client or await self._connect()
                raw = await client.raw_query(sql, parameters, settings=_SETTINGS, fmt="JSONCompact")
            found: list[list[Any]] = orjson.loads(raw)["data"]
        except TimeoutError:
            log.warning("query without an answer in time", query=name, seconds=DEADLINE_SECONDS)
            raise ReadsUnavailable from None
        except (ClickHouseError, OSError, orjson.JSONDecodeError) as error:
            log.warning("query failed", query=name, error=str(error).splitlines()[0] if str(error) else repr(error))
            raise ReadsUnavailable from None
        QUERY_SECONDS.labels(name).observe(perf_counter() - started)
        return found

    async def answers(self) -> bool:
        """Whether ClickHouse answers and holds the tables."""
        try:
            await self.rows("ready", "SELECT count() FROM post_totals_store WHERE workspace_id = ''", {})
        except ReadsUnavailable:
            return False
        return True

    async def close(self) -> None:
        """Close all connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _connect(self) -> AsyncClient:
        async with self._connecting:
            if self._client is None:
                self._client = await clickhouse_connect.get_async_client(
                    **self._settings.clickhouse_connection(),
                    database=self._settings.clickhouse_database,
                    # A session takes one query at a time; these run side by side.
                    autogenerate_session_id=False,
                    connect_timeout=2,
                    send_receive_timeout=DEADLINE_SECONDS,
                    # Lookups fit into one packet: packing them costs more than it saves.
                    compress=False,
                    # Keys of a large batch don't fit into an address.
                    form_encode_query_params=True,
                    connector_limit_per_host=16,
                )
            return self._client
