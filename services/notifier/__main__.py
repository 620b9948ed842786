"""The notifier's composition root: settings, clients, a share of the webhooks, and a clean stop."""

from __future__ import annotations

import asyncio
import random
import sys
from contextlib import AsyncExitStack
from functools import partial

import uvloop
from prometheus_client import REGISTRY

from schemas.topic_names import (
    ACCOUNT_EVENTS,
    POST_ROLLUPS,
    TOPICS_OF_CHANGES,
    WEBHOOK_DELIVERIES,
    WEBHOOK_REQUESTS,
    WEBHOOK_STATES,
    WEBHOOKS,
)
from services.notifier.log import ClickHouseLog
from services.notifier.metrics import NotifierMetrics, StateCollector
from services.notifier.owner import Owner
from services.notifier.sending import Sender
from services.notifier.settings import NotifierSettings
from services.notifier.work import Parts, Work
from services.runtime.clock import SystemClock
from services.runtime.cursors import CursorText
from services.runtime.kafka_brokers import KafkaBrokers
from services.runtime.logging import configure_logging, get_logger
from services.runtime.membership import GroupRefused, Membership
from services.runtime.neighbours import refuse_or_wait
from services.runtime.operations import OperationsServer
from services.runtime.registry import Registry, once_registered
from services.runtime.reloading import Reloading
from services.runtime.sealing import WebhookCipher
from services.runtime.secrets import SecretsError
from services.runtime.serving import serve_until_signal
from services.runtime.settings import exit_with, load_or_exit
from services.runtime.topics import incarnation

_TYPED = (WEBHOOKS, WEBHOOK_DELIVERIES, WEBHOOK_STATES, WEBHOOK_REQUESTS, ACCOUNT_EVENTS)
_DRAIN_SECONDS = 5.0
_log = get_logger("services.notifier")


class Readiness:
    """What is still missing before webhooks are told."""

    def __init__(self) -> None:
        self.owner: Owner | None = None
        self.stage: str | None = "waiting for the schema registry"

    def __call__(self) -> str | None:
        """See `services.runtime.operations.Readiness`."""
        return self.stage if self.owner is None or self.stage is not None else self.owner.missing()


async def serve(settings: NotifierSettings, cipher: WebhookCipher, readiness: Readiness, reloading: Reloading) -> None:
    """Tell this process's share of the webhooks until cancelled.

    Raises:
        GroupRefused: the group takes no process of this kind.
    """
    clock, metrics = SystemClock(), NotifierMetrics()
    sender = Sender(cipher, clock, allows_private=bool(settings.webhooks_allow_private))
    registry = Registry(settings, settings)
    codecs = await once_registered(lambda: {topic: registry.codec(topic) for topic in _TYPED})
    rollups = await once_registered(partial(registry.record_codec, POST_ROLLUPS))
    delivery_log, cursors = ClickHouseLog(settings), CursorText(settings.secret_keys)
    reloading.then(lambda: cipher.rekey(settings.secret_keys))
    reloading.then(lambda: cursors.rekey(settings.secret_keys))
    reloading.then(delivery_log.reconnect)
    parts = partial(
        Parts,
        brokers=KafkaBrokers(settings), partitions=settings.topic_partitions, codecs=codecs, rollups=rollups,
        cursors=cursors,
        incarnation=partial(asyncio.to_thread, incarnation, settings, TOPICS_OF_CHANGES),
        send=sender.send, insert=delivery_log.insert, clock=clock, metrics=metrics, share=random.random,
        group=f"{settings.notifier_group}-positions",
    )  # fmt: skip
    owner = Owner(lambda partitions: Work(parts(may_try=owner.may_try), partitions), settings.notifier_session_seconds)
    membership = Membership(
        settings, settings.topic(settings.notifier_group), settings.topic(WEBHOOKS), owner,
        instance_id=settings.instance_id, session_seconds=settings.notifier_session_seconds,
        drain_seconds=_DRAIN_SECONDS, position=owner.position,
    )  # fmt: skip
    REGISTRY.register(StateCollector(owner.gauges))
    readiness.owner, readiness.stage = owner, None
    async with AsyncExitStack() as stack:
        stack.push_async_callback(sender.close)
        stack.push_async_callback(owner.stop)
        stack.push_async_callback(membership.stop)
        await membership.run()


async def run(settings: NotifierSettings, cipher: WebhookCipher) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code."""
    readiness, reloading = Readiness(), Reloading(settings)

    def stopping() -> None:
        readiness.stage = "stopping"

    return await serve_until_signal(
        "notifier",
        partial(serve, settings, cipher, readiness, reloading),
        OperationsServer(settings.metrics_host, settings.metrics_port, readiness),
        on_stopping=stopping,
        refusals=(GroupRefused,),
        reloading=reloading,
    )


def main() -> None:
    """Run the notifier from the environment."""
    if any(argument in ("-h", "--help") for argument in sys.argv[1:]):
        print("Tells workspaces' webhooks what happens; settings are read from TIDEMARK_* variables.")  # noqa: T201
        return
    settings = load_or_exit(NotifierSettings)
    configure_logging("notifier", settings.log_level)
    try:
        cipher = WebhookCipher(settings.secret_keys)
    except SecretsError as error:
        exit_with(str(error))
    for line in refuse_or_wait(settings, "notifier"):
        _log.warning("a neighbour is waited for", problem=line)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(run(settings, cipher))
    _log.info("stopped")
    sys.exit(code)


if __name__ == "__main__":
    main()
