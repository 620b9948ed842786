"""Reckons what a number of posts takes, from measured figures. Pure but for reading these.

Measured are the figures of `results/*.json`; limits, prices and intervals are those of the code. What nobody
measured is an assumption, and stands in `Assumed`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.report import RESULTS
from schemas.tiers import JITTER_SHARE, MARGIN_SHARE, MILLIS_PER_DAY, rule_of
from services.platforms import all_platforms
from services.platforms.x import PRICES, prices_of
from services.runtime.settings import KafkaSettings

SIZES = (10_000, 1_000_000, 100_000_000)
_SECONDS_A_DAY = 86_400
_GIB = 2**30


@dataclass(frozen=True, slots=True)
class Assumed:
    """What was not measured.

    Attributes:
        span_days: posts counted are those that were published within this time, evenly; figures are asked for so long.
        posts_a_channel: of those posts, by channel.
        peak: the busiest hour against the mean.
        share_used: how much of a core is planned to be busy at the peak.
        replicas: of each topic.
        retention_days: of `platform.raw` and `metrics.*`, as the topics are made.
        broker_gib: disk of one broker.
        partitions_a_process: a number of partitions can't be changed later, so there are more than processes.
    """

    span_days: int = 90
    posts_a_channel: int = 90
    peak: float = 3.0
    share_used: float = 0.7
    replicas: int = 3
    retention_days: int = 30
    broker_gib: int = 2_000
    partitions_a_process: int = 4


@dataclass(frozen=True, slots=True)
class Measured:
    """What benchmarks found; bytes and microseconds.

    Attributes:
        targets_a_call: by platform, with 50 posts a channel.
        other_calls_a_channel_and_day: for the channel's own figures, lists and tokens.
        event_bytes, snapshot_bytes, rollup_bytes: in Kafka, before replication; an event as (fixed, a target).
        worker_micros: the aggregator's processor time of an event as (fixed, a target).
        raw_row_bytes: of an event in ClickHouse, of one target and of twenty; bodies of the benchmark are alike.
        snapshot_row_bytes, state_row_bytes: in ClickHouse, of a snapshot, and of a target's latest figures and totals.
    """

    targets_a_call: Mapping[str, float]
    other_calls_a_channel_and_day: float
    calls_a_second: float
    target_bytes_of_poller: float
    event_bytes: tuple[float, float]
    snapshot_bytes: float
    rollup_bytes: float
    worker_micros: tuple[float, float]
    raw_row_bytes: tuple[float, float]
    snapshot_row_bytes: float
    state_row_bytes: float
    hot_reads_a_second: float
    cold_reads_a_second: float


def measured(folder: Path = RESULTS) -> Measured:
    """The figures of the results.

    Raises:
        OSError: a benchmark has no results; run it.
    """

    def figures(name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))["figures"]
        return found

    steady, held = figures("poller")["steady"], figures("poller")["held"]
    prints = figures("footprint")
    one, twenty = prints["targets_1"], prints["targets_20"]
    raw = "platform.raw_an_event"
    rows = twenty["clickhouse_bytes_a_row"]
    loads = figures("reads")["loads"]
    return Measured(
        targets_a_call=steady["targets_a_call"],
        other_calls_a_channel_and_day=(steady["calls"] - steady["calls_for_posts"])
        / steady["channels"]
        / steady["days"],
        calls_a_second=figures("poller_calls")["poller"]["calls_per_second"],
        target_bytes_of_poller=held["bytes_a_post"],
        event_bytes=_line(one["kafka_bytes"][raw], twenty["kafka_bytes"][raw]),
        snapshot_bytes=one["kafka_bytes"]["metrics.post-snapshots_a_snapshot"],
        rollup_bytes=twenty["kafka_bytes"]["rollups.posts_a_message"],
        worker_micros=_line(
            one["aggregator_cpu_microseconds_per_event"], twenty["aggregator_cpu_microseconds_per_event"]
        ),
        raw_row_bytes=(one["clickhouse_bytes_a_row"]["raw_events_store"], rows["raw_events_store"]),
        snapshot_row_bytes=rows["post_snapshots_store"],
        state_row_bytes=rows["latest_post_metrics_store"] + rows["post_totals_store"],
        hot_reads_a_second=loads["hot_many"]["requests_per_second"],
        cold_reads_a_second=loads["cold"]["requests_per_second"],
    )


def _line(one: float, twenty: float) -> tuple[float, float]:
    """What an event costs by itself and by target, from events of one target and of twenty."""
    a_target = (twenty - one) / 19
    return max(0.0, one - a_target), a_target


def polls_of_a_post(platform: str, until_days: float) -> float:
    """How often a post is asked for until an age, by the platform's rule and the mean jitter."""
    begun, polls = 0.0, 0.0
    for until, interval in rule_of(platform).tiers:
        end = min(until, until_days * MILLIS_PER_DAY)
        polls += max(0.0, end - begun) / (interval * (1 - (MARGIN_SHARE + JITTER_SHARE) / 2))
        begun = max(begun, end)
    return polls


