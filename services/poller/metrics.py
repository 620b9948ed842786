"""What operators see of the poller: names, units and meanings, once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from schemas.spending import MICROS
from services.poller.asking.budget import Budget
from services.poller.asking.incidents import Incidents
from services.poller.asking.money import Ledger
from services.poller.partitions.ownership import Ownership, Stage, alone
from services.poller.publisher import Room
from services.poller.schedule.schedule import Schedule

# Due for longer than this is overdue: something holds the poller back.
OVERDUE_SECONDS = 60
# Workspaces whose spending has a gauge of its own.
MOST_WORKSPACES = 50


class PollerMetrics:
    """Counters and histograms of the poller's work."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.calls = Counter(
            "tidemark_poller_calls",
            "Calls to platforms by what became of them: a platform's verdict, or why no answer came.",
            ["platform", "kind", "outcome"],
            registry=registry,
        )
        self.live = Counter(
            "tidemark_poller_live_requests",
            "Live pulls and probes asked for, by what became of them: taken, or refused: late, too many, another's.",
            ["kind", "outcome"],
            registry=registry,
        )
        self.call_seconds = Histogram(
            "tidemark_poller_call_seconds",
            "Time from sending a call to having its whole answer.",
            ["platform"],
            buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=registry,
        )
        self.late_seconds = Histogram(
            "tidemark_poller_late_seconds",
            "How long the oldest target of a round had been due when it was asked for: the freshness lost.",
            ["platform"],
            buckets=(0.5, 1, 5, 15, 60, 300, 900, 3600, 21600),
            registry=registry,
        )
        self.refreshes = Counter(
            "tidemark_poller_refreshes",
            "Refreshes of tokens by what became of them.",
            ["platform", "outcome"],
            registry=registry,
        )
        self.refused = Counter(
            "tidemark_poller_refused_records",
            "Catalog records that do not count: key and value differ, another workspace's partition, or unreadable.",
            ["topic", "reason"],
            registry=registry,
        )
        self.partition_moves = Counter(
            "tidemark_poller_partition_moves",
            "Partitions that came and went: gained, revoked (given back in order) or lost (taken for dead).",
            ["change"],
            registry=registry,
        )
        self.unlisted = Counter(
            "tidemark_poller_unlisted_posts",
            "Items of accounts' lists of posts that were passed over, by the field that they lack.",
            ["platform", "field"],
            registry=registry,
        )
        self.answer_bytes = Counter(
            "tidemark_poller_answer_bytes", "Bytes of answers, decompressed.", ["platform"], registry=registry
        )


