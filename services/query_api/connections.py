"""What happened to channels' connections, in memory: the latest events of each channel. No I/O."""

from __future__ import annotations

from collections import deque
from datetime import timedelta

from schemas.events import AccountEvent
from schemas.topic_names import ACCOUNT_EVENTS
from services.query_api.views import TopicView

KEPT = timedelta(days=30)
"""How long an event is shown; the topic's own retention, so that a process shows what one just started would show."""
MOST_EVENTS = 100
"""How many events of a channel are held."""


class Connections(TopicView[AccountEvent]):
    """The latest events of every channel on `accounts.events`, by workspace and channel."""

    topic = ACCOUNT_EVENTS

    def __init__(self) -> None:
        super().__init__()
        self._events: dict[tuple[str, str], deque[AccountEvent]] = {}

    def apply(self, key: tuple[str, str], event: AccountEvent | None) -> None:
        """Add an event; None takes away all events of the channel."""
        if event is None:
            self._events.pop(key, None)
            return
        held = self._events.setdefault(key, deque(maxlen=MOST_EVENTS))
        # After Kafka lost its place, the follower reads events anew.
        if event not in held:
            held.append(event)

    def of(self, workspace_id: str, channel_id: str, now: int) -> list[AccountEvent]:
        """The channel's events of the last 30 days, the latest first; `now` in ms."""
        since = now - KEPT // timedelta(milliseconds=1)
        held = self._events.get((workspace_id, channel_id), ())
        shown = [one for one in held if one.occurred_at >= since]
        # The topic's order, for events of one instant.
        shown.reverse()
        return sorted(shown, key=lambda one: -one.occurred_at)
