"""The poller's composition root: settings, clients, a share of the catalog, loop, and a clean stop."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import uvloop
from prometheus_client import REGISTRY

from schemas.codec import Codec, RecordCodec
from schemas.topic_names import (
    ACCOUNT_EVENTS,
    CHANNEL_SNAPSHOTS,
    CHANNELS,
    POST_ROLLUPS,
    RAW,
    REPLIES,
    REQUESTS,
    SPENDING,
)
from services.platforms.abilities import AcrossAccounts, AppClient, ProvesTokens
from services.platforms.base import Platform
from services.poller.asking.budget import Budget
from services.poller.asking.channel_rounds import ChannelRounds
from services.poller.asking.circuit import Circuit
from services.poller.asking.directory import Directory
from services.poller.asking.exchange import Exchange
from services.poller.asking.fetch import Fetcher
from services.poller.asking.knowledge import Knowledge
from services.poller.asking.refresh import Refresher
from services.poller.asking.shared_rounds import App, SharedRounds
from services.poller.asking.upkeep import Upkeep
from services.poller.catalog import TOPICS as CATALOG
from services.poller.catalog import Catalog
from services.poller.connections.accounts import Accounts
from services.poller.connections.sandbox import SandboxGuard
from services.poller.connections.tokens import Prove, TokenStore
from services.poller.discovering import Discovery
from services.poller.errors import Stop
from services.poller.loop import Loop
from services.poller.metrics import PollerMetrics, StateCollector
from services.poller.partitions.ownership import Ownership
from services.poller.partitions.shards import Shards
from services.poller.publisher import KafkaPublisher, Room
from services.poller.reader import TopicReader
from services.poller.requests.backfill import Backfill
from services.poller.requests.intake import Intake
from services.poller.requests.live import Live
from services.poller.schedule.schedule import Schedule
from services.poller.settings import PlatformSettings, PollerSettings
from services.poller.spending import Spending, ledgers
from services.poller.steps import ClockSteps
from services.poller.timing import SystemTime
from services.runtime.clock import ticks
from services.runtime.kafka import partition_of
from services.runtime.logging import configure_logging, get_logger
from services.runtime.membership import LEASE_SHARE, GroupRefused, Membership
from services.runtime.neighbours import refuse_or_wait
from services.runtime.operations import OperationsServer
from services.runtime.registry import Registry, once_registered
from services.runtime.reloading import Reloading, replace_secrets
from services.runtime.secrets import SecretsError, TokenCipher
from services.runtime.serving import serve_until_signal
from services.runtime.settings import exit_with, load_or_exit
from services.runtime.traces import CLOSE_SECONDS, tracer_or_exit
from services.runtime.tracing import Tracer

ALL_TOPICS = (RAW, ACCOUNT_EVENTS, *CATALOG, POST_ROLLUPS, CHANNEL_SNAPSHOTS, REQUESTS, REPLIES, SPENDING)
# Of the 5 seconds that a stop may take: calls and refreshes under way are finished first, then Kafka has its time.
DRAIN_SECONDS = 1.5
REFRESH_SECONDS = 0.2
SPENDING_SECONDS = 0.2
FLUSH_SECONDS = 2.5
# Beyond the longest call, when partitions are given back: an answer is published, a refreshed token written.
_DRAIN_MARGIN_SECONDS = 2.0
_log = get_logger("services.poller")


class Readiness:
    """What is still missing before the poller polls."""

    def __init__(self) -> None:
        self.stage: Callable[[], str | None] = lambda: "starting"

    def __call__(self) -> str | None:
        """See `services.runtime.operations.Readiness`."""
        return self.stage()


async def serve(
    settings: PollerSettings, cipher: TokenCipher, readiness: Readiness, reloading: Reloading, tracer: Tracer
) -> None:
    """Poll this process's share until cancelled; then finish what is under way, for a bounded time.

    Raises:
        Stop: the topics contradict each other.
        GroupRefused: the group takes no poller of this kind.
    """
    time, accounts, reader = SystemTime(), Accounts(), TopicReader(settings)
    platforms = settings.configured_platforms
    schedule = Schedule(
        {name: platform.facts.post_batch_size for name, platform in platforms.items()},
        speed=settings.poll_speed,
        channel_concurrency=settings.channel_concurrency,
    )
    secrets = {name: access.secrets() for name, access in settings.platforms.items()}
    clients = _clients(settings)
    provers, apps = _provers(platforms, clients), _apps(settings)
    tokens = TokenStore(cipher, secrets, provers)

    def take_secrets() -> None:
        cipher.rekey(settings.secret_keys)
        for name, access in settings.platforms.items():
            replace_secrets(access, PlatformSettings.of(name))
            secrets[name] = access.secrets()
        clients.update(_clients(settings))
        provers.update(_provers(platforms, clients))
        apps.update(_apps(settings))
        tokens.open_anew()

    reloading.then(take_secrets)
    readiness.stage = lambda: f"waiting for {reader.waiting_for}" if reader.waiting_for else "starting"
    partitions = await reader.partition_count(ALL_TOPICS)
    readiness.stage = lambda: "waiting for the schema registry"
    codecs, rollup_codec = await _codecs(settings)

    lease = int(settings.poller_session_seconds * 1000 * LEASE_SHARE)
    ownership = Ownership(partitions, lease, ticks, lambda workspace_id: partition_of(workspace_id, partitions))
    catalog = Catalog(codecs, schedule, tokens, accounts, ownership.is_active)
    async with AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(asyncio.TaskGroup())

        def start(work: Coroutine[Any, Any, None]) -> None:
            stack.callback(tasks.create_task(work).cancel)

        room = Room(settings.unconfirmed_events, settings.unconfirmed_bytes)
        budget = Budget(limits=settings.limits)
        circuits = {name: Circuit() for name in platforms}
        metrics = PollerMetrics()
        catalog.on_refused = lambda topic, reason: metrics.refused.labels(topic, reason.value).inc()
        publisher = KafkaPublisher(settings, codecs, partitions, room, tracer=tracer)
        fetcher = Fetcher(
            {name: access.base_url for name, access in settings.platforms.items() if access.base_url},
            timeout_seconds=settings.call_timeout_seconds,
        )
        sandbox = SandboxGuard(tokens, settings.sandboxed, settings.unnamed)
        configured = {name for name, access in settings.platforms.items() if access.base_url}
        directory = Directory(time=time, platforms=platforms, fetcher=fetcher, configured=configured)
        books = ledgers(platforms, settings.monthly_budgets, schedule)
        spending = Spending(
            time=time, platforms=platforms, schedule=schedule, ledgers=books, publisher=publisher,
            codec=codecs[SPENDING],
        )  # fmt: skip
        refresher = Refresher(
            time=time, platforms=platforms, fetcher=fetcher, publisher=publisher, tokens=tokens, catalog=catalog,
            accounts=accounts, metrics=metrics, clients=clients, ownership=ownership, sandbox=sandbox,
            directory=directory,
        )  # fmt: skip
        exchange = Exchange(
            time=time, platforms=platforms, fetcher=fetcher, publisher=publisher, budget=budget, metrics=metrics,
            ownership=ownership, ledgers=books, tracer=tracer,
        )  # fmt: skip
        upkeep = Upkeep(
            time=time, schedule=schedule, publisher=publisher, tokens=tokens, accounts=accounts, refresher=refresher,
            ownership=ownership, sandbox=sandbox,
        )  # fmt: skip
        known = Knowledge(schedule.polled_channels, schedule.speed)
        catalog.is_set_aside = known.forget
        channel_rounds = ChannelRounds(
            time=time, platforms=platforms, schedule=schedule, exchange=exchange, upkeep=upkeep, budget=budget,
            circuits=circuits, metrics=metrics, known=known, directory=directory,
            ledgers=books,
        )  # fmt: skip
        catalog.on_connected = channel_rounds.connected
        catalog.on_written = channel_rounds.written
        shared_rounds = SharedRounds(
            time=time, platforms=platforms, schedule=schedule, exchange=exchange, apps=apps, budget=budget,
            circuits=circuits, metrics=metrics, known=known, has_token=upkeep.has_token,
            ledgers=books,
        )  # fmt: skip
        live = Live(
            time=time, platforms=platforms, schedule=schedule, catalog=catalog, rounds=channel_rounds, upkeep=upkeep,
            replies=publisher, codec=codecs[RAW], ownership=ownership,
        )  # fmt: skip
        backfill = Backfill(
            time=time, platforms=platforms, schedule=schedule, catalog=catalog, rounds=channel_rounds,
            replies=publisher, codec=codecs[RAW], ownership=ownership,
        )  # fmt: skip
        discovery = Discovery(
            time=time, platforms=platforms, schedule=schedule, catalog=catalog, rounds=channel_rounds,
            publisher=publisher, ownership=ownership, metrics=metrics, ledgers=books,
        )  # fmt: skip
        intake = Intake(
            time=time, codec=codecs[REQUESTS], metrics=metrics, ownership=ownership, live=live, backfill=backfill
        )
        loop = Loop(time, schedule, channel_rounds, circuits, settings.platform_concurrency, ownership, shared_rounds)
        drain_seconds = settings.call_timeout_seconds + _DRAIN_MARGIN_SECONDS
        shards = Shards(
            time=time, ownership=ownership, reader=reader, catalog=catalog, schedule=schedule, accounts=accounts,
            codecs=codecs, rollup_codec=rollup_codec, metrics=metrics, is_published=lambda: not room.held_events,
            take=intake.take, on_loaded=_FirstLoad(), on_share=budget.set_share, drain_seconds=drain_seconds,
            bookkeeper=spending,
        )  # fmt: skip
        membership = Membership(
            settings, settings.topic(settings.poller_group), settings.topic(CHANNELS), shards,
            instance_id=settings.instance_id, session_seconds=settings.poller_session_seconds,
            drain_seconds=drain_seconds, position=shards.position,
        )  # fmt: skip
        REGISTRY.register(
            StateCollector(schedule, room, loop.in_flight, time.now, ownership, budget, known.incidents, ledgers=books)
        )
        readiness.stage = shards.missing

        # What is begun last ends first: the place in the group is kept until the answers are in Kafka.
        start(shards.run())
        stack.push_async_callback(membership.stop)
        stack.push_async_callback(publisher.close, FLUSH_SECONDS)
        await publisher.start()
        stack.push_async_callback(fetcher.close)
        # What other processes read is to be known before this one reads anything.
        told = asyncio.Event()
        start(reader.follow((SPENDING,), spending.fold(), told))
        await told.wait()
        stack.push_async_callback(spending.close, SPENDING_SECONDS)
        start(spending.run())
        stack.push_async_callback(refresher.close, REFRESH_SECONDS)
        stack.push_async_callback(live.close)
        stack.push_async_callback(intake.close)
        start(refresher.run())
        start(loop.run())
        start(discovery.run())
        followers = [channel_rounds.clock_set_back, shared_rounds.clock_set_back, schedule.clock_set_back]
        start(ClockSteps(time.now, ticks).watch(followers))
        stack.push_async_callback(shards.drain, None, DRAIN_SECONDS)
        await membership.run()


class _FirstLoad:
    """Lets the collector pass over what stays for long: the first catalog that was read."""

    def __init__(self) -> None:
        self._is_done = False

    def __call__(self) -> None:
        """The first time only: what comes later may be given back, and is to be collected then."""
        if not self._is_done:
            self._is_done = True
            gc.collect()
            gc.freeze()


def _apps(settings: PollerSettings) -> dict[str, App]:
    """Our own app at each platform that answers it across accounts."""
    apps = {}
    for name, platform in settings.configured_platforms.items():
        access = settings.platforms[name]
        if name in settings.sandboxed:
            continue  # its channels go one by one, so that none is asked for that is not the sandbox's
        if access.app_token is not None and isinstance(platform, AcrossAccounts):
            apps[name] = App(platform, access.app_token.get_secret_value(), access.secrets())
    return apps


def _clients(settings: PollerSettings) -> dict[str, AppClient]:
    """Our own app at each platform."""
    return {
        name: AppClient(
            access.client_id, access.client_secret.get_secret_value() if access.client_secret is not None else None
        )
        for name, access in settings.platforms.items()
    }


def _provers(platforms: Mapping[str, Platform], clients: Mapping[str, AppClient]) -> dict[str, Prove]:
    """How tokens are proven to each platform that takes a proof of them."""
    return {
        name: partial(platform.proof, client=clients[name])
        for name, platform in platforms.items()
        if isinstance(platform, ProvesTokens)
    }


async def _codecs(settings: PollerSettings) -> tuple[dict[str, Codec[object]], RecordCodec]:
    """Codecs of all topics, as soon as the registry knows their schemas."""
    registry = Registry(settings, settings)

    def make() -> tuple[dict[str, Codec[object]], RecordCodec]:
        return {
            name: registry.codec(name) for name in (RAW, ACCOUNT_EVENTS, REQUESTS, REPLIES, SPENDING, *CATALOG)
        }, registry.record_codec(POST_ROLLUPS)

    return await once_registered(make)


async def run(settings: PollerSettings, cipher: TokenCipher, tracer: Tracer) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code."""
    readiness, reloading = Readiness(), Reloading(settings)

    def stopping() -> None:
        readiness.stage = lambda: "stopping"

    return await serve_until_signal(
        "poller",
        partial(serve, settings, cipher, readiness, reloading, tracer),
        OperationsServer(settings.metrics_host, settings.metrics_port, readiness),
        on_stopping=stopping,
        refusals=(Stop, GroupRefused),
        reloading=reloading,
    )


def main() -> None:
    """Run the poller from the environment."""
    settings = load_or_exit(PollerSettings)
    configure_logging("poller", settings.log_level)
    tracer = tracer_or_exit("poller", settings.instance_id)
    try:
        cipher = TokenCipher(settings.secret_keys, unbound=settings.unbound_tokens)
    except SecretsError as error:
        exit_with(str(error))
    for line in refuse_or_wait(settings, "poller"):
        _log.warning("a neighbour is waited for", problem=line)
    code = uvloop.run(run(settings, cipher, tracer))
    tracer.close(CLOSE_SECONDS)
    raise SystemExit(code)


if __name__ == "__main__":
    main()
