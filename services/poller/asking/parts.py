"""Remembers in which parts a batch that fails was being asked for when the budget ended the round; pure.

The next round would otherwise ask for the same batch again, see it fail, and end before any of its parts is asked for:
where the budget has room for one call at a time, it would do so for ever, in place of everybody else's posts.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

from services.poller.asking.questions import Subject
from services.poller.keys import ChannelKey

MOST_PUT_OFF = 50_000


class Parts:
    """The number of targets in each subject's part, by whose refusals it would meet (`owner_of`), and shape.

    Forgotten as soon as it is known what becomes of the subject; of too many, those that were put off first.
    """

    def __init__(self, most: int = MOST_PUT_OFF) -> None:
        self._most = most
        self._sizes: OrderedDict[tuple[ChannelKey, str, Subject], int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sizes)

    def put_off(self, owner: ChannelKey, shape: str, subjects: Sequence[Subject]) -> None:
        """These are to be asked for together, and with no others."""
        for subject in subjects:
            self._sizes[owner, shape, subject] = len(subjects)
        while len(self._sizes) > self._most:
            self._sizes.popitem(last=False)

    def size(self, owner: ChannelKey, shape: str, subject: Subject) -> int | None:
        """With how many at most a subject is asked for, itself counted; None where nothing was put off."""
        return self._sizes.get((owner, shape, subject))

    def settled(self, owner: ChannelKey, shape: str, subjects: Iterable[Subject]) -> None:
        """Of these it is known now what becomes of them."""
        for subject in subjects:
            self._sizes.pop((owner, shape, subject), None)

    def forget_channel(self, key: ChannelKey) -> None:
        """A channel is connected anew."""
        for held in [one for one in self._sizes if one[2].channel == key]:
            del self._sizes[held]
