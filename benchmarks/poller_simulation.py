"""The poller's schedule, batches and budgets through 90 virtual days, in processes of their own.

The code of the poller decides; only its clock, the platforms and what is I/O are simulated: every call is answered at
once and well. It shows whether polls keep the promise of their tier, what batches save, that no limit is exceeded, how
much memory a million posts take, and how a budget that is too small is shared.
"""

from __future__ import annotations

import gc
import json
import random
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks.chart import Bar
from benchmarks.poller_culprits import CIPHER, RefereedBudget, Rounds, Watched
from benchmarks.poller_world import LIFETIME_DAYS, PLATFORMS, START, Referee, World, is_culprit, world
from benchmarks.progress import Progress
from benchmarks.report import Ratio, Result
from schemas.tiers import JITTER_SHARE, MARGIN_SHARE, Rule, spread
from services.platforms import all_platforms
from services.platforms.abilities import AcrossAccounts, OwnersFigures
from services.platforms.base import Channel, Limit, Target
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
from services.runtime.clock import MILLIS_PER_DAY, MILLIS_PER_HOUR

DEFAULT_SIZE = {"posts": 40_000, "channels": 800, "days": 20}
FULL_SIZE = {"posts": 1_000_000, "channels": 20_000, "days": 90}
WANTED_IN_PROMISE = 0.999
WANTED_RSS_MB = 600
WANTED_MINUTES = 10
WANTED_SHARE_DIFFERENCE = 0.05
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
        culprits_rounds: these rounds, each one call where nobody is a culprit.
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
        post_calls, channel_calls = platform.post_calls(channel, [target], START), platform.channel_calls(channel, START)
        if channel_calls and all(call.is_public for call in channel_calls):
            channel_calls = [platform.identity_call(channel), *channel_calls]
        self._post_groups = [call.limit_group for call in post_calls]
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
            self._schedule.settle(part, self._answered(part, now), _CAPTURED, now)
            if self._owners_groups and self._refused("/".join(part.plan.key), self._owners_groups, now) is None:
                self.owners_calls += len(self._owners_groups)

    def _alone(self, batch: Batch, now: int) -> None:
        """A round of one channel with its own token: each call as far as the budget goes."""
        if self._rounds is not None and self._is_special([batch], batch.plan.key, self._shape):
            with self._real(self._rounds):
                self._rounds.alone(self._name, batch, now)
            return
        owner = "/".join(batch.plan.key)
        fates, channel_fate = [_DEFERRED] * len(batch.entries), _DEFERRED
        if batch.entries:
            refused = self._refused(owner, self._post_groups, now)
            if refused is None:
                self.calls += len(self._post_groups)
                fates = self._answered(batch, now)
                if self._rounds is not None:
                    self._rounds.known.shapes.answered(batch.plan.key, self._shape, now)
                    self._well(self._shape, batch, now)
            else:
                fates = [refused] * len(batch.entries)
        if batch.with_channel:
            channel_fate = self._refused(owner, self._channel_groups, now) or _CAPTURED
        self._schedule.settle(batch, fates, channel_fate, now)

    def _is_special(self, batches: Sequence[Batch], owner: ChannelKey, shape: str) -> bool:
        """Whether a round is one for the poller's real rounds: of any other they would make the one plain call."""
        assert self._rounds is not None, "only asked where there are culprits"
        known = self._rounds.known
        if known.sizes or known.incidents or known.shapes.is_refused(owner, shape):
            return True
        return any(is_culprit(entry.published_at) for batch in batches for entry in batch.entries)

    def _well(self, shape: str, batch: Batch, now: int) -> None:
        """What an answer about healthy targets teaches, as `services.poller.asking.learning` has it."""
        if self._rounds is not None:
            known, key = self._rounds.known, batch.plan.key
            known.incidents.answered(self._name, shape, key, now)
            if known.refusals and self._metrics:
                known.refusals.given(key, self._kind, (), self._metrics, now)

    @contextmanager
    def _real(self, rounds: Rounds) -> Iterator[None]:
        """A real round, with what becomes of its targets watched, and its calls counted."""
        rounds.server.calls, self._schedule.watcher = 0, self._watch
        try:
            yield
        finally:
            self._schedule.watcher = None
        self.calls += rounds.server.calls
        self.culprits_calls += rounds.server.calls
        self.culprits_rounds += 1

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
        self._budget.observe(key, self._budget.state, now)

    def _answered(self, batch: Batch, now: int) -> list[Settled]:
        count = len(batch.entries)
        self.polls += count
        if self.counts_workspaces:
            self.by_workspace[batch.plan.key[0]] += count
        # Sooner than the least margin of the shortest interval, nothing can be late that was not put off.
        if batch.plan.put_off or batch.late_by > MARGIN_SHARE * batch.plan.rule.tiers[0][1]:
            for entry, item in zip(batch.entries, batch.items, strict=True):
                self._note_lateness(batch, entry, item, now)
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


