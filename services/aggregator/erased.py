"""Which workspaces were deleted for good, and when: what a topic still holds of them until then counts no more.

`platform.raw` keeps events for its retention. A rebuild stores events again that have no row, and an audit names them:
both pass over events of an erased workspace that came before it was erased. The note stands among those of rebuilds,
and so does the request to an aggregator to forget what its memory holds of the workspace (`forgetting.py`).
"""

from __future__ import annotations

from typing import Final

from services.aggregator.rows import REBUILD_PROGRESS

_PREFIX: Final = "/erased/"
_REQUEST_PREFIX: Final = "/forget/"
# The row's value of `generation`: no rebuild has it.
GENERATION: Final = 0
QUERY: Final = (
    f"SELECT workspace_id, toUnixTimestamp64Milli(updated_at) FROM {REBUILD_PROGRESS[0]} FINAL "
    f"WHERE generation = {GENERATION} AND startsWith(workspace_id, '{_PREFIX}')"
)
REQUESTS: Final = (
    f"SELECT workspace_id, toUnixTimestamp64Milli(updated_at) FROM {REBUILD_PROGRESS[0]} FINAL "
    f"WHERE generation = {GENERATION} AND startsWith(workspace_id, '{_REQUEST_PREFIX}') AND is_done = 0"
)
"""The requests that no owner has answered yet."""
LAST_REQUEST: Final = (
    f"SELECT is_done, toUnixTimestamp64Milli(updated_at) FROM {REBUILD_PROGRESS[0]} FINAL "
    f"WHERE generation = {GENERATION} AND workspace_id = {{place:String}}"
)
"""One workspace's last request."""


def note(workspace_id: str, now: int) -> tuple[int, str, str, int, int, int]:
    """The row that says that a workspace was erased."""
    return (GENERATION, f"{_PREFIX}{workspace_id}", "", 1, 0, now)


def workspace_of(noted: str) -> str:
    """The workspace of a row that `QUERY` found; workspace ids hold no slash."""
    return noted.removeprefix(_PREFIX)


def request(workspace_id: str, now: int, *, is_done: bool = False) -> tuple[int, str, str, int, int, int]:
    """The row that asks the partition's owner to forget a workspace, or says that the owner did.

    Args:
        now: when it was asked for, ms; the answer has a later time.
    """
    return (GENERATION, f"{_REQUEST_PREFIX}{workspace_id}", "", int(is_done), 0, now)


def requested(noted: str) -> str:
    """The workspace of a row that `REQUESTS` found."""
    return noted.removeprefix(_REQUEST_PREFIX)
