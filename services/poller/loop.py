"""The polling loop: for each platform, take what is due and ask for it, as many rounds at a time as allowed.

Platforms don't wait for one another: each has its own dispatcher, its own places and its own circuit. Without a lease
(`ownership.py`) no round begins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import ExitStack

from services.poller.asking.channel_rounds import ChannelRounds
from services.poller.asking.circuit import Circuit
from services.poller.asking.shared_rounds import SharedRounds
from services.poller.partitions.ownership import Ownership, alone
from services.poller.schedule.batch import Batch
from services.poller.schedule.schedule import Schedule
from services.poller.timing import Time

# How soon after a lease ended its renewal is looked for, ms.
_LEASE_LOOK = 200
# Of one shared round, channels at a time that are asked for what their own tokens alone may read.
_OWNERS_AT_ONCE = 8


class Loop:
    """Dispatches rounds.

    Args:
        concurrency: rounds of one platform at a time.
        ownership: whether anything may be asked; by default all of it.
        shared: rounds across channels, where the platform and an app's token allow them.
    """

    def __init__(
        self,
        time: Time,
        schedule: Schedule,
        channel_rounds: ChannelRounds,
        circuits: Mapping[str, Circuit],
        concurrency: int,
        ownership: Ownership | None = None,
        shared: SharedRounds | None = None,
    ) -> None:
        self._time = time
        self._schedule = schedule
        self._channel_rounds = channel_rounds
        self._circuits = circuits
        self._concurrency = concurrency
        self._ownership = ownership or alone()
        self._shared = shared
        self._rounds: dict[str, set[asyncio.Task[None]]] = {name: set() for name in schedule.lanes}

    def in_flight(self) -> dict[str, int]:
        """Rounds being done, by platform."""
        return {name: len(rounds) for name, rounds in self._rounds.items()}

    async def run(self) -> None:
        """Poll until cancelled; on the way out, rounds in flight are cancelled too."""
        try:
            async with asyncio.TaskGroup() as dispatchers:
                for name in self._schedule.lanes:
                    dispatchers.create_task(self._dispatch(name), name=f"dispatch-{name}")
        finally:
            rounds = [task for tasks in self._rounds.values() for task in tasks]
            for task in rounds:
                task.cancel()
            await asyncio.gather(*rounds, return_exceptions=True)

    async def _dispatch(self, name: str) -> None:
        changed = asyncio.Event()
        lane, rounds = self._schedule.lanes[name], self._rounds[name]
        lane.on_sooner = changed.set

        def over(task: asyncio.Task[None]) -> None:
            rounds.discard(task)
            changed.set()

        while True:
            changed.clear()
            taken, until = self._next(name, len(rounds))
            if taken is None:
                await self._time.wait(changed, until)
                continue
            task = asyncio.create_task(self._round(name, taken))
            rounds.add(task)
            task.add_done_callback(over)
            # Lets the round begin, and the rest of the process live, however much is due.
            await asyncio.sleep(0)

    def _next(self, name: str, in_flight: int) -> tuple[Batch | list[Batch] | None, int | None]:
        """What the next round asks for, or until when to wait (None: until something changes)."""
        if in_flight >= self._concurrency:
            return None, None
        now, circuit = self._time.now(), self._circuits[name]
        if not self._ownership.is_leased():
            return None, now + _LEASE_LOOK
        open_at = circuit.wait_until(now)
        if open_at is None or open_at > now:
            return None, open_at
        is_shared = self._shared is not None and self._shared.serves(name, now)
        closed_until = self._channel_rounds.closed_until(name, now)
        if self._shared is not None and is_shared:
            closed_until = max(closed_until, self._shared.closed_until(name, now))
        if closed_until > now:
            return None, closed_until
        taken = self._schedule.take_shared(name, now) if is_shared else self._schedule.take(name, now)
        if taken is None:
            return None, self._schedule.lanes[name].next_due_at()
        circuit.admit()
        return taken, None

    async def _round(self, name: str, taken: Batch | list[Batch]) -> None:
        with ExitStack() as working:
            for batch in taken if isinstance(taken, list) else [taken]:
                working.enter_context(self._ownership.working(batch.plan.key[0]))
            if isinstance(taken, list):
                assert self._shared is not None, "only these rounds have several batches"
                await self._shared.run(name, taken)
                for start in range(0, len(taken), _OWNERS_AT_ONCE):
                    owners = taken[start : start + _OWNERS_AT_ONCE]
                    await asyncio.gather(*(self._channel_rounds.ask_owner(name, batch) for batch in owners))
            else:
                await self._channel_rounds.run(name, taken)
            for batch in taken if isinstance(taken, list) else [taken]:
                await self._channel_rounds.settled(name, batch.plan)
