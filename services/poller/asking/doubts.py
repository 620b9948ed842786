"""Remembers questions that failed without a reason, until it shows whether the platform failed or what was asked; pure.

A server error, a page in HTML or a time-out may be the platform's, the token's or one target's alone. Something else
that is answered after the first failure settles it: then the question that goes on failing fails for itself.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

from services.poller.asking.questions import Subject
from services.poller.keys import ChannelKey

MOST_DOUBTED = 50_000
_MOST_SHAPES = 5_000
Ask = tuple[str, Subject]
"""A subject with the shape of the call that asks for it."""


class _Failed:
    __slots__ = ("first", "times", "times_alone")

    def __init__(self, first: int) -> None:
        self.first = first
        self.times = 0
        self.times_alone = 0


class _Owner:
    __slots__ = ("again_at", "answered", "failed", "in_a_row", "witnesses")

    def __init__(self) -> None:
        self.in_a_row = 0
        self.witnesses = 0
        self.failed: dict[Ask, _Failed] = {}
        self.answered: dict[str, int] = {}
        self.again_at: dict[str, int] = {}


class Doubts:
    """What failed since it was last answered, by whose refusals it would meet (`owner_of`), shape and subject.

    The order of events counts, not their times. The longest unheard-of owners are forgotten first.
    """

    def __init__(self, most: int = MOST_DOUBTED) -> None:
        self._most = most
        self._owners: OrderedDict[ChannelKey, _Owner] = OrderedDict()
        self._shapes: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._count = 0
        self._events = 0

    def __len__(self) -> int:
        return self._count

    def of(self, owner: ChannelKey) -> bool:
        """Whether anything of an owner failed since it was last answered."""
        return owner in self._owners

    def times(self, owner: ChannelKey, shape: str, subject: Subject) -> int:
        """How often in a row a subject's question failed."""
        found = self._find(owner, shape, subject)
        return 0 if found is None else found.times

    def times_alone(self, owner: ChannelKey, shape: str, subject: Subject) -> int:
        """How often of these the question asked for nothing else."""
        found = self._find(owner, shape, subject)
        return 0 if found is None else found.times_alone

    def waits_until(self, owner: ChannelKey, shape: str, several: int) -> int:
        """When (ms) those that failed are tried again, where so many single ones of a shape failed; 0: not so many.

        One answer of the shape since then, and nothing waits.
        """
        held = self._owners.get(owner)
        if held is None or shape not in held.again_at:
            return 0
        return held.again_at[shape] if self.alone(owner, shape) >= several else 0

    def alone(self, owner: ChannelKey, shape: str) -> int:
        """How many targets failed that were asked for alone, since something of the shape was answered."""
        held = self._owners.get(owner)
        if held is None:
            return 0
        answered = held.answered.get(shape, 0)
        return sum(one.times_alone > 0 and one.first > answered for (of, _), one in held.failed.items() if of == shape)

    def failed(self, owner: ChannelKey, shape: str, subjects: Sequence[Subject], again_at: int = 0) -> None:
        """A question failed; it is asked again at an instant (ms)."""
        self._events += 1
        held = self._owners.setdefault(owner, _Owner())
        self._owners.move_to_end(owner)
        held.again_at[shape] = again_at
        held.in_a_row += 1
        for subject in subjects:
            one = held.failed.get((shape, subject))
            if one is None:
                one = held.failed[shape, subject] = _Failed(self._events)
                self._count += 1
            one.times += 1
            one.times_alone += len(subjects) == 1
        while self._count > self._most and len(self._owners) > 1:
            _, forgotten = self._owners.popitem(last=False)
            self._count -= len(forgotten.failed)

    def answered(self, owner: ChannelKey, name: str, shape: str) -> None:
        """A platform answered something of a shape."""
        if not self._owners:
            return
        self._events += 1
        self._shapes[name, shape] = self._events
        self._shapes.move_to_end((name, shape))
        if len(self._shapes) > _MOST_SHAPES:
            self._shapes.popitem(last=False)
        held = self._owners.get(owner)
        if held is not None:
            held.answered[shape] = self._events
            held.in_a_row = held.witnesses = 0

    def takes_witness(self, owner: ChannelKey) -> bool:
        """Whether to ask a witness now: ever more seldom while none is answered. It counts as asked."""
        held = self._owners.get(owner)
        if held is None or held.witnesses >= max(1, held.in_a_row.bit_length() - 1):
            return False
        held.witnesses += 1
        return True

    def settled(self, owner: ChannelKey, shape: str, subjects: Iterable[Subject]) -> None:
        """Of these it is known now what becomes of them: they were answered, or refused for what they are."""
        held = self._owners.get(owner)
        if held is None:
            return
        for subject in subjects:
            self._count -= held.failed.pop((shape, subject), None) is not None
        if not held.failed:
            del self._owners[owner]

    def is_own(
        self, owner: ChannelKey, name: str, shape: str, subjects: Sequence[Subject], *, counts_others: bool
    ) -> bool:
        """Whether a question fails for itself: each subject failed before, and after that something was answered.

        Args:
            counts_others: whether an answer of the same shape to another owner is enough.
        """
        held = self._owners.get(owner)
        if held is None or not subjects:
            return False
        first = 0
        for subject in subjects:
            found = held.failed.get((shape, subject))
            if found is None:
                return False
            first = max(first, found.first)
        answered = max(held.answered.values(), default=0)
        if counts_others:
            answered = max(answered, self._shapes.get((name, shape), 0))
        return answered > first

    def was_answered(self, owner: ChannelKey, shape: str, subjects: Sequence[Subject]) -> bool:
        """Whether something of the same shape was answered since all of these failed first."""
        held = self._owners.get(owner)
        if held is None:
            return False
        known = [found.first for subject in subjects if (found := held.failed.get((shape, subject))) is not None]
        return held.answered.get(shape, 0) > max(known, default=self._events)

    def forget_channel(self, key: ChannelKey) -> None:
        """A channel is connected anew."""
        forgotten = self._owners.pop(key, None)
        if forgotten is not None:
            self._count -= len(forgotten.failed)

    def clock_set_back(self, by: int) -> None:
        """The clock was set back by so many ms."""
        for held in self._owners.values():
            for shape in held.again_at:
                held.again_at[shape] -= by

    def _find(self, owner: ChannelKey, shape: str, subject: Subject) -> _Failed | None:
        held = self._owners.get(owner)
        return None if held is None else held.failed.get((shape, subject))
