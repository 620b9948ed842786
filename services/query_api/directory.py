"""Connected accounts in memory: what a reply shows of a channel, and whether it is there at all. No I/O."""

from __future__ import annotations

from schemas.events import CatalogChannel
from services.query_api.views import TopicView


class Directory(TopicView[CatalogChannel]):
    """Every channel that the catalog holds, by workspace and id."""

    topic = "catalog.channels"

    def __init__(self) -> None:
        super().__init__()
        self._channels: dict[tuple[str, str], CatalogChannel] = {}

    def apply(self, key: tuple[str, str], event: CatalogChannel | None) -> None:
        """Add, change or delete one channel."""
        if event is None:
            self._channels.pop(key, None)
        else:
            self._channels[key] = event

    def get(self, workspace_id: str, channel_id: str) -> CatalogChannel | None:
        """The channel, None when the catalog does not hold it."""
        return self._channels.get((workspace_id, channel_id))
