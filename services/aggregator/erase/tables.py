"""The rows that ClickHouse holds of one workspace: removed from the parts themselves, and counted.

Guarantee: removing twice does no harm. A removal has ended only once every replica has rewritten its parts.
"""

from __future__ import annotations

from typing import Final

from services.aggregator.backup.raw_rows import RawRows
from services.aggregator.rebuild import GENERATION_TABLES
from services.aggregator.rows import REBUILD_PROGRESS

TABLES: Final = (
    "channels_store",
    "posts_store",
    "raw_events_store",
    *GENERATION_TABLES,
    "webhook_deliveries",
    REBUILD_PROGRESS[0],
)
"""Every table with rows of workspaces."""


class WorkspaceTables:
    """One workspace's rows of all tables. Blocking."""

    def __init__(self, rows: RawRows, workspace_id: str) -> None:
        self._rows = rows
        self._workspace_id = workspace_id

    def count(self, table: str) -> int:
        """How many rows there are, of all generations, those of deleted posts and channels included.

        Raises:
            BackupError: ClickHouse can't be used.
        """
        return self._rows.count_of(table, self._workspace_id)

    def erase(self, table: str) -> int:
        """Remove the rows, and wait for it; returns their number.

        Raises:
            BackupError: ClickHouse can't be used.
        """
        count = self.count(table)
        if count:
            self._rows.command(
                f"ALTER TABLE {table} DELETE WHERE workspace_id = {{workspace:String}}",
                {"workspace": self._workspace_id},
            )
        return count
