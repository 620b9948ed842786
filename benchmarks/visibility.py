"""How long a raw event takes to show in every product's API while thousands of others flow."""

from __future__ import annotations

import asyncio
import random
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
import orjson
from confluent_kafka import Consumer, TopicPartition

from benchmarks.chart import Bar
from benchmarks.machine import Usage
from benchmarks.progress import Progress
from benchmarks.report import Ratio, Result
from benchmarks.stage import Stage
from benchmarks.workload import PER_EVENT, Workload
from schemas.events import ApiKey, PlatformRaw, RawTarget
from services.query_api.serving.auth import READ_SCOPE, key_hash, new_key
from services.runtime.kafka import key
from tests.support.backend import PARTITIONS, now_ms
from tests.support.engines import EmbeddedEngines

RATE = 5_000
"""Snapshots a second that flow beside the probes."""

DEFAULT_SECONDS = 40.0
FULL_SECONDS = 300.0
WANTED_SECONDS = 1.0
_WARM_SECONDS = 5.0
_CHANNELS = 200
# Each prober has a channel of its own, of whose posts nothing else speaks. Lists, explanations and snapshots ask
# ClickHouse: on 2 cores a second prober, or more looks, would measure the probing.
_PROBERS = 1
_LOOK_SECONDS = 0.2
_PAUSE_SECONDS = 0.6
_LOST_SECONDS = 20.0

SURFACES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "postme post": ("/api/v1/posts/{post}/insights", lambda body: body["totals"]["likes"]),
    "postme channel": ("/api/v1/channels/{channel}/insights?range=28d", lambda body: body["totals"]["likes"]),
    "PowerPost": ("/api/v1/post-items/{target}/analytics", lambda body: (body["metrics"] or {}).get("likes")),
    "PostFlow": ("/v1/posts/{post}/metrics", lambda body: body[0]["likes"]),
    "OpenPost post": ("/v1/analytics/post/{post}", lambda body: body["data"]["targets"][0]["likes"]),
    "OpenPost list": ("/v1/analytics", lambda body: body["data"] and body["data"][0]["likes"]),
    "PostFuze": (
        "/api/v1/posts/{post}/analytics",
        lambda body: sum(row["likes"] for row in body["metrics_by_account"]),
    ),
    "Tidemark": ("/tidemark/v1/posts/{post}", lambda body: body["metrics"]["likes"]),
}
"""Path and figure of each; of the channel the sum of its posts."""


@dataclass
class _Probe:
    """One raw event that is waited for; seconds of the monotonic clock, from its publishing on."""

    began: float
    rolled_up: float | None = None
    seen: dict[str, float] = field(default_factory=dict)
    shown: dict[str, Any] = field(default_factory=dict)

    @property
    def everywhere(self) -> float:
        """When the last surface showed it."""
        return max(self.seen.values())


def run(on: EmbeddedEngines, is_full: bool) -> Result:
    """One worker, one query API, a feeder, and probes one after the other on each of a few channels."""
    seconds = FULL_SECONDS if is_full else DEFAULT_SECONDS
    stage = _VisibilityStage(on)
    try:
        stage.prefill_catalog()
        with Progress("visibility: the worker folds the catalog"), stage.aggregator():
            stage.settle(60)
        stage.prefill_keys()
        with stage.aggregator() as worker, stage.query_api() as (origin, api):
            usage, began = Usage({**stage.pids(worker), "query_api": api}), time.monotonic()
            with Progress(f"visibility: {seconds:g} s of probes"):
                probes, fed = stage.probe(origin, seconds)
            cores = {name: used / (time.monotonic() - began) for name, used in usage.cpu_seconds().items()}
    finally:
        stage.close()
    everywhere = [probe.everywhere for probe in probes]
    rolled_up = [probe.rolled_up for probe in probes if probe.rolled_up is not None]
    after = [probe.everywhere - probe.rolled_up for probe in probes if probe.rolled_up is not None]
    by_surface = {name: _spread([probe.seen[name] for probe in probes]) for name in SURFACES}
    return Result(
        "visibility",
        {
            "probes": len(probes),
            "snapshots_per_second_beside": fed,
            "seconds_to_every_surface": _spread(everywhere),
            "seconds_to_rollup": _spread(rolled_up),
            "seconds_from_rollup_to_every_surface": _spread(after),
            "seconds_to_surface": by_surface,
            "cpu_cores_used": cores,
        },
        [
            Ratio("seconds to every surface, p99", _percentile(everywhere, 0.99), WANTED_SECONDS, is_ceiling=True),
            Ratio("seconds to every surface, p50", _percentile(everywhere, 0.5)),
            Ratio("seconds to the rollup, p99", _percentile(rolled_up, 0.99)),
            Ratio("seconds from rollup to every surface, p99", _percentile(after, 0.99)),
            Ratio("snapshots/s beside", fed, RATE * 0.97),
        ],
        [
            f"Every surface is asked every {_LOOK_SECONDS:g} s until it shows the figure, which is part of the times; "
            "a rollup is published after its rows are stored.",
            "PostFuze is asked without a poller, so each of its answers also waits for one that does not come.",
            f"The p99 of {len(probes)} probes.",
        ],
        (
            "A raw event until it shows, p99",
            "seconds",
            [
                Bar("every surface", _percentile(everywhere, 0.99), "ours"),
                Bar("its rollup", _percentile(rolled_up, 0.99), "ours"),
                *(Bar(name, spread["p99"]) for name, spread in by_surface.items()),
                Bar("promise", WANTED_SECONDS, "bound"),
            ],
        ),
    )


