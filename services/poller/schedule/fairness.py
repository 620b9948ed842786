"""Whose turn it is when not all can be served at once: start-time fair queueing over workspaces; pure.

Each flow (a workspace) has a tag of virtual time that grows by the cost of what it was given. The flow with the least
tag is next, so flows that always have something waiting get equal parts however much each of them wants. A flow that
had nothing waiting for a while may catch up with the others, but only so far: what it did not use is saved up to a
bound. While nobody waits, what a flow is given costs it nothing of its later turns.

Source: Goyal, Vin, Cheng, "Start-time Fair Queueing" (SIGCOMM 1996).
"""

from __future__ import annotations

import heapq
from typing import Generic, NamedTuple, TypeVar

# What a flow saves up at most, in the unit of `charge`. Of two workspaces that want the same at other hours of the day,
# each should get the same in the end; and one that was silent for long must not take all turns for long.
CREDIT = 20.0

Item = TypeVar("Item")


class Turn(NamedTuple, Generic[Item]):
    """What is next; `rank` is the one that it was put in with."""

    flow: str
    rank: int
    item: Item


class _Flow(Generic[Item]):
    __slots__ = ("heap", "is_waiting", "tag")

    def __init__(self, tag: float) -> None:
        self.tag = tag
        self.is_waiting = False
        self.heap: list[tuple[int, int, Item]] = []


class FairQueue(Generic[Item]):
    """Items of flows; within a flow the least rank first. Holds one tag for every flow that it ever saw."""

    def __init__(self) -> None:
        self._flows: dict[str, _Flow[Item]] = {}
        self._turns: list[tuple[float, int, str]] = []
        self._virtual = 0.0
        self._count = 0
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def put(self, flow: str, rank: int, item: Item) -> None:
        """Let an item of a flow wait; of one flow the lowest rank is taken first."""
        found = self._flows.get(flow)
        if found is None:
            found = self._flows[flow] = _Flow(self._virtual)
        self._count += 1
        self._size += 1
        heapq.heappush(found.heap, (rank, self._count, item))
        self._wait(flow, found)

    def pop(self) -> Turn[Item] | None:
        """Take the next item, free of charge until `charge`; None when nothing waits."""
        while self._turns:
            tag, _, name = heapq.heappop(self._turns)
            flow = self._flows[name]
            flow.is_waiting = False
            if tag < flow.tag:
                # Charged since it took its place.
                self._wait(name, flow)
                continue
            self._virtual = max(self._virtual, tag)
            rank, _, item = heapq.heappop(flow.heap)
            self._size -= 1
            if flow.heap:
                self._wait(name, flow)
            return Turn(name, rank, item)
        return None

    def charge(self, flow: str, cost: float) -> None:
        """What a flow was given, in any unit that is the same for all."""
        found = self._flows.get(flow)
        if found is None:
            found = self._flows[flow] = _Flow(self._virtual)
        if not self._size:
            self._virtual = max(self._virtual, found.tag)
        found.tag = max(found.tag, self._virtual - CREDIT) + cost

    def _wait(self, name: str, flow: _Flow[Item]) -> None:
        if not flow.is_waiting:
            flow.tag = max(flow.tag, self._virtual - CREDIT)
            flow.is_waiting = True
            self._count += 1
            heapq.heappush(self._turns, (flow.tag, self._count, name))
