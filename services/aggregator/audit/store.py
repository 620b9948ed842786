"""Runs the audit's statements on ClickHouse. Reads only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import clickhouse_connect
from clickhouse_connect.driver.exceptions import ClickHouseError

from services.aggregator.audit.checks import Check, Scope
from services.aggregator.audit.plan import Part
from services.runtime.clock import Clock
from services.runtime.settings import ClickHouseSettings

Key = tuple[str, str]
# Every table with one row or more of each workspace that has any number.
_TABLES = (
    ("post_snapshots_store", True),
    ("channel_snapshots_store", True),
    ("latest_post_metrics_store", True),
    ("latest_channel_metrics_store", True),
    ("post_totals_store", True),
    ("channel_totals_store", True),
    ("posts_store", False),
    ("channels_store", False),
)
_MEBIBYTE = 1 << 20
_KEYS_PER_STATEMENT = 500
_STATEMENT_SECONDS = 900
_DAY_MILLIS = 86_400_000


class AuditFailed(RuntimeError):
    """The audit can't go on; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A stored row or message that differs from what it should follow from.

    Attributes:
        check: name of the comparison.
        key: id of the row, for comparing it again.
        label: id as shown.
        fields: (field, stored, recomputed) where they differ.
    """

    check: str
    workspace_id: str
    key: str
    label: str
    fields: tuple[tuple[str, str | None, str | None], ...]


class AuditStore:
    """One connection for one audit.

    Args:
        clock: gives the instant for windows that never run out.
        memory_mebibytes: a statement that needs more spills to disk where it can, and fails where it can't.

    Raises:
        AuditFailed: ClickHouse can't be reached, or the tables are not there.
    """

    def __init__(self, settings: ClickHouseSettings, clock: Clock, memory_mebibytes: int, threads: int = 2) -> None:
        try:
            self._client = clickhouse_connect.get_client(
                **settings.clickhouse_connection(),
                database=settings.clickhouse_database,
                autogenerate_session_id=False,
                form_encode_query_params=True,
                connect_timeout=10,
                send_receive_timeout=_STATEMENT_SECONDS,
            )
        except ClickHouseError as error:
            line = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise AuditFailed(f"ClickHouse can't be used ({line}); check TIDEMARK_CLICKHOUSE_URL") from None
        self._clock = clock
        self._settings: dict[str, Any] = {
            "max_threads": threads,
            "max_block_size": 2048,
            "max_joined_block_size_rows": 2048,
            "max_memory_usage": memory_mebibytes * _MEBIBYTE,
            "max_bytes_before_external_group_by": memory_mebibytes * _MEBIBYTE // 2,
            "join_use_nulls": 0,
            "max_execution_time": _STATEMENT_SECONDS,
        }
        self.generation = self._active_generation()
        self._snapshot_days = self._retention_days("post_snapshots_store", "channel_snapshots_store")
        self._raw_event_days = self._retention_days("raw_events_store")

    def _active_generation(self) -> int:
        return int(self._query("SELECT argMax(generation, version) FROM active_generations", {})[0][0])

    def _retention_days(self, *tables: str) -> int:
        """How long rows of these tables are kept; 0: for ever."""
        rows = self._query(
            "SELECT extract(engine_full, 'TTL .*?toIntervalDay\\\\((\\\\d+)\\\\)') FROM system.tables "
            "WHERE database = currentDatabase() AND name IN {tables:Array(String)}",
            {"tables": list(tables)},
        )
        days = [int(row[0]) for row in rows if row[0]]
        return min(days, default=0)

    def keeps_raw_event(self, captured_at: int) -> bool:
        """Whether the row of a raw event of this time (ms) must still be there."""
        days = self._raw_event_days
        # Merges drop what is too old at their leisure: a day on the safe side.
        return not days or captured_at >= self._clock.now() - (days - 1) * _DAY_MILLIS

    def require_steady(self) -> None:
        """Refuse to compare while tables and topics may be of two generations, in the last minutes of a rebuild.

        Raises:
            AuditFailed: the topics move to a rebuilt generation, or the tables did since this store was made.
        """
        moving = self._query("SELECT count() FROM rebuilds FINAL WHERE state = 'handover'", {})[0][0]
        if moving or self._active_generation() != self.generation:
            raise AuditFailed(
                "a rebuild is taking over, so tables and topics may tell two generations; audit again once "
                "`tidemark rebuild` is done"
            )

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def rows_by_workspace(self, workspace: str | None) -> list[tuple[str, int]]:
        """Number of stored rows by workspace; of one workspace where one is chosen."""
        where = "workspace_id = {workspace:String}" if workspace is not None else "1"
        counts = " UNION ALL ".join(
            f"SELECT workspace_id, count() AS n FROM {table} WHERE {where}"
            + (" AND generation = {generation:UInt16}" if has_generation else "")
            + " GROUP BY workspace_id"
            for table, has_generation in _TABLES
        )
        query = f"SELECT workspace_id, sum(n) FROM ({counts}) GROUP BY workspace_id"
        found = self._query(query, {"workspace": workspace or "", "generation": self.generation})
        return [(str(name), int(rows)) for name, rows in found]

    def differences(self, check: Check, part: Part) -> list[Difference]:
        """The differences in a part."""
        scope = Scope(parts=part.parts)
        parameters = {"workspaces": list(part.workspaces), "part": part.part, "parts": part.parts}
        if check.keys is not None:
            found = self._query(check.keys(scope), {**parameters, "generation": self.generation})
            return self.differences_of(check, [(row[0], row[1]) for row in found])
        return self._differences(check, scope, parameters)

    def differences_of(self, check: Check, keys: Sequence[Key]) -> list[Difference]:
        """The differences among some keys."""
        found: list[Difference] = []
        size = check.keys_per_statement or _KEYS_PER_STATEMENT
        for start in range(0, len(keys), size):
            some = list(keys[start : start + size])
            parameters = {"workspaces": sorted({workspace_id for workspace_id, _ in some}), "keys": some}
            found += self._differences(check, Scope(by_keys=True), parameters)
        return found

    def _differences(self, check: Check, scope: Scope, parameters: dict[str, Any]) -> list[Difference]:
        now = self._clock.now()
        days = self._snapshot_days
        # Merges drop what is too old at their leisure: a day on the safe side.
        forgotten = now - (days - 1) * _DAY_MILLIS if days else 0
        parameters = {**parameters, "generation": self.generation, "now": now, "forgotten": forgotten}
        return [
            Difference(
                check.name,
                workspace_id,
                key,
                label,
                tuple(
                    (name, was, is_now)
                    for name, was, is_now in zip(check.fields, stored, recomputed, strict=True)
                    if was != is_now
                ),
            )
            for workspace_id, key, label, stored, recomputed in self._query(check.statement(scope), parameters)
        ]

    def stream(self, query: str, parameters: dict[str, Any]) -> Iterator[Sequence[Any]]:
        """Rows of a query, block by block."""
        try:
            with self._client.query_row_block_stream(
                query, parameters={**parameters, "generation": self.generation}, settings=self._settings
            ) as blocks:
                for block in blocks:
                    yield from block
        except ClickHouseError as error:
            raise _failed(error) from None

    def _query(self, query: str, parameters: dict[str, Any]) -> Sequence[Sequence[Any]]:
        try:
            return self._client.query(query, parameters=parameters, settings=self._settings).result_rows
        except ClickHouseError as error:
            raise _failed(error) from None


def _failed(error: ClickHouseError) -> AuditFailed:
    line = str(error).splitlines()[0] if str(error) else type(error).__name__
    return AuditFailed(f"ClickHouse could not answer ({line}); run `tidemark migrate`, or give --memory-mb more")
