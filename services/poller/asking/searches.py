"""Remembers of which kinds of targets a refused metric is being searched for, so that one search serves them all; pure.

A platform that refuses a metric without naming it is asked with half of the metrics at a time. Rounds that ask for
other targets of the kind meanwhile wait for what that finds. Instants are ms.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection

from services.poller.asking.refusals import Kind
from services.poller.keys import ChannelKey
from services.runtime.clock import MILLIS_PER_SECOND

MOST_SEARCHES = 5_000
# Since its last step; a search that comes to nothing keeps nobody waiting for longer.
LONGEST = 60 * MILLIS_PER_SECOND


class Searches:
    """Those under way, by channel and kind; the longest without a step are forgotten first."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[ChannelKey, Kind], tuple[str, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def step(self, key: ChannelKey, kind: Kind, external_id: str, now: int) -> None:
        """A target that is asked for alone is asked for with half of the metrics; the first one to be so searches."""
        if self.wait_until(key, kind, (external_id,), now):
            return
        self._known[key, kind] = (external_id, now + LONGEST)
        self._known.move_to_end((key, kind))
        if len(self._known) > MOST_SEARCHES:
            self._known.popitem(last=False)

    def wait_until(self, key: ChannelKey, kind: Kind, external_ids: Collection[str], now: int) -> int:
        """Until when at most to wait for the search with another target than these; 0: there is none."""
        found = self._known.get((key, kind))
        if found is None or found[0] in external_ids:
            return 0
        if found[1] <= now:
            del self._known[key, kind]
            return 0
        return found[1]

    def end(self, key: ChannelKey, kind: Kind) -> None:
        """What is refused was found."""
        self._known.pop((key, kind), None)

    def clock_set_back(self, by: int) -> None:
        """The clock was set back by so many ms."""
        for one, (external_id, until) in self._known.items():
            self._known[one] = (external_id, until - by)
