"""Connected accounts in memory: whether a channel exists, and its catalog entry. No I/O."""

from __future__ import annotations

from collections.abc import Callable

from schemas.events import CatalogChannel
from schemas.topic_names import CHANNELS
from services.query_api.views import TopicView


class Directory(TopicView[CatalogChannel]):
    """Every channel that the catalog holds, by workspace and id.

    Attributes:
        on_change: called with the workspace after a change.
    """

    topic = CHANNELS

    def __init__(self) -> None:
        super().__init__()
        self._channels: dict[tuple[str, str], CatalogChannel] = {}
        self.on_change: Callable[[str], None] = _nothing

    def apply(self, key: tuple[str, str], event: CatalogChannel | None) -> None:
        """Add, change or delete one channel."""
        if event is None:
            self._channels.pop(key, None)
        else:
            self._channels[key] = event
        self.on_change(key[0])

    def get(self, workspace_id: str, channel_id: str) -> CatalogChannel | None:
        """The channel; None when the catalog does not hold it."""
        return self._channels.get((workspace_id, channel_id))

    def of(self, workspace_id: str) -> list[CatalogChannel]:
        """The channels of one workspace, unordered."""
        return [channel for (owner, _), channel in self._channels.items() if owner == workspace_id]

    def all(self) -> list[CatalogChannel]:
        """The channels of all workspaces, unordered."""
        return list(self._channels.values())


def _nothing(workspace_id: str) -> None:
    """Does nothing: no cache listens for changes yet."""
