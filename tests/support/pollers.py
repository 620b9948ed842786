"""Poller processes of one test on the test engines and a sandbox of its own, and what the sandbox saw of them.

A poller is a process of its own, started as the supervisor starts it, so that a test may kill and freeze it.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
from confluent_kafka import Producer

from infra.embedded.ports import free_ports
from infra.embedded.processes import tied
from infra.sandbox.ids import make_id
from schemas.codec import Codec
from schemas.events import CatalogChannel, CatalogPost, CatalogTarget, ChannelTokens, PullTarget
from services.platforms import all_platforms
from services.poller.settings import PollerSettings
from services.runtime.clock import MILLIS_PER_DAY
from services.runtime.kafka import key, partition_of
from services.runtime.registry import Registry
from services.runtime.secrets import TokenCipher, TokenPair
from services.runtime.topics import ensure_topics
from tests.support.engines import Engines
from tests.support.loopback import LOOPBACK
from tests.support.waiting import wait_until

PARTITIONS = 4
SECRET_KEY = "key-of-the-sharding-tests"
_OWNED = re.compile(r'^tidemark_poller_partitions\{stage="(\w+)"\} (\S+)$', re.MULTILINE)


def now_ms() -> int:
    """The machine's clock, whole milliseconds."""
    return time.time_ns() // 1_000_000


class Pollers:
    """Topics and a sandbox of one test's own, and any number of pollers by name.

    Args:
        logs: folder for what they print.
        settings: of every poller, on top of what it needs.

    Attributes:
        module: what a poller's process runs.
    """

    module = "services.poller"

    def __init__(self, engines: Engines, topic_prefix: str, logs: Path, settings: Mapping[str, str]) -> None:
        self._logs = logs
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ports: dict[str, int] = {}
        sandbox_port = free_ports(1)[0]
        self.sandbox_url = f"http://127.0.0.1:{sandbox_port}"
        self.environment = {
            "TIDEMARK_KAFKA_BOOTSTRAP": engines.kafka_bootstrap,
            "TIDEMARK_SCHEMA_REGISTRY_URL": engines.schema_registry_url,
            "TIDEMARK_TOPIC_PREFIX": topic_prefix,
            "TIDEMARK_TOPIC_PARTITIONS": str(PARTITIONS),
            "TIDEMARK_SECRET_KEYS": SECRET_KEY,
            **{f"TIDEMARK_{name.upper()}_BASE_URL": self.sandbox_url for name in all_platforms()},
            **settings,
        }
        named = {name.removeprefix("TIDEMARK_").lower(): value for name, value in self.environment.items()}
        self.settings = PollerSettings.model_validate({**named, "secret_keys": SECRET_KEY})
        list(ensure_topics(self.settings, self.settings))
        self.registry = Registry(self.settings, self.settings)
        self._cipher = TokenCipher([SECRET_KEY])
        self._codecs: dict[str, Codec[Any]] = {}
        self._producer = Producer(
            {"bootstrap.servers": engines.kafka_bootstrap, "enable.idempotence": True, "log_level": 0}
        )
        self._sandbox = self._spawn(
            "sandbox", [sys.executable, "-m", "infra.sandbox", "--port", str(sandbox_port), "--no-limits"], {}
        )
        wait_until(lambda: self._answers(f"{self.sandbox_url}/_sandbox/healthz"), 30, "the sandbox answers")

    # Processes

    def start(self, name: str, **settings: str) -> None:
        """Start a poller without waiting for it."""
        self._ports[name] = free_ports(1)[0]
        self._processes[name] = self._spawn(
            name,
            [sys.executable, "-m", self.module],
            {"TIDEMARK_METRICS_PORT": str(self._ports[name]), **settings},
        )

    def wait_until_ready(self, name: str, owned: int | None = None, seconds: float = 30) -> None:
        """Wait until a poller is ready, and owns so many active partitions."""

        def is_ready() -> bool:
            assert self._processes[name].poll() is None, f"{name} ended: {self.log(name)}"
            if not self._answers(f"http://127.0.0.1:{self._ports[name]}/readyz"):
                return False
            return owned is None or self.partitions(name) == {"active": owned, "loading": 0, "draining": 0}

        wait_until(is_ready, seconds, lambda: f"{name} is ready with {owned} partitions: {self.log(name)}")

    def partitions(self, name: str) -> dict[str, int]:
        """How many partitions a poller has, by stage."""
        return {stage: int(float(count)) for stage, count in _OWNED.findall(self.metrics(name))}

    def metrics(self, name: str) -> str:
        """A poller's metrics as it shows them."""
        return LOOPBACK.get(f"http://127.0.0.1:{self._ports[name]}/metrics").text

    def pid(self, name: str) -> int:
        """A running poller's process."""
        return self._processes[name].pid

    @property
    def sandbox_pid(self) -> int:
        """The sandbox's process."""
        return self._sandbox.pid

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a poller; wait for its end if it is one that ends it."""
        self._processes[name].send_signal(number)
        if number in (signal.SIGKILL, signal.SIGTERM):
            self._processes.pop(name).wait(20)

    def log(self, name: str, characters: int = 3000) -> str:
        """The end of what a process printed."""
        path = self._logs / f"{name}.log"
        return path.read_text(errors="replace")[-characters:] if path.exists() else "(nothing)"

    def close(self) -> None:
        """End every process that was started here."""
        for process in [*self._processes.values(), self._sandbox]:
            process.kill()
            process.wait(20)

    def _spawn(self, name: str, argv: list[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        with (self._logs / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                tied(argv), env={**os.environ, **self.environment, **environment}, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def _answers(self, url: str) -> bool:
        try:
            return LOOPBACK.get(url, timeout=2).is_success
        except httpx.HTTPError:
            return False

    # The catalog

    def put_channel(self, workspace: str, channel: str, platform: str, tokens: TokenPair) -> None:
        """Register an active channel."""
        now = now_ms()
        ciphertext = self._cipher.encrypt(tokens, (workspace, channel))
        self._put(
            "catalog.tokens", workspace, channel,
            ChannelTokens(workspace, channel, ciphertext, f"put-{now}", None, "put", now),
        )  # fmt: skip
        self._put(
            "catalog.channels", workspace, channel,
            CatalogChannel(workspace, channel, platform, "2244994945", channel, "active", None, now),
        )  # fmt: skip

    def put_post(self, workspace: str, post: str, channel: str, platform: str, number: int, age_ms: int) -> str:
        """Register a published post with one target; returns the platform's id of it."""
        now = now_ms()
        external_id = make_id(platform, now - age_ms, number)
        target = CatalogTarget(f"{post}.t", channel, "", "published", external_id, published_at=now - age_ms)
        self._put(
            "catalog.posts", workspace, post,
            CatalogPost(workspace, post, "published", now - age_ms, now - age_ms, (target,), now),
        )  # fmt: skip
        return external_id

    def flush(self) -> None:
        """Wait until the catalog is durable."""
        assert self._producer.flush(30) == 0

    def _put(self, topic: str, workspace: str, subject: str, event: Any) -> None:
        if topic not in self._codecs:
            self._codecs[topic] = self.registry.codec(topic)
        self._producer.produce(
            self.settings.topic(topic), value=self._codecs[topic].encode(event), key=key(workspace, subject),
            partition=partition_of(workspace, PARTITIONS),
        )  # fmt: skip
        self._producer.poll(0)

    # What the sandbox saw

    def served(self, platform: str) -> dict[str, list[int]]:
        """When each thing of a platform was answered (ms), by the platform's id."""
        found: dict[str, list[int]] = defaultdict(list)
        for record in self._asked("served", platform=platform, limit=1_000_000)["served"]:
            found[record["external_id"]].append(record["served_at"])
        return found

    def call_counts(self, platform: str) -> dict[tuple[str, int], int]:
        """Calls of a platform by endpoint and status."""
        counts = self._asked("calls", platform=platform, limit=1)["counts"]
        return {(count["endpoint"], count["status"]): count["count"] for count in counts}

    def _asked(self, path: str, **query: Any) -> Any:
        reply = LOOPBACK.get(f"{self.sandbox_url}/_sandbox/{path}", params=query, timeout=30)
        return reply.raise_for_status().json()