class Use(NamedTuple):
    """How far a documented limit of our app is used up."""

    platform: str
    group: str
    used: float


@dataclass(frozen=True, slots=True)
class Sizing:
    """What a number of posts takes; by day where nothing else is said."""

    posts: int
    measured: Measured
    assumed: Assumed = field(default_factory=Assumed)

    @property
    def platforms(self) -> list[str]:
        """Those whose posts are asked for; posts are spread over them evenly."""
        return sorted(self.measured.targets_a_call)

    @property
    def channels(self) -> float:
        """Connected accounts."""
        return self.posts / self.assumed.posts_a_channel

    def polls(self, platform: str) -> float:
        """Times that a post's figures are asked for."""
        published = self.posts / len(self.platforms) / self.assumed.span_days
        return published * polls_of_a_post(platform, self.assumed.span_days)

    def calls(self, platform: str) -> float:
        """Calls for posts."""
        return self.polls(platform) / self.measured.targets_a_call[platform]

    @property
    def snapshots(self) -> float:
        """Figures of one target by one answer."""
        return sum(map(self.polls, self.platforms))

    @property
    def events(self) -> float:
        """Answers: of posts, and of channels."""
        return sum(map(self.calls, self.platforms)) + self.channels * self.measured.other_calls_a_channel_and_day

    def _of_events(self, cost: tuple[float, float]) -> float:
        fixed, a_target = cost
        return self.events * fixed + self.snapshots * a_target

    def _at_peak(self, a_day: float) -> float:
        return a_day / _SECONDS_A_DAY * self.assumed.peak

    @property
    def calls_a_second_at_peak(self) -> float:
        """Calls of all platforms."""
        return self._at_peak(self.events)

    @property
    def pollers(self) -> int:
        """Processes."""
        return ceil(self.calls_a_second_at_peak / (self.measured.calls_a_second * self.assumed.share_used))

    @property
    def aggregator_cores_at_peak(self) -> float:
        """Busy cores of all workers."""
        return self._at_peak(self._of_events(self.measured.worker_micros)) / 1e6

    @property
    def aggregators(self) -> int:
        """Processes, each of which keeps one core busy."""
        return ceil(self.aggregator_cores_at_peak / self.assumed.share_used)

    @property
    def partitions(self) -> int:
        """The default, or enough for the processes of both kinds to grow."""
        default = int(KafkaSettings.model_fields["topic_partitions"].default)
        most = max(self.pollers, self.aggregators) * self.assumed.partitions_a_process
        return max(default, ceil(most / default) * default)

    @property
    def kafka_bytes(self) -> float:
        """Held on all brokers together."""
        a_day = self._of_events(self.measured.event_bytes) + self.snapshots * self.measured.snapshot_bytes
        kept = a_day * self.assumed.retention_days + self.posts * self.measured.rollup_bytes
        return kept * self.assumed.replicas

    @property
    def brokers(self) -> int:
        """By their disks, and no fewer than replicas."""
        return max(self.assumed.replicas, ceil(self.kafka_bytes / (self.assumed.broker_gib * _GIB)))

    @property
    def clickhouse_raw_bytes(self) -> float:
        """Raw events of a year, one replica; reckoned as in Kafka, where each is compressed alone."""
        return self._of_events(self.measured.event_bytes) * 365

    @property
    def clickhouse_bytes(self) -> float:
        """Snapshots of a year and the latest figures, one replica."""
        year = self.snapshots * self.measured.snapshot_row_bytes * 365
        return year + self.posts * self.measured.state_row_bytes * 365 / self.assumed.span_days

    @property
    def x_dollars_a_month(self) -> float:
        """X's bill: each post once on each UTC date on which it is asked for, and each account once a day."""
        prices, _ = prices_of(PRICES.default or "")
        share = 1 / len(self.platforms)
        dates = rule_of("x").tiers[-1][0] / MILLIS_PER_DAY + 1
        posts = self.posts * share / self.assumed.span_days * 30 * dates * float(prices["post"])
        return posts + self.channels * share * 30 * float(prices["user"])

    @property
    def limits(self) -> list[Use]:
        """Documented limits of our app for posts, the fullest first."""
        found = []
        for name in self.platforms:
            facts = all_platforms()[name].facts
            for limit in facts.limits:
                if limit.is_app_wide and facts.post_group and limit.group.startswith(facts.post_group):
                    at_once = self.calls(name) / _SECONDS_A_DAY * limit.window_seconds
                    # A limit of a day takes the day's calls whenever they come.
                    peak = 1.0 if limit.window_seconds >= _SECONDS_A_DAY else self.assumed.peak
                    found.append(Use(name, limit.group, at_once * peak / limit.calls))
        return sorted(found, key=lambda one: -one.used)


def first_limit(sizing: Sizing) -> str:
    """The first thing that stops, in words."""
    full = [use for use in sizing.limits if use.used > 1]
    if full:
        return "; ".join(f"{use.platform}'s {use.group}: {use.used:,.1f} times what our app may call" for use in full)
    use = sizing.limits[0]
    return f"none: the fullest is {use.platform}'s {use.group}, {use.used:.1%} used"
