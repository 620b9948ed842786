"""What polls of platforms that bill for reads cost: spent, left, forecast, and what may still be read; pure.

A platform bills each resource once a UTC day, so what was read today costs nothing more. A month's budget is spread
over its days: what is left, less a reserve for live pulls, divided by the days to come. While half of a day's part is
unspent, nothing is held back. Above that the freshest posts come first: posts of the first tier's age may use up the
day's part, older posts and accounts' own figures keep to its pace. A workspace that has had its equal part of the day
keeps to the pace with all of its reads. What is held back is asked for later on the day, or on the next.

Amounts are micro-dollars, instants ms. What a process read is known to it at once; what others read comes with their
records on `poller.spending`, so several processes together may pass a limit by what they read within seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from schemas.events import PlatformRaw, PollerSpending
from schemas.spending import MICROS, date_of, days_left, forecast, month_end, month_of
from services.platforms.abilities import Priced, Resource
from services.platforms.base import Call, Target
from services.runtime.clock import MILLIS_PER_DAY, MILLIS_PER_HOUR

# The part of a month's budget that scheduled polls leave to live pulls.
RESERVE_SHARE = 0.05
# The part of a day's part that is spent before anything is held back.
FREE_SHARE = 0.5
# How old a post is at most that comes first: the first tier of the platforms that bill.
FRESH = MILLIS_PER_DAY
# What is held back for the pace's sake is looked at again after this.
_LOOK = MILLIS_PER_HOUR
# How long the number of those who share a budget is taken for what it was.
_SHARERS_KEPT = 60_000


class Money(NamedTuple):
    """The state of one platform's month, in micro-dollars.

    Attributes:
        left: None without a budget.
        forecast: spent by the month's end if it goes on as in the last days.
        by_workspace: spent, by workspace.
    """

    spent: int
    left: int | None
    forecast: int
    by_workspace: Mapping[str, int]


class Sifted(NamedTuple):
    """Targets that may be asked for, and until when (ms) the others wait."""

    affordable: list[Target]
    held_back: list[Target]
    until: int


@dataclass(slots=True)
class _Account:
    """One workspace's month at one platform, by days from 0."""

    days: list[int] = field(default_factory=lambda: [0] * 31)
    reads: dict[str, int] = field(default_factory=dict)
    as_of: int = 0


