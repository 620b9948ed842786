"""What polls cost, in memory: each workspace's months at platforms that bill for reads. No I/O."""

from __future__ import annotations

from schemas.events import PollerSpending
from schemas.topic_names import SPENDING
from services.query_api.views import TopicView


class Spending(TopicView[PollerSpending]):
    """Every month that `poller.spending` holds, by workspace, platform and month."""

    topic = SPENDING

    def __init__(self) -> None:
        super().__init__()
        self._months: dict[str, dict[str, PollerSpending]] = {}

    def apply(self, key: tuple[str, str], event: PollerSpending | None) -> None:
        """Add, change or delete one month."""
        months = self._months.setdefault(key[0], {})
        if event is None:
            months.pop(key[1], None)
        else:
            months[key[1]] = event

    def of(self, workspace_id: str, month: str) -> list[PollerSpending]:
        """What a workspace's polls cost in a month, by platform; [] where nothing is billed."""
        held = self._months.get(workspace_id, {}).values()
        return sorted((one for one in held if one.month == month), key=lambda one: one.platform)
