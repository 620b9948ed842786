"""Composition root of the aggregator: builds the settings, the clients, one Faust worker and the operators' server."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys

from schemas.topic_names import CHANNELS, CLAIMS, DEAD_LETTERS, POSTS, RAW
from services.aggregator.app import Worker, build_app
from services.aggregator.clickhouse import ClickHouse
from services.aggregator.figures import FIGURES
from services.aggregator.health import watch
from services.aggregator.metrics import CLICKHOUSE_RETRIES
from services.aggregator.partition import RECORD_TOPICS, Codecs
from services.aggregator.settings import AggregatorSettings
from services.runtime.clock import SystemClock
from services.runtime.heaps import share_heaps
from services.runtime.logging import configure_logging, get_logger
from services.runtime.neighbours import refuse_or_wait
from services.runtime.operations import OperationsServer
from services.runtime.registry import Registry, RegistryUnavailable
from services.runtime.reloading import Reloading
from services.runtime.settings import exit_with, load_or_exit
from services.runtime.traces import CLOSE_SECONDS, tracer_or_exit
from services.runtime.tracing import Tracer

log = get_logger(__name__)
# sysexits' EX_SOFTWARE: the supervisor starts a new process.
_FAILED = 70
_STOP_SECONDS = 8.0


def load_codecs(settings: AggregatorSettings) -> Codecs:
    """Load every codec of the aggregator from the registry.

    Raises:
        RegistryUnavailable: the registry doesn't answer or lacks a schema; `tidemark topics` registers the schemas.
    """
    registry = Registry(settings, settings)
    return Codecs(
        raw=registry.codec(RAW),
        catalog={name: registry.codec(name) for name in (CHANNELS, POSTS)},
        dead_letters=registry.codec(DEAD_LETTERS),
        claims=registry.record_codec(CLAIMS),
        encoders={name: registry.encoder(name, FIGURES) for name in RECORD_TOPICS},
    )


async def run(settings: AggregatorSettings, tracer: Tracer) -> int:
    """Run until a signal or a failure; returns the exit code."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    failures: list[BaseException] = []

    def fail(error: BaseException) -> None:
        if not failures:
            log.error("aggregator_failed", error=f"{type(error).__name__}: {error}", exc_info=error)
        failures.append(error)
        stopped.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    try:
        codecs = await asyncio.to_thread(load_codecs, settings)
    except RegistryUnavailable as error:
        exit_with(str(error))
    store = ClickHouse(settings, on_retry=lambda _: CLICKHOUSE_RETRIES.inc())
    reloading = Reloading(settings)
    reloading.then(store.reconnect)
    reloading.at_signal()
    app = build_app(settings)
    worker = Worker(settings, app, store, codecs, SystemClock(), fail, tracer)
    operations = OperationsServer(
        settings.metrics_host,
        settings.metrics_port,
        lambda: store.problem or worker.missing,
    )
    loop.add_signal_handler(signal.SIGUSR1, worker.pause.resume)
    try:
        await operations.start()
    except OSError as error:
        exit_with(str(error))
    running = asyncio.create_task(_start(app), name="faust")
    running.add_done_callback(lambda task: _report(task, fail))
    watching = asyncio.create_task(watch(settings, worker, store, fail), name="health")
    watching.add_done_callback(lambda task: _report(task, fail))
    await stopped.wait()
    watching.cancel()
    if failures:
        # An orderly stop could commit unacknowledged events; the next process reads these events again.
        sys.stderr.flush()
        os._exit(_FAILED)
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await worker.stop()
            await app.stop()
            await operations.stop()
    except TimeoutError:
        log.warning("stop_timed_out")
    store.close()
    return 0


async def _start(app: object) -> None:
    await app.start()  # type: ignore[attr-defined]  # faust is not typed


def _report(task: asyncio.Task[None], fail: object) -> None:
    if not task.cancelled() and task.exception() is not None:
        fail(task.exception())  # type: ignore[operator]  # the callback of run()


def main() -> None:
    """Entry point of `tidemark aggregator`."""
    share_heaps()
    settings = load_or_exit(AggregatorSettings)
    # States live long and hold no cycles: with the default thresholds the collector would walk them again and again.
    gc.set_threshold(200_000, 50, 100)
    configure_logging("aggregator", settings.log_level)
    tracer = tracer_or_exit("aggregator", settings.instance_id)
    for line in refuse_or_wait(settings, "aggregator"):
        log.warning("a neighbour is waited for", problem=line)
    code = asyncio.run(run(settings, tracer))
    tracer.close(CLOSE_SECONDS)
    sys.stderr.flush()
    # Faust leaves threads behind that would hold the process for their time-outs.
    os._exit(code)


if __name__ == "__main__":
    main()
