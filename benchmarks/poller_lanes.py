"""The poller's dispatching in virtual time, each platform's lane by itself, with what came of it.

A round of healthy posts is settled as the poller's rounds would settle it, without making its calls: there are tens of
millions. A round with a culprit is the poller's own (`poller_culprits.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from benchmarks.poller_culprits import CIPHER, RefereedBudget, Rounds, Watched
from benchmarks.poller_world import START, Referee, is_culprit
from schemas.tiers import MARGIN_SHARE, Rule, spread
from services.platforms import all_platforms
from services.platforms.abilities import AcrossAccounts, OwnersFigures
from services.platforms.base import Call, Channel, Limit, Target
from services.poller.asking.budget import APP, WindowKey
from services.poller.asking.refusals import Kind
from services.poller.asking.shapes import shape_of
from services.poller.asking.smaller import metrics_of
from services.poller.catalog import Catalog
from services.poller.connections.accounts import Accounts
from services.poller.connections.tokens import TokenStore
from services.poller.keys import ChannelKey
from services.poller.schedule.batch import Batch, Fate, Settled
from services.poller.schedule.entry import Entry
from services.poller.schedule.plan import Plan, due_of, slot_of

_CAPTURED = Settled(Fate.CAPTURED)
_DEFERRED = Settled(Fate.DEFERRED)
# A post's id as the platform has them, where that decides how it is asked for.
_SAMPLES = {
    "linkedin": "urn:li:share:1",
    "facebook": "1_1",
    "bluesky": "at://did:plc:k7aaaabbbbccccddddeeeeff/app.bsky.feed.post/1",
}


class Simulation:
    """Schedule, catalog and budget of all platforms, and what came of them.

    Args:
        limits: by platform, for the budget and for the referee.
        shared: platforms whose posts are asked for across channels.
        names: platforms to simulate; None for all.
        has_culprits: whether posts may be culprits.
    """

    def __init__(
        self,
        limits: dict[str, tuple[Limit, ...]],
        shared: set[str],
        names: set[str] | None = None,
        *,
        has_culprits: bool = False,
    ) -> None:
        platforms = {name: known for name, known in all_platforms().items() if names is None or name in names}
        self.schedule = Watched({name: known.facts.post_batch_size for name, known in platforms.items()})
        self.catalog = Catalog({}, self.schedule, TokenStore(CIPHER, {}), Accounts())
        self.referee = Referee(limits)
        self.budget = RefereedBudget(self.referee, limits)
        self.shared = shared
        self.rounds = Rounds(list(platforms), shared, self.schedule, self.budget) if has_culprits else None
        self.lanes = {name: LaneRun(self, name) for name in platforms}
        if self.rounds is not None:
            self.catalog.is_set_aside = self.rounds.known.forget

    def run(self, begin: int, end: int) -> None:
        """Poll from an instant to another, all platforms."""
        for lane in self.lanes.values():
            lane.run(begin, end)

    def total(self, name: str) -> int:
        """The sum of one of the lanes' figures."""
        return sum(getattr(lane, name) for lane in self.lanes.values())