class StateCollector(Collector):
    """Gauges that are computed when they are asked for.

    Args:
        in_flight: rounds of work being done, by platform.
        now: the clock, ms.
        ownership: this process's partitions.
        budget: what may be asked.
        incidents: which shapes of call are refused of most channels.
        ledgers: the books of the platforms that bill for what is read.
    """

    def __init__(
        self,
        schedule: Schedule,
        room: Room,
        in_flight: Callable[[], dict[str, int]],
        now: Callable[[], int],
        ownership: Ownership | None = None,
        budget: Budget | None = None,
        incidents: Incidents | None = None,
        ledgers: Mapping[str, Ledger] | None = None,
    ) -> None:
        self._schedule = schedule
        self._incidents = incidents or Incidents(schedule.polled_channels)
        self._ledgers = ledgers or {}
        self._budget = budget or Budget()
        self._room = room
        self._in_flight = in_flight
        self._now = now
        self._ownership = ownership or alone()

    def collect(self) -> Iterable[Metric]:
        """The gauges of this moment, each as one family with a sample a platform."""
        due = GaugeMetricFamily("tidemark_poller_targets_due", "Targets due now.", labels=["platform"])
        overdue = GaugeMetricFamily(
            "tidemark_poller_targets_overdue",
            f"Targets due for more than {OVERDUE_SECONDS} seconds.",
            labels=["platform"],
        )
        oldest = GaugeMetricFamily(
            "tidemark_poller_oldest_due_seconds", "How long the oldest target has been due.", labels=["platform"]
        )
        held = GaugeMetricFamily("tidemark_poller_targets", "Targets that are polled.", labels=["platform"])
        stale = GaugeMetricFamily(
            "tidemark_poller_targets_stale",
            "Targets whose last snapshot is older than the interval of their age.",
            labels=["platform"],
        )
        freshness = GaugeMetricFamily(
            "tidemark_poller_freshness_ratio",
            "Age of the stalest snapshot in intervals of its target's age; up to 1 while every promise is kept.",
            labels=["platform"],
        )
        flying = GaugeMetricFamily(
            "tidemark_poller_rounds_in_flight", "Rounds of work being done.", labels=["platform"]
        )
        hidden = GaugeMetricFamily(
            "tidemark_poller_hidden_channels",
            "Channels all of whose posts are said to be gone, for a day or longer.",
            labels=["platform"],
        )
        now = self._now()
        in_flight = self._in_flight()
        for name, lane in self._schedule.lanes.items():
            found = lane.due(now, OVERDUE_SECONDS * 1000)
            due.add_metric([name], found.targets)
            overdue.add_metric([name], found.overdue)
            oldest.add_metric([name], found.oldest / 1000)
            held.add_metric([name], sum(len(plan) for plan in lane.plans if plan.active and not plan.paused))
            stale.add_metric([name], found.stale)
            freshness.add_metric([name], found.freshness)
            flying.add_metric([name], in_flight.get(name, 0))
            hidden.add_metric([name], sum(plan.is_hidden(now) for plan in lane.plans))
        unconfirmed = GaugeMetricFamily(
            "tidemark_poller_unconfirmed_events", "Answers reserved for, or not yet confirmed by Kafka."
        )
        unconfirmed.add_metric([], self._room.held_events)
        unconfirmed_bytes = GaugeMetricFamily(
            "tidemark_poller_unconfirmed_bytes", "Bytes of answers not yet confirmed by Kafka."
        )
        unconfirmed_bytes.add_metric([], self._room.held_bytes)
        silent = GaugeMetricFamily(
            "tidemark_poller_unconfirmed_seconds",
            "How long Kafka has confirmed no answer although some were handed to it; 0 while none are.",
        )
        silent.add_metric([], self._room.silent_seconds)
        waiting = [unconfirmed, unconfirmed_bytes, silent]
        families = [due, overdue, oldest, held, stale, freshness, flying, hidden, *waiting]
        return [*families, *self._budgets(now), *self._money(now), *self._refused_shapes(), *self._partitions()]

    def _refused_shapes(self) -> Iterable[Metric]:
        refused = GaugeMetricFamily(
            "tidemark_poller_refused_shapes",
            "Channels of which a shape of call is refused alike, where that is most channels of the platform.",
            labels=["platform", "shape", "outcome"],
        )
        since = GaugeMetricFamily(
            "tidemark_poller_refused_shape_since_seconds",
            "Since when a shape of call is refused of most channels, in seconds since the epoch, and in whose words.",
            labels=["platform", "shape", "outcome", "detail"],
        )
        for incident in self._incidents.current():
            labels = [incident.platform, incident.shape, incident.outcome.value]
            refused.add_metric(labels, incident.channels)
            since.add_metric([*labels, incident.detail], incident.since / 1000)
        return [refused, since]

    def _budgets(self, now: int) -> Iterable[Metric]:
        state = self._budget.state(now)
        left = GaugeMetricFamily(
            "tidemark_poller_budget_left_calls",
            "Calls that our app may make at once, of this process's share, by what is documented and what headers say.",
            labels=["platform", "group"],
        )
        for (platform, group), calls in sorted(state.left.items()):
            left.add_metric([platform, group], calls)
        closed = GaugeMetricFamily(
            "tidemark_poller_budget_closed_seconds",
            "For how long our app may make no call of a group.",
            labels=["platform", "group"],
        )
        for (platform, group), wait in sorted(state.closed.items()):
            closed.add_metric([platform, group], wait / 1000)
        waiting = GaugeMetricFamily(
            "tidemark_poller_tokens_waiting", "Tokens whose own budget is used up.", labels=["platform"]
        )
        for platform, count in sorted(state.waiting.items()):
            waiting.add_metric([platform], count)
        return [left, closed, waiting]

    def _money(self, now: int) -> Iterable[Metric]:
        spent = GaugeMetricFamily(
            "tidemark_poller_spent_usd",
            "What polls cost in this UTC month by the configured prices, of all processes.",
            labels=["platform"],
        )
        left = GaugeMetricFamily(
            "tidemark_poller_money_left_usd",
            "What is left of the month's budget; absent without one.",
            labels=["platform"],
        )
        forecast = GaugeMetricFamily(
            "tidemark_poller_spending_forecast_usd",
            "What polls will have cost by the month's end at the rate of the last days.",
            labels=["platform"],
        )
        by_workspace = GaugeMetricFamily(
            "tidemark_poller_workspace_spent_usd",
            f"What a workspace's polls cost in this UTC month, of this process's, the {MOST_WORKSPACES} largest.",
            labels=["platform", "workspace"],
        )
        for name, ledger in self._ledgers.items():
            money = ledger.state(now)
            if not money.spent and ledger.budget is None:
                continue
            spent.add_metric([name], money.spent / MICROS)
            forecast.add_metric([name], money.forecast / MICROS)
            if money.left is not None:
                left.add_metric([name], money.left / MICROS)
            own = {key: cost for key, cost in money.by_workspace.items() if cost and self._ownership.is_active(key)}
            for workspace_id, cost in sorted(own.items(), key=lambda one: -one[1])[:MOST_WORKSPACES]:
                by_workspace.add_metric([name, workspace_id], cost / MICROS)
        return [spent, left, forecast, by_workspace]

    def _partitions(self) -> Iterable[Metric]:
        owned = GaugeMetricFamily(
            "tidemark_poller_partitions",
            "Partitions of this process, by how far they are: loading, active or draining.",
            labels=["stage"],
        )
        for stage in Stage:
            owned.add_metric([stage.value], len(self._ownership.held(stage)))
        word = GaugeMetricFamily(
            "tidemark_poller_lease_age_seconds",
            "Time since Kafka last confirmed this process's place; past half a session nothing is asked.",
        )
        age = self._ownership.word_age()
        if age is not None and self._ownership.held():
            word.add_metric([], age / 1000)
        return [owned, word]