def documented() -> dict[str, tuple[Limit, ...]]:
    """Every platform's documented limits."""
    return {name: platform.facts.limits for name, platform in all_platforms().items()}


def halves() -> list[set[str]]:
    """The platforms in two parts of about the same work; they share no limit."""
    parts: list[set[str]] = [set(), set()]
    work = [0.0, 0.0]
    for name, (share, posts) in sorted(PLATFORMS.items(), key=lambda item: -item[1][0] * item[1][1]):
        least = work.index(min(work))
        parts[least].add(name)
        # An app's token makes one call of many; a call for each post is dearer.
        weight = {
            "x": 0.3, "youtube": 0.5, "instagram": 2.0, "facebook": 2.0, "threads": 2.0, "pinterest": 2.0
        }.get(name, 1.0)  # fmt: skip
        work[least] += share * posts * weight
    return parts


def loaded(simulation: Simulation, of: World, until: int, seed: int = 11) -> None:
    """Fold the catalog up to an instant; posts were last captured some part of their interval ago, as at a restart."""
    chance = random.Random(seed)
    for number, key in enumerate(of.keys):
        if of.platforms[number] in simulation.lanes:
            simulation.catalog.put_channel(key, of.channel(number), until)
            simulation.schedule.restore_channel(key, until - chance.randrange(5 * MILLIS_PER_HOUR))
    for birth in of.births(of.posts_at[0], until):
        born(simulation, of, birth.number, until)
    for plan in simulation.schedule.plans.values():
        for entry in plan.live():
            interval = plan.rule.interval(until - entry.published_at) or 0
            before = until - chance.randrange(int(interval * (1 - JITTER_SHARE)) or 1)
            if plan.rule.interval(before - entry.published_at) != interval:
                # It has just come to a slower tier, in which it was captured once.
                before = until
            simulation.schedule.restore(entry, max(before, entry.published_at))
    simulation.schedule.rebuild()


def born(simulation: Simulation, of: World, number: int, now: int) -> None:
    """The catalog says that there is a post, which is taken in where its platform is simulated."""
    if of.platforms[of.posts_of[number]] not in simulation.lanes:
        return
    event = of.post(number)
    simulation.catalog.put_post(event.workspace_id, event.post_id, event, now)


def steady(posts: int, channels: int, days: int, part: int, *, has_culprits: bool = True) -> dict[str, Any]:
    """Half of the platforms, with the documented budgets."""
    end = START + days * MILLIS_PER_DAY
    of = world(posts, channels, START - LIFETIME_DAYS * MILLIS_PER_DAY, end, has_culprits=has_culprits)
    shared = {name for name, platform in all_platforms().items() if isinstance(platform, AcrossAccounts)}
    simulation = Simulation(documented(), shared, halves()[part], has_culprits=has_culprits)
    loaded(simulation, of, START)
    gc.collect()
    gc.freeze()
    most_held = 0
    with Progress(f"polling, part {part + 1} of 2") as progress:
        for hour in hours(START, end):
            for birth in of.births(hour, hour + MILLIS_PER_HOUR):
                born(simulation, of, birth.number, birth.at)
            simulation.run(hour, hour + MILLIS_PER_HOUR)
            if (hour - START) % MILLIS_PER_DAY == 0:
                most_held = max(most_held, sum(len(plan) for plan in simulation.schedule.plans.values()))
                progress.show(f"day {(hour - START) // MILLIS_PER_DAY} of {days}, {simulation.total('polls'):,} polls")
    overdue = sum(
        entry_is_late(plan.rule, plan.entry(item), really_due(plan, item), end)
        for plan in simulation.schedule.plans.values()
        for heap in plan.heaps
        for item in heap
        if not (has_culprits and is_culprit(plan.entry(item).published_at))
    )
    known = simulation.rounds.known if simulation.rounds is not None else None
    return {
        "most_targets_held": most_held,
        "polls": simulation.total("polls"),
        "calls_for_posts": simulation.total("calls"),
        "calls": simulation.referee.calls.total(),
        "owners_calls": simulation.total("owners_calls"),
        "culprits_calls": simulation.total("culprits_calls"),
        "culprits_rounds": simulation.total("culprits_rounds"),
        "culprits_known": len(known.culprits) if known is not None else 0,
        "healthy_silenced": simulation.total("silenced"),
        "late_polls": simulation.total("late"),
        "overdue_at_the_end": overdue,
        "over_a_limit": simulation.referee.violations,
        "worst_seconds_late": max(lane.worst for lane in simulation.lanes.values()) / 1000,
        "fullest_limits": simulation.referee.fullest,
        "targets_a_call": {name: lane.polls / lane.calls for name, lane in simulation.lanes.items() if lane.calls},
        "cpu_seconds": time.process_time(),
        "peak_rss_mb": peak_mb(),
    }


