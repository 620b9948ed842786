"""Looks up in the mirrored catalog which workspaces have a channel."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from typing import Any, Protocol

from services.runtime.clock import Clock

_HELD_MAX = 20_000
_MEMORY_MILLIS = 60_000


class Queries(Protocol):
    """Runs queries; `ClickHouse` in production."""

    async def query(self, query: str, parameters: dict[str, Any] | None = None) -> Any:
        """The rows of a query."""


class Tenants:
    """Looks workspaces up and remembers each answer for 60 s; shared by all partitions of a process."""

    def __init__(self, store: Queries, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._held: OrderedDict[str, tuple[int, bool]] = OrderedDict()

    async def known(self, workspace_ids: Collection[str]) -> set[str]:
        """The workspaces, out of the given ones, that have a channel in the catalog."""
        now = self._clock.now()
        found = {name: self._held[name] for name in workspace_ids if name in self._held}
        missing = [name for name in workspace_ids if name not in found or found[name][0] < now]
        if missing:
            rows = await self._store.query(
                "SELECT DISTINCT workspace_id FROM channels_store WHERE workspace_id IN {names:Array(String)}",
                {"names": missing},
            )
            present = {row[0] for row in rows}
            for name in missing:
                self._held[name] = found[name] = (now + _MEMORY_MILLIS, name in present)
            while len(self._held) > _HELD_MAX:
                self._held.popitem(last=False)
        return {name for name, (_, is_known) in found.items() if is_known}
