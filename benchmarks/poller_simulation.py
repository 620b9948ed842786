"""The poller's schedule, batches and budgets through 90 virtual days, in processes of their own.

The code of the poller decides; only its clock, the platforms and what is I/O are simulated: every call is answered at
once. One post in a hundred is a culprit: a batch or a metric is refused for it, it is gone, or its calls fail. It
shows whether polls of all others keep the promise of their tier, what batches save and culprits cost, that no limit is
exceeded, how much memory a million posts take, and how a budget that is too small is shared.
"""

from __future__ import annotations

import gc
import json
import logging
import random
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import structlog

from benchmarks.chart import Bar
from benchmarks.poller_lanes import LaneRun, Simulation, promised, really_due
from benchmarks.poller_world import LIFETIME_DAYS, PLATFORMS, START, Referee, World, is_culprit, world
from benchmarks.progress import Progress
from benchmarks.report import Ratio, Result
from schemas.tiers import JITTER_SHARE, Rule
from services.platforms import all_platforms
from services.platforms.abilities import AcrossAccounts
from services.platforms.base import Limit
from services.poller.schedule.entry import Entry
from services.runtime.clock import MILLIS_PER_DAY, MILLIS_PER_HOUR

DEFAULT_SIZE = {"posts": 40_000, "channels": 800, "days": 20}
FULL_SIZE = {"posts": 1_000_000, "channels": 20_000, "days": 90}
# What culprits cost is measured on this one, with and without them.
COMPARED_SIZE = {"posts": 20_000, "channels": 400, "days": 10}
WANTED_IN_PROMISE = 0.999
WANTED_CALLS_WITH_CULPRITS = 1.05
WANTED_RSS_MB = 600
WANTED_MINUTES = 10
WANTED_SHARE_DIFFERENCE = 0.05


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
        # An app's token makes one call of many; a call for each post is dearer. Of a hundred posts of X one is nearly
        # always a culprit, so nearly all of its rounds are real ones.
        weight = {
            "x": 2.6, "youtube": 0.5, "instagram": 2.0, "facebook": 2.0, "threads": 2.0, "pinterest": 2.0
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


def unspoiled(posts: int, channels: int, days: int, part: int) -> dict[str, Any]:
    """The same without culprits."""
    return steady(posts, channels, days, part, has_culprits=False)


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
    merged["healthy_late"] = merged["late_polls"] + merged["overdue_at_the_end"] + merged["healthy_silenced"]
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


PARTS = {"steady": steady, "unspoiled": unspoiled, "memory": memory, "short": short}


def compared(size: dict[str, int]) -> dict[str, Any]:
    """Calls with culprits and without, of all platforms."""
    found = {}
    for name, part in (("with_culprits", "steady"), ("without_culprits", "unspoiled")):
        began = time.monotonic()
        parts = measured(*(started(part, size, number) for number in range(2)))
        found[name] = whole(parts, size, time.monotonic() - began)
    for name in ("calls_for_posts", "calls"):
        found[f"{name}_ratio"] = found["with_culprits"][name] / found["without_culprits"][name]
    return found


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
    with Progress("what culprits cost"):
        cost = compared(COMPARED_SIZE)
    with Progress(f"{size['posts']:,} posts held"):
        (held,) = measured(started("memory", size))
    with Progress("half of the budget"):
        (halved,) = measured(started("short", size))
    over = polled["over_a_limit"] + halved["own_tokens"]["over_a_limit"] + halved["app_token"]["over_a_limit"]
    unequal = max(halved[name]["difference"] for name in ("own_tokens", "app_token"))
    return Result(
        "poller",
        {"steady": polled, "culprits": cost, "held": held, "half_of_the_budget": halved},
        [
            Ratio("polls inside their tier's promise", polled["in_promise"], WANTED_IN_PROMISE),
            Ratio("healthy posts later than their promise", polled["healthy_late"], 0, is_ceiling=True),
            Ratio(
                "calls for posts, with 1 % culprits / without", cost["calls_for_posts_ratio"],
                WANTED_CALLS_WITH_CULPRITS, is_ceiling=True,
            ),
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
            "Of all posts 1 % are culprits. A tenth of them fail: each call about them is answered by a page of an "
            "error. Of the others, half make a batch fail on X, LinkedIn and Bluesky, or are refused a metric on "
            "Facebook, Instagram and Threads; all others are gone. A round with a culprit is "
            "the poller's own, with its knowledge; culprits have no promise to keep.",
            "X's posts are asked for with our app's token, and then with each author's own for what it alone may read, "
            "which is `owners_calls`; there is no budget of money.",
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
    # Thousands of posts are refused, and each round says so.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    print(json.dumps(PARTS[sys.argv[1]](*map(int, sys.argv[2:]))))