class LaneRun:
    """One platform's dispatching, as `services.poller.loop` and the rounds do it.

    Attributes:
        polls: targets that were asked for and answered.
        late: of these, after the end of their tier's interval; culprits have no promise.
        silenced: healthy targets of a round that no call asked for, or that were taken for refused.
        calls: for targets, with a token that reads their public figures.
        owners_calls: for what a target's author alone may read, after calls with our app's token.
        culprits_calls: of the calls for targets, those of rounds that culprits were part of.
        culprits_rounds: these rounds, each as the one call that it is where nobody is a culprit; of a platform that may
            need more for a batch, as those.
        worst: ms after that end, the worst of all.
        by_workspace: polls, while `counts_workspaces` is set.
        given: the same of places in calls that count against the app's budget; a channel's own call fills all of one.
    """

    def __init__(self, simulation: Simulation, name: str) -> None:
        platform = all_platforms()[name]
        self._schedule, self._budget, self._rounds = simulation.schedule, simulation.budget, simulation.rounds
        self._name = name
        self._is_shared = name in simulation.shared
        external = "urn:li:organization:1" if name == "linkedin" else "1"
        channel = Channel("w", "c", external, "name")
        target = Target("t", "p", _SAMPLES.get(name, "1"), "post", START)
        # Asked of the platform's own file, once: how many calls there are doesn't depend on the ids.
        post_calls, channel_calls = (
            platform.post_calls(channel, [target], START),
            platform.channel_calls(channel, START),
        )
        if channel_calls and all(call.is_public for call in channel_calls):
            channel_calls = [platform.identity_call(channel), *channel_calls]
        self._post_groups = [call.limit_group for call in post_calls]
        self._platform, self._sample = platform, (channel, target)
        twice = [target, replace(target, external_id=f"{target.external_id}1")]
        # Whether how many calls a batch takes depends on what is in it.
        self._is_mixed = platform.facts.post_batch_size > 1 and (
            len(platform.post_calls(channel, twice, START)) > len(post_calls)
        )
        self._channel_groups = [call.limit_group for call in channel_calls]
        self._app_group, self._owners_groups = "", list[str]()
        self._shape, self._metrics = "", list[str]()
        if post_calls:
            self._shape, self._metrics = shape_of(post_calls[0], (external,)), metrics_of(post_calls[0])
        self._kind = Kind(name, self._shape, "post")
        if isinstance(platform, AcrossAccounts):
            (call,) = platform.app_post_calls([target])
            self._app_group, self._app_shape = call.limit_group, shape_of(call)
        if self._is_shared and isinstance(platform, OwnersFigures):
            self._owners_groups = [call.limit_group for call in platform.owner_calls(channel, [target], START)]
        group = platform.facts.post_group
        self._gates = [WindowKey(name, APP, group)] if group else []
        if self._is_shared:
            self._gates.append(WindowKey(name, APP, self._app_group))
        self._lane = self._schedule.lanes[name]
        self.polls = self.late = self.calls = self.worst = 0
        self.silenced = self.owners_calls = self.culprits_calls = self.culprits_rounds = 0
        self.counts_workspaces = False
        self.by_workspace: Counter[str] = Counter()
        self.given: Counter[str] = Counter()

    def run(self, now: int, end: int) -> None:
        """Poll from now to the end; all that is due later stays for the next time."""
        schedule, lane, name = self._schedule, self._lane, self._name
        while True:
            for gate in self._gates:
                now = max(now, self._budget.app_wait_until(gate, now))
            if now >= end:
                return
            taken = schedule.take_shared(name, now) if self._is_shared else schedule.take(name, now)
            if taken is None:
                due_at = lane.next_due_at()
                if due_at is None or due_at >= end:
                    return
                now = max(now, due_at)
            elif isinstance(taken, list):
                self._together(taken, now)
            else:
                self._alone(taken, now)

    def _together(self, taken: list[Batch], now: int) -> None:
        """A round across channels, with our app's token, and then with each author's own."""
        if self._rounds is not None and self._is_special(taken, (APP, self._name), self._app_shape):
            with self._real(self._rounds):
                self._rounds.shared(self._name, taken, now)
            before = self._rounds.server.calls
            for part in taken if self._owners_groups else []:
                self._rounds.owners(self._name, part, now)
            self.owners_calls += self._rounds.server.calls - before
            return
        self._make(WindowKey(self._name, APP, self._app_group), now)
        self.calls += 1
        if self._rounds is not None:
            self._rounds.known.shapes.answered((APP, self._name), self._app_shape, now)
        for part in taken:
            if self.counts_workspaces:
                self.given[part.plan.key[0]] += len(part.entries)
            self._well(self._app_shape, part, now)
            self._schedule.settle(part, self._answered(part, range(len(part.entries)), now), _CAPTURED, now)
            # What is never due again is not asked for.
            is_asked = self._owners_groups and not all(entry.dropped for entry in part.entries)
            if is_asked and self._refused("/".join(part.plan.key), self._owners_groups, now) is None:
                self.owners_calls += len(self._owners_groups)

    def _alone(self, batch: Batch, now: int) -> None:
        """A round of one channel with its own token: each call as far as the budget goes."""
        if self._rounds is not None and self._is_special([batch], batch.plan.key, self._shape):
            with self._real(self._rounds, len(self._calls_of(batch, now)) if self._is_mixed else 1):
                self._rounds.alone(self._name, batch, now)
            return
        owner = "/".join(batch.plan.key)
        fates, channel_fate = [_DEFERRED] * len(batch.entries), _DEFERRED
        if batch.entries:
            if self._is_mixed:
                fates = self._one_by_one(batch, owner, now)
            elif (refused := self._refused(owner, self._post_groups, now)) is None:
                self.calls += len(self._post_groups)
                fates = self._answered(batch, range(len(batch.entries)), now)
            else:
                fates = [refused] * len(batch.entries)
            if self._rounds is not None and _CAPTURED in fates:
                self._rounds.known.shapes.answered(batch.plan.key, self._shape, now)
                self._well(self._shape, batch, now)
        if batch.with_channel:
            channel_fate = self._refused(owner, self._channel_groups, now) or _CAPTURED
        self._schedule.settle(batch, fates, channel_fate, now)

    def _one_by_one(self, batch: Batch, owner: str, now: int) -> list[Settled]:
        """A round of several calls, each as far as the budget goes."""
        fates = [_DEFERRED] * len(batch.entries)
        for call in self._calls_of(batch, now):
            refused = self._refused(owner, [call.limit_group], now)
            self.calls += refused is None
            places = [int(target.target_id) for target in call.targets]
            answered = self._answered(batch, places, now) if refused is None else [refused] * len(places)
            for place, fate in zip(places, answered, strict=True):
                fates[place] = fate
        return fates

    def _calls_of(self, batch: Batch, now: int) -> list[Call]:
        """The calls that a batch takes, as the platform's file has them; targets' ids are their places in the batch."""
        channel, sample = self._sample
        targets = [
            replace(
                sample, target_id=str(number), external_id=f"{sample.external_id}{number}",
                published_at=entry.published_at,
            )
            for number, entry in enumerate(batch.entries)
        ]  # fmt: skip
        return self._platform.post_calls(channel, targets, now)

    def _is_special(self, batches: Sequence[Batch], owner: ChannelKey, shape: str) -> bool:
        """Whether a round is one for the poller's real rounds: of any other they would make the one plain call."""
        assert self._rounds is not None, "only asked where there are culprits"
        known = self._rounds.known
        if known.sizes or known.incidents or known.shapes.is_refused(owner, shape) or known.doubts.of(owner):
            return True
        return any(is_culprit(entry.published_at) for batch in batches for entry in batch.entries)

    def _well(self, shape: str, batch: Batch, now: int) -> None:
        """What an answer about healthy targets teaches, as `services.poller.asking.learning` has it."""
        if self._rounds is not None:
            known, key = self._rounds.known, batch.plan.key
            known.incidents.answered(self._name, shape, key, now)
            known.doubts.answered(key, self._name, shape)
            if known.refusals and self._metrics:
                known.refusals.given(key, self._kind, (), self._metrics, now)

    @contextmanager
    def _real(self, rounds: Rounds, plain_calls: int = 1) -> Iterator[None]:
        """A real round, with what becomes of its targets watched, and its calls counted."""
        rounds.server.calls, self._schedule.watcher = 0, self._watch
        try:
            yield
        finally:
            self._schedule.watcher = None
        self.calls += rounds.server.calls
        self.culprits_calls += rounds.server.calls
        # Of several plain calls the budget may have let through only the first.
        self.culprits_rounds += min(plain_calls, max(1, rounds.server.calls))

    def _watch(self, batch: Batch, fates: Sequence[Settled], now: int) -> None:
        for entry, item, settled in zip(batch.entries, batch.items, fates, strict=True):
            if is_culprit(entry.published_at):
                self.polls += settled.fate is Fate.CAPTURED
            elif settled.fate is Fate.CAPTURED:
                self.polls += 1
                self._note_lateness(batch, entry, item, now)
            elif settled.fate not in (Fate.RETRY, Fate.DEFERRED):
                self.silenced += 1

    def _refused(self, owner: str, groups: list[str], now: int) -> Settled | None:
        """Make calls; the fate of what could not be asked for, as `services.poller.asking.channel_rounds` has it."""
        found = None
        for group in groups:
            key = WindowKey(self._name, owner, group)
            if not self._ask(key, now):
                is_apps = key.app in self._gates and self._budget.app_wait_until(key, now) > now
                found = _DEFERRED if is_apps else Settled(Fate.RETRY, self._budget.wait_until(key, now))
        return found

    def _ask(self, key: WindowKey, now: int) -> bool:
        if self._budget.wait_until(key, now) > now:
            return False
        self._make(key, now)
        if self.counts_workspaces and key.app in self._gates:
            self.given[key.owner.partition("/")[0]] += self._lane.batch_size
        return True

    def _make(self, key: WindowKey, now: int) -> None:
        """A call that there is room for; the budget must have said so."""
        self._budget.begin(key, now)
        self._budget.end(key)
        self._budget.observe(key, self._budget.told, now)

    def _answered(self, batch: Batch, places: Sequence[int], now: int) -> list[Settled]:
        """Some targets of a batch, by their places in it, were answered."""
        count = len(places)
        self.polls += count
        if self.counts_workspaces:
            self.by_workspace[batch.plan.key[0]] += count
        # Sooner than the least margin of the shortest interval, nothing can be late that was not put off.
        if batch.plan.put_off or batch.late_by > MARGIN_SHARE * batch.plan.rule.tiers[0][1]:
            for place in places:
                self._note_lateness(batch, batch.entries[place], batch.items[place], now)
        return [_CAPTURED] * count

    def _note_lateness(self, batch: Batch, entry: Entry, item: int, now: int) -> None:
        over = now - promised(batch.plan.rule, entry, really_due(batch.plan, item))
        if over > 0:
            self.late += 1
            self.worst = max(self.worst, over)


def really_due(plan: Plan, item: int) -> int:
    """When a target was due (ms), also if it was put off since."""
    return plan.put_off.get(slot_of(item), due_of(item))


def promised(rule: Rule, entry: Entry, due_at: int) -> int:
    """By when a target has to be asked for: a whole interval after it was last captured, or after it went out."""
    for position, (_, interval) in enumerate(rule.tiers):
        captured_at = due_at - spread(interval, entry.target_id, 1.0)
        if captured_at >= entry.published_at and rule.tier(captured_at - entry.published_at) == position:
            return captured_at + interval
    return entry.published_at + rule.tiers[0][1]
