"""The connection to ClickHouse.

In: SQL with server-side parameters. Out: within a deadline, rows of JSON values; or a file in one of ClickHouse's own
formats, chunk by chunk.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from time import perf_counter
from typing import Any

import clickhouse_connect
import orjson
from aiohttp import ClientError
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.exceptions import ClickHouseError

from services.query_api.errors import ReadsUnavailable
from services.query_api.fairness import Turns
from services.query_api.observability import QUERY_SECONDS
from services.runtime.logging import get_logger
from services.runtime.settings import ClickHouseSettings

log = get_logger(__name__)

# A look-up takes milliseconds and the longest list some tenths of a second; after this time the caller gets an error.
DEADLINE_SECONDS = 5.0
# For files: how long to wait for the reader at most, and for ClickHouse between two chunks.
_STREAM_SECONDS = 3600
_SILENCE_SECONDS = 60.0
# The most queries at once, in all and of one workspace: its lists and histories. Look-ups for many workspaces together
# have connections of their own, and are made fair where they are gathered (`batching`).
_MOST_QUERIES, _MOST_QUERIES_EACH = 10, 4
_MOST_PATIENT, _MOST_PATIENT_EACH = 4, 2
# The server refuses a query with a larger result; queries that may be long have a LIMIT, or are read in parts.
_MOST_RESULT_BYTES = 64 * 1024 * 1024
# Short parameters go into the address, since a form costs the server more to read. Proxies in between may allow 8 KiB
# of address, and escaping at most doubles the keys' length.
_LONGEST_ADDRESS = 3_500
# A server appends an error to the rows that it has sent already, at most 16 KiB; callers must never see that text.
_HELD_BACK_BYTES = 32 * 1024
_SETTINGS = {
    # One thread for each query: a look-up has too little work to share, and many run at once.
    "max_threads": 1,
    "max_execution_time": int(DEADLINE_SECONDS),
    # Rebuild generations are partitions, and not part of the sorting keys: merged across partitions, rows of a
    # generation that is being filled would hide those of the active one.
    "do_not_merge_across_partitions_select_final": 1,
    "output_format_json_quote_64bit_integers": 0,
    "output_format_json_quote_decimals": 0,
    "wait_end_of_query": 1,
    "max_result_bytes": _MOST_RESULT_BYTES,
}
_STREAM_SETTINGS = {
    **_SETTINGS,
    "max_execution_time": _STREAM_SECONDS,
    "wait_end_of_query": 0,
    "max_result_bytes": 0,
    # Without this setting a server goes on with a query whose caller has left.
    "cancel_http_readonly_queries_on_client_close": 1,
    # An error text within a file would look like rows.
    "http_write_exception_in_output_format": 0,
}


class StreamBroken(Exception):
    """A file broke off after its first chunk was given."""


class ClickHouse:
    """Runs queries; connects when first needed, and again after a failure to connect."""

    def __init__(self, settings: ClickHouseSettings) -> None:
        self._settings = settings
        self._client: AsyncClient | None = None
        self._form_client: AsyncClient | None = None
        self._patient_client: AsyncClient | None = None
        self._retired: list[AsyncClient] = []
        self._connecting = asyncio.Lock()
        self._turns = Turns(_MOST_QUERIES, _MOST_QUERIES_EACH)
        self._patient_turns = Turns(_MOST_PATIENT, _MOST_PATIENT_EACH)

    async def rows(
        self, name: str, sql: str, parameters: dict[str, Any], seconds: float = DEADLINE_SECONDS
    ) -> list[list[Any]]:
        """Run one query.

        Args:
            name: the query's name in metrics and logs.
            sql: the statement, with `{name:Type}` in place of each value.
            parameters: the values. A query of one workspace has the parameter `workspace`, and waits for its turn.
            seconds: the deadline, including the wait for a turn.

        Returns:
            Rows of JSON values: integers, strings, lists, None.

        Raises:
            ReadsUnavailable: ClickHouse did not answer within the deadline, or answered with an error.
            TooManyAtOnce: too many queries of the workspace wait.
        """
        workspace_id = parameters.get("workspace")
        if workspace_id is None:
            return await self._rows(name, sql, parameters, seconds)
        turns = self._turns if seconds <= DEADLINE_SECONDS else self._patient_turns
        try:
            async with asyncio.timeout(seconds), turns.turn(workspace_id):
                return await self._rows(name, sql, parameters, seconds)
        except TimeoutError:
            log.warning("query without an answer in time", query=name, seconds=seconds)
            raise ReadsUnavailable from None

    async def _rows(self, name: str, sql: str, parameters: dict[str, Any], seconds: float) -> list[list[Any]]:
        started = perf_counter()
        try:
            async with asyncio.timeout(seconds):
                if seconds > DEADLINE_SECONDS:
                    client = self._patient_client or await self._connect_patient()
                    settings = {**_SETTINGS, "max_execution_time": int(seconds)}
                elif _text_length(parameters) > _LONGEST_ADDRESS:
                    client, settings = self._form_client or await self._connect_form(), _SETTINGS
                else:
                    client, settings = self._client or await self._connect(), _SETTINGS
                raw = await client.raw_query(sql, parameters, settings=settings, fmt="JSONCompact")
            found: list[list[Any]] = orjson.loads(raw)["data"]
        except TimeoutError:
            log.warning("query without an answer in time", query=name, seconds=seconds)
            raise ReadsUnavailable from None
        except (ClickHouseError, OSError, orjson.JSONDecodeError) as error:
            log.warning("query failed", query=name, error=_first_line(error))
            raise ReadsUnavailable from None
        QUERY_SECONDS.labels(name).observe(perf_counter() - started)
        return found

    async def stream(
        self, name: str, sql: str, parameters: dict[str, Any], fmt: str, settings: Mapping[str, Any] | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Run one query and yield its rows as they come; closing the generator early stops the query.

        Args:
            name, sql, parameters: as for `rows`.
            fmt: ClickHouse's name of the file's format.
            settings: further settings of ClickHouse.

        Raises:
            ReadsUnavailable: the first chunk did not come, or an error came before it.
            StreamBroken: an error came after the first chunk; the chunks so far are no whole file.
        """
        started = perf_counter()
        chosen = {**_STREAM_SETTINGS, **(settings or {})}
        is_begun = False
        held = bytearray()
        try:
            client = self._patient_client or await self._connect_patient()
            async with await client.raw_stream(sql, parameters, settings=chosen, fmt=fmt) as chunks:
                async for chunk in chunks:
                    held += chunk
                    if len(held) > _HELD_BACK_BYTES:
                        is_begun = True
                        yield bytes(held[:-_HELD_BACK_BYTES])
                        del held[:-_HELD_BACK_BYTES]
        except (ClickHouseError, ClientError, OSError, TimeoutError) as error:
            log.warning("query failed", query=name, is_begun=is_begun, error=_first_line(error))
            raise (StreamBroken if is_begun else ReadsUnavailable) from None
        QUERY_SECONDS.labels(name).observe(perf_counter() - started)
        if held:
            yield bytes(held)

    async def answers(self) -> bool:
        """Whether ClickHouse answers and holds the tables."""
        try:
            await self.rows("ready", "SELECT count() FROM post_totals_store WHERE workspace_id = ''", {})
        except ReadsUnavailable:
            return False
        return True

    def reconnect(self) -> None:
        """Have the next query connect anew, by the settings as they are now; queries that run go on."""
        # Closed with the others at the end, since an export may still run on one of them.
        self._retired += [one for one in (self._client, self._form_client, self._patient_client) if one is not None]
        self._client = self._form_client = self._patient_client = None

    async def close(self) -> None:
        """Close all connections to ClickHouse; no query may follow."""
        self.reconnect()
        for client in self._retired:
            await client.close()
        self._retired.clear()

    async def _connect(self) -> AsyncClient:
        async with self._connecting:
            if self._client is None:
                self._client = await self._new_client(DEADLINE_SECONDS, 2 * _MOST_QUERIES, is_form=False)
            return self._client

    async def _connect_form(self) -> AsyncClient:
        """The client for parameters that don't fit into an address."""
        async with self._connecting:
            if self._form_client is None:
                self._form_client = await self._new_client(DEADLINE_SECONDS, 2 * _MOST_QUERIES)
            return self._form_client

    async def _connect_patient(self) -> AsyncClient:
        """The client for queries that may take long; it has its own connections, so that look-ups never wait."""
        async with self._connecting:
            if self._patient_client is None:
                self._patient_client = await self._new_client(_SILENCE_SECONDS, 12)
            return self._patient_client

    async def _new_client(self, silence_seconds: float, connections: int, is_form: bool = True) -> AsyncClient:
        return await clickhouse_connect.get_async_client(
            **self._settings.clickhouse_connection(),
            database=self._settings.clickhouse_database,
            # A session allows one query at a time, but these queries run side by side.
            autogenerate_session_id=False,
            connect_timeout=2,
            send_receive_timeout=silence_seconds,
            # A look-up's rows fit into one packet, so compression costs more than it saves.
            compress=False,
            form_encode_query_params=is_form,
            connector_limit_per_host=connections,
        )


def _text_length(parameters: Mapping[str, Any]) -> int:
    """The approximate length of the parameters as text."""
    return sum(len(str(value)) for value in parameters.values())


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else repr(error)