def whole(parts: list[dict[str, Any]], size: dict[str, int], seconds: float) -> dict[str, Any]:
    """The figures of all platforms from those of the parts."""
    merged: dict[str, Any] = {**size, "platforms": len(all_platforms()), "seconds": seconds}
    for name, value in parts[0].items():
        if isinstance(value, dict):
            merged[name] = {key: figure for part in parts for key, figure in part[name].items()}
        elif name == "worst_seconds_late":
            merged[name] = max(part[name] for part in parts)
        else:
            merged[name] = sum(part[name] for part in parts)
    merged["in_promise"] = 1 - (merged["late_polls"] + merged["overdue_at_the_end"]) / merged["polls"]
    merged["saved_by_batching"] = 1 - merged["calls_for_posts"] / merged["polls"]
    return merged


def entry_is_late(rule: Rule, entry: Entry, due_at: int, now: int) -> bool:
    """Whether a target that waits should have been asked for before now."""
    return not entry.dropped and due_at < now and promised(rule, entry, due_at) < now


def memory(posts: int, channels: int, _days: int, _part: int) -> dict[str, Any]:
    """The same number of posts, all young enough to be polled, held at once."""
    of = world(posts, channels, START - (LIFETIME_DAYS - 1) * MILLIS_PER_DAY, START)
    # X forgets after three days, and Google Business has no figures of posts: here every platform holds all.
    of.platforms[:] = ["facebook" if name in ("x", "google_business") else name for name in of.platforms]
    simulation = Simulation(documented(), set())
    for number, key in enumerate(of.keys):
        simulation.catalog.put_channel(key, of.channel(number), START)
    gc.collect()
    before = psutil.Process().memory_info().rss
    for number in range(posts):
        born(simulation, of, number, START)
    gc.collect()
    after = psutil.Process().memory_info().rss
    held = sum(len(plan) for plan in simulation.schedule.plans.values())
    return {"targets_held": held, "bytes_a_post": (after - before) / held, "peak_rss_mb": peak_mb()}


