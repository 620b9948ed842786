"""Raw events of ClickHouse as pages of Parquet, in the order of their keys, and back.

A page is at most 10,000 events and about 64 MiB of answers, since a Parquet file is read as a whole. In the restored
table `topic` begins with `restored:`: partition and offset are those of the broker that the events came from, and say
nothing about the topic of the new installation.

Guarantee: inserting a page twice gives the same rows, which replace each other by workspace and event id.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from services.aggregator.backup.archive import BackupError
from services.aggregator.rows import RAW_EVENTS, RESTORED_TOPIC
from services.runtime.settings import ClickHouseSettings

_ROWS_PER_PAGE = 10_000
_BYTES_PER_PAGE = 64 * 1024 * 1024
_ROWS_PER_GROUP = 1_000
_PARQUET_END = b"PAR1"
_TABLE, _COLUMNS = RAW_EVENTS
_SECONDS = 600
Key = tuple[str, str]


class RawRows:
    """The raw events of one database.

    Raises:
        BackupError: ClickHouse can't be used.
    """

    def __init__(self, settings: ClickHouseSettings) -> None:
        try:
            self._client: Client = clickhouse_connect.get_client(
                **settings.clickhouse_connection(),
                database=settings.clickhouse_database,
                autogenerate_session_id=False,
                connect_timeout=10,
                send_receive_timeout=_SECONDS,
            )
        except (ClickHouseError, OSError) as error:
            raise _unusable(error) from None

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def count(self) -> int:
        """How many rows there are, repeated ones included.

        Raises:
            BackupError: ClickHouse can't be used.
        """
        return int(self.query(f"SELECT count() FROM {_TABLE}", {})[0][0])

    def identity(self) -> str:
        """Names the table as it is now: a table made anew has another name."""
        return str(
            self.query(
                "SELECT toString(uuid) FROM system.tables WHERE database = currentDatabase() AND name = {name:String}",
                {"name": _TABLE},
            )[0][0]
        )

    def pages(self) -> Iterator[tuple[Key, Key, int]]:
        """Yield each page as the key before its first event, the key of its last event, and its number of events.

        Raises:
            BackupError: ClickHouse can't be used.
        """
        after: Key = ("", "")
        while rows := self._keys(after):
            size, taken = 0, 0
            for _, _, length in rows:
                size += length
                taken += 1
                if size >= _BYTES_PER_PAGE:
                    break
            last: Key = (rows[taken - 1][0], rows[taken - 1][1])
            yield after, last, taken
            after = last

    def _keys(self, after: Key) -> list[Any]:
        return self.query(
            f"SELECT workspace_id, event_id, length(body) FROM {_TABLE} FINAL "
            "WHERE (workspace_id, event_id) > ({workspace:String}, {event:String}) "
            f"ORDER BY workspace_id, event_id LIMIT {_ROWS_PER_PAGE}",
            {"workspace": after[0], "event": after[1]},
        )

    def parquet(self, after: Key, last: Key) -> Iterator[bytes]:
        """Yield a page as a Parquet file.

        Raises:
            BackupError: ClickHouse can't be used, or broke off.
        """
        columns = ", ".join(f"`{name}`" if name != "topic" else _restored_topic() for name in _COLUMNS)
        return self._stream(
            f"SELECT {columns} FROM {_TABLE} FINAL "
            "WHERE (workspace_id, event_id) > ({w1:String}, {e1:String}) "
            "AND (workspace_id, event_id) <= ({w2:String}, {e2:String}) ORDER BY workspace_id, event_id",
            {"w1": after[0], "e1": after[1], "w2": last[0], "e2": last[1]},
        )

    def _stream(self, query: str, parameters: dict[str, Any]) -> Iterator[bytes]:
        end = b""
        try:
            stream: Any = self._client.raw_stream(
                query,
                parameters=parameters,
                fmt="Parquet",
                settings={
                    "output_format_parquet_row_group_size": _ROWS_PER_GROUP,
                    "output_format_parquet_compression_method": "zstd",
                    "output_format_parquet_string_as_string": 1,
                },
            )
            while chunk := stream.read(1024 * 1024):
                end = (end + chunk)[-len(_PARQUET_END) :]
                yield chunk
        except (ClickHouseError, OSError) as error:
            raise _unusable(error) from None
        if end != _PARQUET_END:
            raise BackupError("ClickHouse broke off while it sent rows; run the command again")

    def count_of(self, table: str, workspace: str) -> int:
        """How many rows of a table or view are of a workspace.

        Raises:
            BackupError: ClickHouse can't be used.
        """
        query = f"SELECT count() FROM {table} WHERE workspace_id = {{workspace:String}}"
        return int(self.query(query, {"workspace": workspace})[0][0])

    def view(self, view: str, workspace: str) -> Iterator[bytes]:
        """Yield a workspace's rows of a public table as a Parquet file.

        Raises:
            BackupError: ClickHouse can't be used, or broke off.
        """
        query = f"SELECT * FROM {view} WHERE workspace_id = {{workspace:String}} ORDER BY ALL"
        return self._stream(query, {"workspace": workspace})

    def insert(self, page: bytes) -> None:
        """Insert a page.

        Raises:
            BackupError: ClickHouse can't be used, or refuses the page.
        """
        try:
            self._client.raw_insert(
                _TABLE,
                column_names=list(_COLUMNS),
                insert_block=page,
                fmt="Parquet",
                # The same page may come again after the table was emptied: no block is taken for a repeated one.
                settings={"insert_deduplicate": 0, "max_partitions_per_insert_block": 0},
            )
        except (ClickHouseError, OSError) as error:
            raise _unusable(error) from None

    def insert_rows(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Insert rows of values into any table.

        Raises:
            BackupError: ClickHouse can't be used.
        """
        try:
            self._client.insert(table, rows, column_names=list(columns))
        except (ClickHouseError, OSError) as error:
            raise _unusable(error) from None

    def migration(self) -> int:
        """The number of the newest migration that was applied.

        Raises:
            BackupError: ClickHouse can't be used, or has no tables of Tidemark.
        """
        return int(self.query("SELECT max(number) FROM schema_migrations", {})[0][0])

    def relabel(self) -> None:
        """Mark all rows as those of a topic that is gone: its offsets say nothing about a topic made anew.

        Raises:
            BackupError: ClickHouse can't be used.
        """
        self.command(
            f"ALTER TABLE {_TABLE} UPDATE topic = concat('{RESTORED_TOPIC}', topic) "
            f"WHERE NOT startsWith(topic, '{RESTORED_TOPIC}')"
        )

    def command(self, statement: str, parameters: dict[str, Any] | None = None) -> None:
        """Run a statement, and wait until every replica has done it.

        Raises:
            BackupError: ClickHouse can't be used.
        """
        try:
            self._client.command(statement, parameters=parameters, settings={"mutations_sync": 2})
        except (ClickHouseError, OSError) as error:
            raise _unusable(error) from None

    def query(self, query: str, parameters: dict[str, Any]) -> list[Any]:
        """Rows of a query.

        Raises:
            BackupError: ClickHouse can't be used.
        """
        try:
            return list(self._client.query(query, parameters=parameters).result_rows)
        except (ClickHouseError, OSError) as error:
            raise _unusable(error) from None


def _restored_topic() -> str:
    return f"if(startsWith(topic, '{RESTORED_TOPIC}'), topic, concat('{RESTORED_TOPIC}', topic)) AS topic"


def _unusable(error: Exception) -> BackupError:
    line = str(error).splitlines()[0] if str(error) else type(error).__name__
    return BackupError(
        f"ClickHouse can't be used ({line[:300]}); check TIDEMARK_CLICKHOUSE_URL, and `tidemark migrate`"
    )
