"""Which workspaces were deleted for good, and when: what a topic still holds of them until then counts no more.

`platform.raw` keeps events for its retention. A rebuild stores events again that have no row, and an audit names them:
both pass over events of an erased workspace that came before it was erased. The note stands among those of rebuilds.
"""

from __future__ import annotations

from typing import Final

from services.aggregator.rows import REBUILD_PROGRESS

_PREFIX: Final = "/erased/"
# The row's value of `generation`: no rebuild has it.
GENERATION: Final = 0
QUERY: Final = (
    f"SELECT workspace_id, toUnixTimestamp64Milli(updated_at) FROM {REBUILD_PROGRESS[0]} FINAL "
    f"WHERE generation = {GENERATION} AND startsWith(workspace_id, '{_PREFIX}')"
)


def note(workspace_id: str, now: int) -> tuple[int, str, str, int, int, int]:
    """The row that says that a workspace was erased."""
    return (GENERATION, f"{_PREFIX}{workspace_id}", "", 1, 0, now)


def workspace_of(noted: str) -> str:
    """The workspace of a row that `QUERY` found; workspace ids hold no slash."""
    return noted.removeprefix(_PREFIX)
