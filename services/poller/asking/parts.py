"""Remembers in which parts a question that fails was being asked when the budget ended the round; pure.

The next round would otherwise ask for the same targets, or the same metrics, together again, see that fail, and end
before any part is asked for: where the budget has room for one call at a time, it would do so for ever, in place of
everybody else's posts.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

from services.poller.asking.questions import Subject
from services.poller.keys import ChannelKey

MOST_PUT_OFF = 50_000


class _Part:
    __slots__ = ("metrics", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.metrics: dict[tuple[str, ...], None] = {}


class Parts:
    """What was put off, by whose refusals it would meet (`owner_of`), shape and subject.

    Forgotten as soon as it is known what becomes of the subject; of too many, those that were put off first.
    """

    def __init__(self, most: int = MOST_PUT_OFF) -> None:
        self._most = most
        self._known: OrderedDict[tuple[ChannelKey, str, Subject], _Part] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def put_off(self, owner: ChannelKey, shape: str, subjects: Sequence[Subject], metrics: Sequence[str] = ()) -> None:
        """These are to be asked for together, and with no others.

        Args:
            metrics: of a lone subject, those that are to be asked for together; others of it may be put off, too.
        """
        for subject in subjects:
            part = self._known.setdefault((owner, shape, subject), _Part(len(subjects)))
            part.size = len(subjects)
            if metrics:
                part.metrics[tuple(metrics)] = None
        while len(self._known) > self._most:
            self._known.popitem(last=False)

    def size(self, owner: ChannelKey, shape: str, subject: Subject) -> int | None:
        """With how many at most a subject is asked for, itself counted; None where nothing was put off."""
        part = self._known.get((owner, shape, subject))
        return None if part is None else part.size

    def take_metrics(self, owner: ChannelKey, shape: str, subject: Subject) -> list[tuple[str, ...]]:
        """What is to be asked together of a subject now; what follows is put off anew, if it must be.

        [] where all of its metrics are asked for together.
        """
        part = self._known.get((owner, shape, subject))
        if part is None:
            return []
        taken = list(part.metrics)
        part.metrics.clear()
        return taken

    def settled(self, owner: ChannelKey, shape: str, subjects: Iterable[Subject]) -> None:
        """Of these it is known now what becomes of them."""
        for subject in subjects:
            self._known.pop((owner, shape, subject), None)

    def forget_channel(self, key: ChannelKey) -> None:
        """A channel is connected anew."""
        for held in [one for one in self._known if one[2].channel == key]:
            del self._known[held]
