"""Short ways to make what the poller's tests talk about."""

from __future__ import annotations

import random
from collections.abc import Mapping

from schemas.events import CatalogChannel, CatalogPost, CatalogTarget
from services.platforms.base import Platform
from services.poller.asking.budget import Budget
from services.poller.asking.channel_rounds import ChannelRounds
from services.poller.asking.circuit import Circuit, Uniform
from services.poller.asking.exchange import Exchange
from services.poller.asking.fetch import Fetcher
from services.poller.asking.knowledge import Knowledge
from services.poller.asking.refresh import Refresher
from services.poller.asking.upkeep import Upkeep
from services.poller.connections.accounts import Accounts
from services.poller.connections.sandbox import SandboxGuard
from services.poller.connections.tokens import TokenStore
from services.poller.metrics import PollerMetrics
from services.poller.partitions.ownership import Ownership
from services.poller.schedule.schedule import Schedule
from services.poller.timing import Time
from tests.support.manual_clock import START
from tests.support.memory_publisher import MemoryPublisher


def channel(
    channel_id: str = "c1", platform: str = "youtube", *, status: str = "active", workspace_id: str = "w1",
    updated_at: int = START,
) -> CatalogChannel:  # fmt: skip
    """A channel event."""
    return CatalogChannel(workspace_id, channel_id, platform, f"ext-{channel_id}", "name", status, None, updated_at)


def target(
    target_id: str = "t1", channel_id: str = "c1", *, external_id: str | None = None, published_at: int | None = None,
    status: str = "published",
) -> CatalogTarget:  # fmt: skip
    """A target of a post event."""
    known = f"e-{target_id}" if external_id is None else external_id
    return CatalogTarget(target_id, channel_id, "", status, known, published_at=published_at)


def post(
    *targets: CatalogTarget, post_id: str = "p1", published_at: int | None = START, status: str = "published",
    workspace_id: str = "w1",
) -> CatalogPost:  # fmt: skip
    """A post event."""
    return CatalogPost(workspace_id, post_id, status, published_at, published_at, targets, START)


def channel_rounds(
    *,
    time: Time,
    platforms: Mapping[str, Platform],
    schedule: Schedule,
    fetcher: Fetcher,
    publisher: MemoryPublisher,
    tokens: TokenStore,
    accounts: Accounts,
    budget: Budget,
    circuits: Mapping[str, Circuit],
    metrics: PollerMetrics,
    refresher: Refresher | None = None,
    uniform: Uniform = random.uniform,
    ownership: Ownership | None = None,
    sandbox: SandboxGuard | None = None,
    known: Knowledge | None = None,
) -> ChannelRounds:
    """Rounds of one channel with an exchange of their own, as the composition root puts them together."""
    exchange = Exchange(
        time=time, platforms=platforms, fetcher=fetcher, publisher=publisher, budget=budget, metrics=metrics,
        ownership=ownership,
    )  # fmt: skip
    upkeep = Upkeep(
        time=time, schedule=schedule, publisher=publisher, tokens=tokens, accounts=accounts, refresher=refresher,
        ownership=ownership, sandbox=sandbox,
    )  # fmt: skip
    return ChannelRounds(
        time=time, platforms=platforms, schedule=schedule, exchange=exchange, upkeep=upkeep, budget=budget,
        circuits=circuits, metrics=metrics, known=known, uniform=uniform,
    )  # fmt: skip