def _percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {
        "mean": statistics.fmean(values),
        "p50": _percentile(values, 0.5),
        "p99": _percentile(values, 0.99),
        "most": max(values),
    }


class _VisibilityStage(Stage):
    """A catalog of which most is fed and the rest probed."""

    def __init__(self, on: EmbeddedEngines) -> None:
        super().__init__(on, "visibility", Workload(0, channels=_CHANNELS))
        self.keys = {self.workload.workspace(channel): new_key("postme") for channel in self.probed}
        self._waiting: dict[bytes, _Probe] = {}
        self._api_log = on.folder / "logs" / "query-api-visibility.log"

    @property
    def probed(self) -> range:
        """Channels that only probes speak of."""
        return range(_CHANNELS - _PROBERS, _CHANNELS)

    def prefill_keys(self) -> None:
        """A key for every tenant whose posts are probed."""
        for workspace, text in self.keys.items():
            event = ApiKey(workspace, "probe", key_hash(text), (READ_SCOPE,), "postme", 1)
            self.publish(
                "catalog.api-keys", key(workspace, "probe"), workspace, self.codec("catalog.api-keys").encode(event)
            )
        self.flush()

    def query_api(self) -> AbstractContextManager[tuple[str, int]]:
        """The query API from its readiness on; gives its origin and pid."""
        own = {"TIDEMARK_STORE_DIR": str(self._engines.folder / "visibility-store")}
        return self.serving("query-api-visibility", ["services.query_api"], own)

    def probe(self, origin: str, seconds: float) -> tuple[list[_Probe], float]:
        """Probe for a while; returns every probe and the snapshots a second that flowed beside them."""
        stopped = threading.Event()
        feeder, watcher = _Feeder(self, stopped), threading.Thread(target=self._watch, args=(stopped,))
        feeder.start()
        watcher.start()
        try:
            probes = asyncio.run(self._probe_all(origin, seconds, feeder))
        finally:
            stopped.set()
            feeder.join()
            watcher.join()
        return probes, feeder.rate

    async def _probe_all(self, origin: str, seconds: float, feeder: _Feeder) -> list[_Probe]:
        await asyncio.sleep(_WARM_SECONDS)
        feeder.measure()
        until = time.monotonic() + seconds
        async with aiohttp.ClientSession(origin, connector=aiohttp.TCPConnector(limit=0)) as session:
            found = await asyncio.gather(*(self._prober(session, channel, until) for channel in self.probed))
        return [probe for probes in found for probe in probes]

    async def _prober(self, session: aiohttp.ClientSession, channel: int, until: float) -> list[_Probe]:
        """Probes of one channel, one after the other; the channel's sum is then known."""
        chance = random.Random(channel)
        likes: dict[int, int] = {}
        probes: list[_Probe] = []
        while time.monotonic() < until:
            number, value = chance.randrange(PER_EVENT), len(probes) + 1
            likes[number] = value
            wanted = {name: sum(likes.values()) if "channel" in name else value for name in SURFACES}
            probe = self._publish(channel, number, value)
            try:
                async with asyncio.timeout(_LOST_SECONDS):
                    await asyncio.gather(
                        *(self._look(session, probe, name, channel, number, wanted[name]) for name in SURFACES)
                    )
            except TimeoutError:
                missing = {name: (probe.shown.get(name), wanted[name]) for name in SURFACES if name not in probe.seen}
                raise AssertionError(
                    f"not within {_LOST_SECONDS:g} s, with rollup {probe.rolled_up} s: shown and wanted are {missing}; "
                    f"the query API's log ends: {self._api_log.read_text(errors='replace')[-1500:]}"
                ) from None
            probes.append(probe)
            await asyncio.sleep(chance.expovariate(1 / _PAUSE_SECONDS))
        return probes

    def _publish(self, channel: int, number: int, likes: int) -> _Probe:
        workspace, post_id = self.workload.workspace(channel), f"p{channel}-{number}"
        external_id = f"probe-{channel}-{number}"
        event = PlatformRaw(
            event_id=f"probe-{channel}-{likes:06d}",
            workspace_id=workspace,
            channel_id=f"c{channel}",
            platform="x",
            kind="POST_METRICS",
            endpoint="/2/tweets",
            request={"tweet.fields": "public_metrics"},
            targets=(RawTarget(f"t{channel}-{number}", post_id, external_id),),
            http_status=200,
            body=orjson.dumps({"data": [{"id": external_id, "public_metrics": {"like_count": likes}}]}),
            captured_at=now_ms(),
            origin="SCHEDULE",
        )
        probe = _Probe(time.monotonic())
        self._waiting[key(workspace, post_id)] = probe
        self.publish_raw(event)
        return probe

    async def _look(
        self, session: aiohttp.ClientSession, probe: _Probe, name: str, channel: int, number: int, wanted: int
    ) -> None:
        template, figure = SURFACES[name]
        path = template.format(post=f"p{channel}-{number}", target=f"t{channel}-{number}", channel=f"c{channel}")
        workspace = self.workload.workspace(channel)
        # PowerPost wants the workspace named.
        headers = {"authorization": f"Bearer {self.keys[workspace]}", "x-workspace-id": workspace}
        while True:
            async with session.get(path, headers=headers) as reply:
                assert reply.status == 200, f"{path}: {reply.status} {await reply.text()}"
                probe.shown[name] = figure(orjson.loads(await reply.read()))
            if probe.shown[name] == wanted:
                probe.seen[name] = time.monotonic() - probe.began
                return
            await asyncio.sleep(_LOOK_SECONDS)

    def _watch(self, stopped: threading.Event) -> None:
        """Note when the rollup of a probed post comes; read as the query API reads it."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.settings.kafka_bootstrap,
                "group.id": "visibility-watch",
                "enable.auto.commit": False,
                "isolation.level": "read_uncommitted",
                "fetch.wait.max.ms": 50,
            }
        )
        topic = self.settings.topic("rollups.posts")
        places = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
        consumer.assign([TopicPartition(topic, p.partition, consumer.get_watermark_offsets(p)[1]) for p in places])
        try:
            while not stopped.is_set():
                for message in consumer.consume(1000, 0.02):
                    probe = self._waiting.pop(message.key() or b"", None) if message.error() is None else None
                    if probe is not None:
                        probe.rolled_up = time.monotonic() - probe.began
        finally:
            consumer.close()


class _Feeder(threading.Thread):
    """Publishes snapshots of the other channels at an even rate, each captured as it is published."""

    def __init__(self, stage: _VisibilityStage, stopped: threading.Event) -> None:
        super().__init__()
        self._stage = stage
        self._stopped = stopped
        self._events = Workload(10_000_000, channels=_CHANNELS - _PROBERS).raw(0)
        self._sent = 0
        self._began, self._sent_before, self._ended = time.monotonic(), 0, 0.0

    def measure(self) -> None:
        """Count from here on."""
        self._began, self._sent_before = time.monotonic(), self._sent

    @property
    def rate(self) -> float:
        """Snapshots a second since then."""
        return (self._sent - self._sent_before) / (self._ended - self._began)

    def run(self) -> None:
        """Publish until stopped."""
        started = time.monotonic()
        while not self._stopped.wait(max(0.0, started + self._sent / RATE - time.monotonic())):
            self._stage.publish_raw(replace(next(self._events), captured_at=now_ms()))
            self._sent += PER_EVENT
        self._ended = time.monotonic()