class Scene:
    """Channels of Bluesky in every partition, with posts that are polled and one that only live requests ask for.

    Args:
        posts: of each workspace.
        interval_ms: how often a young post is polled, by the pollers' speed.
    """

    def __init__(self, pollers: Pollers, workspaces: Sequence[str], posts: int, interval_ms: int) -> None:
        self.pollers = pollers
        self.interval_ms = interval_ms
        self.polled: set[str] = set()
        self.live: dict[str, PullTarget] = {}
        for number, workspace in enumerate(workspaces):
            pollers.put_channel(workspace, "b", "bluesky", TokenPair("sandbox-token"))
            for post in range(posts):
                self.polled.add(pollers.put_post(workspace, f"p{post}", "b", "bluesky", number * 10 + post, 3_600_000))
            old = pollers.put_post(workspace, "old", "b", "bluesky", number, 200 * MILLIS_PER_DAY)
            self.live[workspace] = PullTarget("old.t", "b", "old", old, "", now_ms() - 200 * MILLIS_PER_DAY, False)
        pollers.flush()

    def times(self) -> dict[str, list[int]]:
        served = self.pollers.served("bluesky")
        return {external_id: served.get(external_id, []) for external_id in self.polled}

    def check(self, until: int, kills: Sequence[int]) -> tuple[float, float]:
        """No target was missed for longer than two intervals, nor asked twice in a tenth of one.

        Jitter and riding along in a batch may shorten an interval to 0.7 of it. But for the answer that a killed
        process had asked for and nobody received, no move shortens it further.

        Args:
            until: ms.
            kills: when processes were killed, ms.

        Returns:
            The shortest and the longest span between two answers about a target, in intervals.
        """
        spans: list[int] = []
        for external_id, times in self.times().items():
            assert times, external_id
            for earlier, later in pairwise([*times, until]):
                assert later - earlier <= 2 * self.interval_ms, (external_id, earlier, later, kills, times)
            spans += [later - earlier for earlier, later in pairwise(times)]
            for earlier, later in pairwise(times):
                is_lost = any(earlier <= killed_at <= later for killed_at in kills)
                least = (0.1 if is_lost else 0.6) * self.interval_ms
                assert later - earlier >= least, (external_id, earlier, later, kills, times)
        return min(spans) / self.interval_ms, max(spans) / self.interval_ms

    def wait_for_polls(self, since: int, seconds: float) -> None:
        """Wait until every target was asked after an instant (ms)."""
        wait_until(
            lambda: all(times and times[-1] > since for times in self.times().values()),
            seconds,
            lambda: f"everything is asked after {since}: {self.times()}",
        )
