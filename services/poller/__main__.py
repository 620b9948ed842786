"""The poller's composition root: settings, clients, catalog, loop, and a clean stop."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack

import uvloop
from aiokafka import ConsumerRecord
from prometheus_client import REGISTRY

from schemas.codec import Codec, MalformedEvent, RecordCodec
from schemas.codec import instant as instant_of
from schemas.tiers import CHANNEL_INTERVAL
from services.platforms import all_platforms
from services.platforms.base import AppClient
from services.poller.accounts import TOPIC as ACCOUNTS
from services.poller.accounts import Accounts
from services.poller.budget import Budget, Circuit
from services.poller.catalog import TOPICS as CATALOG
from services.poller.catalog import Catalog
from services.poller.errors import Stop
from services.poller.fetch import Fetcher
from services.poller.live import REQUESTS, Live
from services.poller.loop import Loop
from services.poller.metrics import PollerMetrics, StateCollector
from services.poller.poll import Poller
from services.poller.publisher import RAW, REPLIES, KafkaPublisher, Room
from services.poller.reader import RETRY_SECONDS, TopicReader
from services.poller.refresh import Refresher
from services.poller.schedule import Schedule
from services.poller.settings import PollerSettings
from services.poller.timing import SystemTime
from services.poller.tokens import TokenStore
from services.runtime.kafka import split_key
from services.runtime.logging import configure_logging, get_logger
from services.runtime.operations import OperationsServer
from services.runtime.registry import Registry, RegistryUnavailable
from services.runtime.secrets import SecretsError, TokenCipher
from services.runtime.settings import exit_with, load_or_exit

ROLLUPS = "rollups.posts"
CHANNEL_SNAPSHOTS = "metrics.channel-snapshots"
ALL_TOPICS = (RAW, ACCOUNTS, *CATALOG, ROLLUPS, CHANNEL_SNAPSHOTS, REQUESTS, REPLIES)
# Of the 5 seconds that a stop may take, what is left after Kafka has had its time ends the process.
FLUSH_SECONDS = 3.0
# Refreshes under way are finished first.
REFRESH_SECONDS = 1.0
_log = get_logger("services.poller")


class Readiness:
    """What is still missing before the poller polls."""

    def __init__(self) -> None:
        self.stage: Callable[[], str | None] = lambda: "starting"

    def __call__(self) -> str | None:
        """See `services.runtime.operations.Readiness`."""
        return self.stage()


class Captures:
    """Tells the schedule, before the first poll, what was captured when."""

    def __init__(self, schedule: Schedule, catalog: Catalog, accounts: Accounts) -> None:
        self._schedule = schedule
        self._catalog = catalog
        self._accounts = accounts

    def rollup(self, codec: RecordCodec) -> Callable[[str, ConsumerRecord], None]:
        """Folds `rollups.posts`: when each post was last captured on each channel."""

        def fold(_: str, record: ConsumerRecord) -> None:
            if record.value is None or record.key is None:
                return
            workspace_id, post_id = split_key(record.key)
            entries = self._catalog.entries(workspace_id, post_id)
            if not entries:
                return
            for part in codec.decode(record.value)["channels"]:
                captured_at = instant_of(part["captured_at"])
                for entry in entries:
                    if captured_at is not None and entry.plan.key[1] == part["channel_id"]:
                        self._schedule.restore(entry, captured_at)

        return _tolerant(fold)

    def channel_snapshot(self, _: str, record: ConsumerRecord) -> None:
        """Folds `metrics.channel-snapshots`; the message's time is close enough to the capture's."""
        if record.key is not None:
            self._schedule.restore_channel(split_key(record.key), record.timestamp)

    def account(self, codec: Codec[object]) -> Callable[[str, ConsumerRecord], None]:
        """Folds `accounts.events`: which connections were announced as broken."""

        def fold(_: str, record: ConsumerRecord) -> None:
            if record.value is not None:
                self._accounts.replay(codec.decode(record.value))  # type: ignore[arg-type]  # the topic's own codec

        return _tolerant(fold)


def _tolerant(fold: Callable[[str, ConsumerRecord], None]) -> Callable[[str, ConsumerRecord], None]:
    def tolerant(topic: str, record: ConsumerRecord) -> None:
        try:
            fold(topic, record)
        except (MalformedEvent, UnicodeDecodeError) as error:
            _log.error("an event can't be read and is passed over", topic=topic, offset=record.offset, error=str(error))

    return tolerant


async def serve(settings: PollerSettings, cipher: TokenCipher, readiness: Readiness) -> None:
    """Poll until cancelled.

    Raises:
        Stop: the topics contradict each other.
    """
    time, accounts, reader = SystemTime(), Accounts(), TopicReader(settings)
    platforms = all_platforms()
    schedule = Schedule(
        {name: platform.facts.post_batch_size for name, platform in platforms.items()},
        speed=settings.poll_speed,
        channel_concurrency=settings.channel_concurrency,
    )
    secrets = {
        name: (access.client_secret.get_secret_value(),)
        for name, access in settings.platforms.items()
        if access.client_secret is not None
    }
    tokens = TokenStore(cipher, secrets)
    readiness.stage = lambda: f"waiting for {reader.waiting_for}" if reader.waiting_for else "starting"
    partitions = await reader.partition_count(ALL_TOPICS)
    readiness.stage = lambda: "waiting for the schema registry"
    codecs, rollup_codec = await _codecs(settings)
    readiness.stage = lambda: f"reading {reader.waiting_for}"

    catalog = Catalog(codecs, schedule, tokens, accounts)
    captures = Captures(schedule, catalog, accounts)
    async with AsyncExitStack() as stack:
        await reader.replay(ACCOUNTS, captures.account(codecs[ACCOUNTS]))
        caught_up = asyncio.Event()
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        follower = tasks.create_task(
            reader.follow(
                CATALOG, lambda topic, record: catalog.fold(topic, record.key, record.value, time.now()), caught_up
            )
        )
        stack.callback(follower.cancel)
        await caught_up.wait()
        await reader.replay(ROLLUPS, captures.rollup(rollup_codec))
        since = time.now() - int(CHANNEL_INTERVAL / settings.poll_speed)
        await reader.replay(CHANNEL_SNAPSHOTS, captures.channel_snapshot, since)
        for key in accounts.paused():
            if key in schedule.plans:
                schedule.pause(schedule.plans[key])
        schedule.rebuild()
        # What was read stays for long: the collector needn't walk through it at every turn.
        gc.collect()
        gc.freeze()

        room = Room(settings.unconfirmed_events, settings.unconfirmed_bytes)
        publisher = KafkaPublisher(settings, codecs, partitions, room)
        stack.push_async_callback(publisher.close, FLUSH_SECONDS)
        await publisher.start()
        fetcher = Fetcher(
            {name: access.base_url for name, access in settings.platforms.items() if access.base_url},
            timeout_seconds=settings.call_timeout_seconds,
        )
        stack.push_async_callback(fetcher.close)
        circuits = {name: Circuit() for name in platforms}
        metrics = PollerMetrics()
        refresher = Refresher(
            time=time, platforms=platforms, fetcher=fetcher, publisher=publisher, tokens=tokens, catalog=catalog,
            accounts=accounts, metrics=metrics, clients=_clients(settings),
        )  # fmt: skip
        stack.push_async_callback(refresher.close, REFRESH_SECONDS)
        poller = Poller(
            time=time, platforms=platforms, schedule=schedule, fetcher=fetcher, publisher=publisher, tokens=tokens,
            accounts=accounts, budget=Budget(), circuits=circuits, metrics=metrics, refresher=refresher,
        )  # fmt: skip
        live = Live(
            time=time, platforms=platforms, schedule=schedule, catalog=catalog, poller=poller, replies=publisher,
            metrics=metrics, codec=codecs[RAW], requests=codecs[REQUESTS],
        )  # fmt: skip
        stack.push_async_callback(live.close)
        loop = Loop(time, schedule, poller, circuits, settings.platform_concurrency)
        REGISTRY.register(StateCollector(schedule, room, loop.in_flight, time.now))
        readiness.stage = lambda: None
        _log.info("polling", channels=len(schedule.plans), partitions=partitions, speed=settings.poll_speed)
        stack.callback(tasks.create_task(refresher.run()).cancel)
        requests = reader.tail((REQUESTS,), lambda _, record: live.take(record.value))
        stack.callback(tasks.create_task(requests).cancel)
        await loop.run()


def _clients(settings: PollerSettings) -> dict[str, AppClient]:
    """Our own app at each platform."""
    return {
        name: AppClient(
            access.client_id, access.client_secret.get_secret_value() if access.client_secret is not None else None
        )
        for name, access in settings.platforms.items()
    }


async def _codecs(settings: PollerSettings) -> tuple[dict[str, Codec[object]], RecordCodec]:
    """Codecs of all topics, as soon as the registry knows their schemas."""
    registry = Registry(settings, settings)

    def make() -> tuple[dict[str, Codec[object]], RecordCodec]:
        return {
            name: registry.codec(name) for name in (RAW, ACCOUNTS, REQUESTS, REPLIES, *CATALOG)
        }, registry.record_codec(ROLLUPS)

    while True:
        try:
            return await asyncio.to_thread(make)
        except RegistryUnavailable as error:
            _log.warning("schemas are missing; trying again", error=str(error))
            await asyncio.sleep(RETRY_SECONDS)


async def run(settings: PollerSettings, cipher: TokenCipher) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    readiness = Readiness()
    operations = OperationsServer(settings.metrics_host, settings.metrics_port, readiness)
    try:
        await operations.start()
    except OSError as error:
        exit_with(str(error), 1)
    serving = asyncio.create_task(serve(settings, cipher, readiness))
    stop = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait((serving, stop), return_when=asyncio.FIRST_COMPLETED)
        readiness.stage = lambda: "stopping"
        if not serving.done():
            serving.cancel()
        return _exit_code((await asyncio.gather(serving, return_exceptions=True))[0])
    finally:
        stop.cancel()
        await operations.stop()


def _exit_code(outcome: BaseException | None) -> int:
    if outcome is None or isinstance(outcome, asyncio.CancelledError):
        return 0
    reason = outcome
    while isinstance(reason, BaseExceptionGroup):
        reason = reason.exceptions[0]
    if isinstance(reason, Stop):
        exit_with(str(reason), 1)
    _log.error("the poller stops because of a mistake of its own", exc_info=outcome)
    return 1


def main() -> None:
    """Run the poller from the environment."""
    settings = load_or_exit(PollerSettings)
    configure_logging("poller", settings.log_level)
    try:
        cipher = TokenCipher(settings.secret_keys)
    except SecretsError as error:
        exit_with(str(error))
    raise SystemExit(uvloop.run(run(settings, cipher)))


if __name__ == "__main__":
    main()
