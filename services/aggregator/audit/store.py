"""Runs the audit's statements on ClickHouse. Reads only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import clickhouse_connect
from clickhouse_connect.driver.exceptions import ClickHouseError

from services.aggregator.audit.checks import Check, Scope
from services.aggregator.audit.plan import Part
from services.aggregator.rebuild_runs import RUNS_QUERY, UNCLAIMED_QUERY, unfinished_rebuild
from services.runtime.clock import Clock
from services.runtime.settings import ClickHouseSettings

Key = tuple[str, str]
# Together these tables have a row of every workspace that has any number; each with whether it has generations.
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
    """The audit can't go on; the error's message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A stored row or message that differs from the recomputed one.

    Attributes:
        check: the check's name.
        key: the row's id, by which the row is compared again.
        label: the row's id as shown to a person.
        fields: (field, stored, recomputed) for each field that differs.
    """

    check: str
    workspace_id: str
    key: str
    label: str
    fields: tuple[tuple[str, str | None, str | None], ...]


class AuditStore:
    """The ClickHouse connection of one audit.

    Args:
        clock: gives the end of windows that never expire.
        memory_mebibytes: the most memory of one statement; grouping spills to disk from half of it on, and a statement
            that needs more fails.
        threads: the most threads of one statement.

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
        """How long rows of these tables are kept, in days; 0 for rows that are kept for ever."""
        rows = self._query(
            "SELECT extract(engine_full, 'TTL .*?toIntervalDay\\\\((\\\\d+)\\\\)') FROM system.tables "
            "WHERE database = currentDatabase() AND name IN {tables:Array(String)}",
            {"tables": list(tables)},
        )
        days = [int(row[0]) for row in rows if row[0]]
        return min(days, default=0)

    def keeps_raw_event(self, captured_at: int) -> bool:
        """Whether the row of a raw event that was captured at this instant (ms) must still be stored."""
        days = self._raw_event_days
        # A merge drops expired rows some time after they expire, so one more day counts as expired.
        return not days or captured_at >= self._clock.now() - (days - 1) * _DAY_MILLIS

    def require_steady(self) -> None:
        """Refuse to compare while a rebuild is taken over: tables and topics may then be of two generations.

        Raises:
            AuditFailed: a rebuild is being taken over, or was taken over since this store was made.
        """
        found = unfinished_rebuild(self._query(UNCLAIMED_QUERY, {}), self._query(RUNS_QUERY, {}))
        if (found is not None and found.state == "handover") or self._active_generation() != self.generation:
            raise AuditFailed(
                "a rebuild is being taken over, so tables and topics may be of two generations; audit again once "
                "`tidemark rebuild` is done"
            )

    def close(self) -> None:
        """Close the connection to ClickHouse."""
        self._client.close()

    def rows_by_workspace(self, workspace: str | None) -> list[tuple[str, int]]:
        """The number of stored rows of each workspace; of `workspace` only, unless it is None.

        Raises:
            AuditFailed: ClickHouse can't answer.
        """
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
        """The rows of a part that differ.

        Raises:
            AuditFailed: ClickHouse can't answer.
        """
        scope = Scope(parts=part.parts)
        parameters = {"workspaces": list(part.workspaces), "part": part.part, "parts": part.parts}
        if check.keys is not None:
            found = self._query(check.keys(scope), {**parameters, "generation": self.generation})
            return self.differences_of(check, [(row[0], row[1]) for row in found])
        return self._differences(check, scope, parameters)

    def differences_of(self, check: Check, keys: Sequence[Key]) -> list[Difference]:
        """The rows of these keys that differ.

        Raises:
            AuditFailed: ClickHouse can't answer.
        """
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
        # A merge drops expired rows some time after they expire, so one more day counts as expired.
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
        """Yield the rows of a query, which are fetched block by block.

        Raises:
            AuditFailed: ClickHouse can't answer.
        """
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
    return AuditFailed(f"ClickHouse could not answer ({line}); run `tidemark migrate`, or raise --memory-mb")