class Ledger:
    """Books of one platform.

    Args:
        budget: micro-dollars a month, for all workspaces together; None for no limit.
        payers: the workspaces of this process that have something to poll, for equal parts.

    Attributes:
        dirty: workspaces and months of which something was booked that is not told yet.
        on_booked: called whenever something is added to them.
    """

    def __init__(
        self, platform: str, priced: Priced, budget: int | None, payers: Callable[[], Collection[str]]
    ) -> None:
        self.platform = platform
        self.budget = budget
        self._priced = priced
        self._prices = {kind: int(price * MICROS) for kind, price in priced.prices.items()}
        self._payers = payers
        self._accounts: dict[str, dict[str, _Account]] = {}
        # Of all workspaces, by month: a scheduled poll asks for them for each of its targets.
        self._days: dict[str, list[int]] = {}
        self._sharers = (-1, 1)
        self._read: set[Resource] = set()
        self._day = -1
        self._pending = 0
        self.dirty: set[tuple[str, str]] = set()
        self.on_booked: Callable[[], None] = _nothing

    # What things cost

    def cost(self, resources: Iterable[Resource], now: int) -> int:
        """What reading resources costs today; nothing for those that were read today."""
        self._turn(now)
        return sum(self._prices.get(one.kind, 0) for one in set(resources) if one not in self._read)

    def cost_of(self, calls: Iterable[Call], now: int) -> int:
        """The most that calls cost today."""
        return self.cost([one for call in calls for one in self._priced.may_read(call)], now)

    def seen(self, workspace_id: str, calls: Iterable[Call], at: int, now: int) -> None:
        """Calls like these were answered at an instant, and booked then: what they read costs nothing more that day.

        Not so what came after the workspace's record was told: `replay` books it.
        """
        self._turn(now)
        held = self._accounts.get(month_of(now), {}).get(workspace_id)
        if at // MILLIS_PER_DAY == self._day and (held is None or at <= held.as_of):
            self._read.update(one for call in calls for one in self._priced.may_read(call))

    # What may be read

    def sift(
        self, workspace_id: str, targets: Sequence[Target], calls_of: Callable[[Target], Iterable[Call]], now: int
    ) -> Sifted:
        """Which targets of a scheduled poll may be asked for, the freshest first.

        Args:
            calls_of: the calls that a target alone would be asked with.
        """
        if self.budget is None:
            return Sifted(list(targets), [], 0)
        taken, held, until, planned = set(), [], 0, 0
        for target in sorted(targets, key=lambda one: -(one.published_at or 0)):
            cost = self.cost_of(calls_of(target), now)
            is_fresh = target.published_at is not None and now - target.published_at < FRESH
            wait = self.wait_until(workspace_id, cost, now, planned, is_fresh=is_fresh) if cost else 0
            if wait:
                held.append(target)
                until = wait if not until else min(until, wait)
            else:
                taken.add(id(target))
                planned += cost
        return Sifted([target for target in targets if id(target) in taken], held, until)

    def wait_until(self, workspace_id: str, cost: int, now: int, planned: int = 0, *, is_fresh: bool = False) -> int:
        """Until when (ms) something of a scheduled poll is not to be read; 0 for now.

        Args:
            planned: what the same poll reads besides.
        """
        if self.budget is None or not cost:
            return 0
        self._turn(now)
        tomorrow = (now // MILLIS_PER_DAY + 1) * MILLIS_PER_DAY
        today = self._spent_on(now) + self._pending + planned
        before = self._spent_in(now) - self._spent_on(now)
        scheduled = int(self.budget * (1 - RESERVE_SHARE))
        part = max(0, scheduled - before) // days_left(now)
        if today + cost > part:
            # The next day's part is of a new month where this was the last day.
            return tomorrow
        if today + cost <= part * FREE_SHARE:
            return 0
        is_in_pace = today + cost <= part * (now % MILLIS_PER_DAY) / MILLIS_PER_DAY
        if is_in_pace:
            return 0
        mine = self._spent_on(now, workspace_id) + planned
        within_its_part = mine + cost <= part // self._sharer_count(now)
        return 0 if is_fresh and within_its_part else min(tomorrow, now + _LOOK)

    def closed_until(self, call: Call, now: int) -> int:
        """Until when (ms) no call like this may be made by anybody, because the month's budget is spent; 0 for now."""
        if self.budget is None:
            return 0
        cost = self.cost_of([call], now)
        if not cost or self._spent_in(now) + self._pending + cost <= self.budget:
            return 0
        return month_end(now)

    # What was read

    def begin(self, call: Call, now: int) -> int:
        """A call is being made; returns what `end` must be given."""
        cost = self.cost_of([call], now)
        self._pending += cost
        return cost

    def end(self, cost: int) -> None:
        """The call is over; what its answer is billed for is booked by `book`."""
        self._pending -= cost

    def book(self, event: PlatformRaw, now: int) -> int:
        """An answer came; returns what it cost."""
        self._turn(now)
        cost, account = 0, self._account(event.workspace_id, month_of(now))
        for one in self._priced.billed(event):
            if one not in self._read:
                self._read.add(one)
                cost += self._prices.get(one.kind, 0)
                account.reads[one.kind] = account.reads.get(one.kind, 0) + 1
        if cost:
            day, total = date_of(now).day - 1, self._total(month_of(now))
            account.days[day] += cost
            total[day] += cost
            account.as_of = max(account.as_of, now)
            self.dirty.add((event.workspace_id, month_of(now)))
            self.on_booked()
        return cost

    def replay(self, event: PlatformRaw, now: int) -> None:
        """An answer that was published before this process held its workspace: booked where no record has it yet."""
        held = self._accounts.get(month_of(now), {}).get(event.workspace_id)
        is_today = event.captured_at // MILLIS_PER_DAY == now // MILLIS_PER_DAY
        if is_today and (held is None or event.captured_at > held.as_of):
            self.book(event, now)

    # Records

    def take(self, record: PollerSpending) -> None:
        """A record of any process; of two of one day the larger has all that the other has."""
        account = self._account(record.workspace_id, record.month)
        total = self._total(record.month)
        for day, (held, told) in enumerate(zip(account.days, record.days, strict=False)):
            if told > held:
                account.days[day] = told
                total[day] += told - held
        for kind, count in record.reads.items():
            account.reads[kind] = max(count, account.reads.get(kind, 0))
        account.as_of = max(account.as_of, record.as_of)
        for month in sorted(self._accounts)[:-2]:
            del self._accounts[month]
            self._days.pop(month, None)

    def record(self, workspace_id: str, month: str, now: int) -> PollerSpending:
        """A workspace's month as it is told to others."""
        account = self._account(workspace_id, month)
        share = None if self.budget is None else self.budget // self._sharer_count(now)
        return PollerSpending(
            workspace_id,
            self.platform,
            month,
            tuple(account.days),
            dict(account.reads),
            share,
            self._priced.priced_on,
            account.as_of,
        )

    def state(self, now: int) -> Money:
        """What the month of `now` (ms) has cost so far, what is left of its budget, and the forecast to its end."""
        accounts = self._accounts.get(month_of(now), {})
        spent = self._spent_in(now)
        left = None if self.budget is None else max(0, self.budget - spent)
        by_workspace = {name: sum(account.days) for name, account in accounts.items()}
        return Money(spent, left, forecast(self._total(month_of(now)), now), by_workspace)

    def _turn(self, now: int) -> None:
        if (day := now // MILLIS_PER_DAY) != self._day:
            self._day = day
            self._read.clear()

    def _account(self, workspace_id: str, month: str) -> _Account:
        return self._accounts.setdefault(month, {}).setdefault(workspace_id, _Account())

    def _total(self, month: str) -> list[int]:
        return self._days.setdefault(month, [0] * 31)

    def _spent_on(self, now: int, workspace_id: str | None = None) -> int:
        """Spent on the day of an instant, by all or by one."""
        month, day = month_of(now), date_of(now).day - 1
        if workspace_id is None:
            return self._total(month)[day]
        account = self._accounts.get(month, {}).get(workspace_id)
        return 0 if account is None else account.days[day]

    def _spent_in(self, now: int) -> int:
        return sum(self._total(month_of(now)))

    def _sharer_count(self, now: int) -> int:
        """How many spent in this month, or have something to poll here; at least 1, and up to a minute old."""
        at, count = self._sharers
        if not 0 <= now - at < _SHARERS_KEPT:
            count = max(1, len({*self._payers(), *self._accounts.get(month_of(now), {})}))
            self._sharers = (now, count)
        return count


def micros(dollars: Decimal) -> int:
    """Micro-dollars of an amount."""
    return int(dollars * MICROS)


def _nothing() -> None:
    """Nobody tells others of the books."""