def short(_posts: int, _channels: int, days: int, _part: int) -> dict[str, Any]:
    """Workspaces that all want the same of one platform, with what they need and with half of it."""
    workspaces = 40
    days = max(days, 30)

    def polled(calls_a_day: int, shared: bool) -> tuple[LaneRun, Referee]:
        limit = Limit("data", calls_a_day, 24 * 3600)
        app = {"youtube"} if shared else set()
        simulation = Simulation({"youtube": (limit,)}, app)
        lane = simulation.lanes["youtube"]
        of = _equal(workspaces, days)
        for number, key in enumerate(of.keys):
            simulation.catalog.put_channel(key, of.channel(number), START)
            simulation.schedule.restore_channel(key, START)
        for hour in hours(START, START + days * MILLIS_PER_DAY):
            # What the first days lack is no measure of the rest.
            lane.counts_workspaces = hour >= START + 2 * MILLIS_PER_DAY
            for birth in of.births(hour, hour + MILLIS_PER_HOUR):
                born(simulation, of, birth.number, birth.at)
            lane.run(hour, hour + MILLIS_PER_HOUR)
        return lane, simulation.referee

    found: dict[str, Any] = {"workspaces": workspaces, "virtual_days": days}
    for name, shared in (("own_tokens", False), ("app_token", True)):
        _, unlimited = polled(10**9, shared)
        needed = unlimited.calls["youtube", "data"] // days
        lane, referee = polled(needed // 2, shared)
        found[name] = {
            "calls_a_day_needed": needed,
            "calls_a_day_allowed": needed // 2,
            "calls_a_day_made": referee.calls["youtube", "data"] / days,
            "over_a_limit": referee.violations,
            "polls_a_workspace": lane.by_workspace.total() / workspaces,
            "difference": difference(lane.given, workspaces),
            "difference_of_polls": difference(lane.by_workspace, workspaces),
        }
    return found


def difference(counts: Counter[str], workspaces: int) -> float:
    """Between the greatest and the least part, as a share of the mean."""
    listed = [counts[f"workspace-{number:06d}"] for number in range(workspaces)]
    return (max(listed) - min(listed)) * workspaces / sum(listed)


def _equal(workspaces: int, days: int) -> World:
    """Workspaces of three YouTube channels with one post every other day each, at hours that differ."""
    channels = workspaces * 3
    of = world(1, 5, START, START + MILLIS_PER_DAY)
    posts = []
    for channel in range(channels):
        offset = (channel // 3 * 7919 + channel % 3 * 16 * 60 + channel * 37) % (48 * 60) * 60_000
        posts += [(START + offset + day * MILLIS_PER_DAY, channel) for day in range(-8, days, 2)]
    posts.sort()
    of.platforms = ["youtube"] * channels
    of.keys = [(f"workspace-{channel // 3:06d}", f"channel-{channel:06d}") for channel in range(channels)]
    of.posts_at = type(of.posts_at)("q", [at for at, _ in posts])
    of.posts_of = type(of.posts_of)("i", [channel for _, channel in posts])
    return of


def hours(begin: int, end: int) -> Iterator[int]:
    """The beginning of each hour of a stretch of time."""
    return iter(range(begin, end, MILLIS_PER_HOUR))


def peak_mb() -> float:
    """The most memory that this process has had resident."""
    status = Path("/proc/self/status")
    if status.exists():
        # Unlike `ru_maxrss`, which on Linux a process has from the one that started it.
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


PARTS = {"steady": steady, "memory": memory, "short": short}


def started(part: str, size: dict[str, int], number: int = 0) -> subprocess.Popen[bytes]:
    """One part in a process of its own, so that its memory is its own."""
    command = [sys.executable, "-m", __spec__.name, part, *map(str, size.values()), str(number)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def measured(*processes: subprocess.Popen[bytes]) -> list[dict[str, Any]]:
    """What parts found, when all have ended.

    Raises:
        RuntimeError: one failed; it has said why.
    """
    try:
        found = [process.communicate()[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    if any(process.returncode for process in processes):
        raise RuntimeError("a part of the simulation failed")
    return [json.loads(one) for one in found]


def run(is_full: bool) -> Result:
    """All parts; the platforms in two processes at a time."""
    size = FULL_SIZE if is_full else DEFAULT_SIZE
    began = time.monotonic()
    with Progress(f"{size['posts']:,} posts, {size['days']} days"):
        parts = measured(*(started("steady", size, number) for number in range(2)))
    seconds = time.monotonic() - began
    polled = whole(parts, size, seconds)
    with Progress(f"{size['posts']:,} posts held"):
        (held,) = measured(started("memory", size))
    with Progress("half of the budget"):
        (halved,) = measured(started("short", size))
    over = polled["over_a_limit"] + halved["own_tokens"]["over_a_limit"] + halved["app_token"]["over_a_limit"]
    unequal = max(halved[name]["difference"] for name in ("own_tokens", "app_token"))
    return Result(
        "poller",
        {"steady": polled, "held": held, "half_of_the_budget": halved},
        [
            Ratio("polls inside their tier's promise", polled["in_promise"], WANTED_IN_PROMISE),
            Ratio("calls over a limit", over, 0, is_ceiling=True),
            Ratio("calls saved by batching", polled["saved_by_batching"]),
            Ratio("minutes", seconds / 60, WANTED_MINUTES, is_ceiling=True),
            Ratio("most memory, MB", max(polled["peak_rss_mb"], held["peak_rss_mb"]), WANTED_RSS_MB, is_ceiling=True),
            Ratio(
                "half of the budget: difference between equal workspaces", unequal, WANTED_SHARE_DIFFERENCE,
                is_ceiling=True,
            ),
        ],
        [
            "The poller's own schedule, lanes, budget and catalog, a virtual clock; every call is answered at once.",
            "Posts go out evenly over the 90 days before and the days polled, so of a full run's half are held at a "
            "time; `held` holds all of them at once.",
            "Two processes, each with half of the platforms, as two pollers might have; their memory is added.",
            "Limits are the documented ones; a referee counts calls apart from the poller, in windows that slide.",
            "LinkedIn's channels are organizations; members take a call a metric and post.",
        ],
        (
            "Posts asked for with one call",
            "posts a call",
            [Bar(name, value, "ours") for name, value in sorted(polled["targets_a_call"].items())],
        ),
    )  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(PARTS[sys.argv[1]](*map(int, sys.argv[2:]))))
