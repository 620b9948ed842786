"""One poller before a platform that fails, one that is well and two that can't be reached, and what it made of them."""

from __future__ import annotations

import re
import secrets
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
from confluent_kafka import Consumer, TopicPartition

from schemas.codec import Codec
from schemas.events import PlatformRaw, RawKind
from schemas.tiers import COMMON, MILLIS_PER_HOUR
from schemas.topic_names import RAW
from services.platforms import all_platforms
from services.runtime.secrets import TokenPair
from tests.support.engines import Engines
from tests.support.faulty_platform import WELL, Behaviour, FaultyPlatform, self_signed
from tests.support.pollers import PARTITIONS, Pollers, now_ms
from tests.support.waiting import PATIENCE, wait_until

FAULTY, HEALTHY, UNTRUSTED, UNKNOWN = "bluesky", "x", "reddit", "threads"
INTERVAL_MS = 1_000
# Between two polls of a target of a platform that is well; one, and time for a busy machine.
MOST_INTERVALS = 3
WORKSPACES = 12
POSTS = 4
# A name that no resolver ever knows (RFC 6761).
NOWHERE = "http://platform.invalid"
_CALLS = re.compile(
    r'^tidemark_poller_calls_total\{kind="(\w+)",outcome="(\w+)",platform="(\w+)"\} (\S+)$', re.MULTILINE
)
_READ_SECONDS = 30
# What garbage collection and buffers of connections may add during one fault.
_MEMORY_MARGIN_BYTES = 32 * 1024 * 1024


class Theatre:
    """The platforms, the poller and the catalog.

    Args:
        module: what runs as the poller.
        settings: of the poller, on top of what the scene needs.
    """

    def __init__(
        self,
        engines: Engines,
        logs: Path,
        module: str = "services.poller",
        settings: Mapping[str, str] | None = None,
        interval_ms: int = INTERVAL_MS,
    ) -> None:
        self.interval_ms = interval_ms
        self.platform = FaultyPlatform()
        self.untrusted = FaultyPlatform(self_signed(logs))
        self.pollers = Pollers(
            engines,
            f"t{secrets.token_hex(4)}.",
            logs,
            {
                "TIDEMARK_POLL_SPEED": str(COMMON.tiers[0][1] / interval_ms),
                f"TIDEMARK_{FAULTY.upper()}_BASE_URL": self.platform.url,
                f"TIDEMARK_{UNTRUSTED.upper()}_BASE_URL": self.untrusted.url,
                f"TIDEMARK_{UNKNOWN.upper()}_BASE_URL": NOWHERE,
                # Enough that no budget but the one that the platform tells of holds anything back.
                f"TIDEMARK_{FAULTY.upper()}_LIMITS": "xrpc=1000000/300",
                f"TIDEMARK_{UNTRUSTED.upper()}_LIMITS": "api=1000000/300",
                **(settings or {}),
            },
        )
        self.pollers.module = module
        self.posts: dict[str, set[str]] = {}
        for number, platform in enumerate((FAULTY, HEALTHY, UNTRUSTED, UNKNOWN)):
            self.posts[platform] = self._register(platform, number * 10_000)
        self.pollers.flush()
        self.pollers.start("one")
        self.pollers.wait_until_ready("one", PARTITIONS)
        self.wait_for_polls(time.monotonic() - 60, 30)

    def _register(self, platform: str, first: int) -> set[str]:
        made = set()
        for number in range(WORKSPACES):
            workspace = f"w{number}"
            self.pollers.put_channel(workspace, platform, platform, TokenPair(f"sandbox-token-{number}"))
            for post in range(POSTS):
                made.add(
                    self.pollers.put_post(
                        workspace, f"{platform}{post}", platform, platform, first + number * POSTS + post,
                        MILLIS_PER_HOUR,
                    )
                )  # fmt: skip
        return made

    def close(self) -> None:
        """End everything."""
        self.pollers.close()
        self.platform.close()
        self.untrusted.close()

    # What is seen

    def calls(self, platform: str) -> Counter[str]:
        """Calls of a platform by what became of them, as the poller counts them."""
        found: Counter[str] = Counter()
        for _, outcome, of_platform, count in _CALLS.findall(self.pollers.metrics("one")):
            if of_platform == platform:
                found[outcome] += int(float(count))
        return found

    def wait_for_polls(self, since: float, seconds: float) -> float:
        """Wait until every post of the faulty platform was answered; returns how long it took (s) since then."""
        wait_until(
            lambda: self.platform.answered_since(since) >= self.posts[FAULTY],
            seconds,
            lambda: (
                f"all {len(self.posts[FAULTY])} posts are answered, not {len(self.platform.answered_since(since))}: "
                f"{self.calls(FAULTY)}: {self.pollers.log('one')}"
            ),
        )
        return time.monotonic() - since

    def check_others(self, since: int, until: int) -> None:
        """Whatever fails, the healthy platform was asked in time between two instants (ms)."""
        served = self.pollers.served(HEALTHY)
        allowed = MOST_INTERVALS * self.interval_ms
        for post in self.posts[HEALTHY]:
            times = [at for at in served.get(post, []) if since - allowed <= at <= until]
            for earlier, later in pairwise([max(since - allowed, min(times, default=0)), *times, until]):
                assert later - earlier <= allowed, (post, earlier, later)

    @contextmanager
    def failing(self, behaviour: Behaviour, seconds: float) -> Iterator[Failing]:
        """The faulty platform behaves so for some time; then it is well again, at the end of the block."""
        watched = Failing(self, seconds)
        self.platform.behave(behaviour)
        wait_until(watched.is_over, 10 * seconds, "the fault is over")
        watched.end()
        try:
            yield watched
        finally:
            self.platform.behave(WELL)

    # What reached Kafka

    def raw(self) -> list[PlatformRaw]:
        """Every raw event of the scene, decoded."""
        settings, codec = self.pollers.settings, self.pollers.registry.codec(RAW)
        return list(_read_all(settings.kafka_bootstrap, settings.topic(RAW), codec))

    def check_events(self) -> None:
        """Stop the poller in order: each answer that was sent as a whole is in Kafka, and each event can be read."""
        self.pollers.signal("one", signal.SIGTERM)
        platform = all_platforms()[FAULTY]
        found: set[int] = set()
        for event in self.raw():
            reading = all_platforms()[event.platform].read(event)
            if event.platform == FAULTY and event.kind == RawKind.POST_METRICS and event.http_status == 200:
                assert len(reading.posts) == len(event.targets)
                found.add(int(platform.part(event, 0)["likeCount"]))
        assert self.platform.serials() - found == set(), "answers that were received are lost"


class Failing:
    """A span in which a platform fails, and what the poller spent on it.

    Args:
        seconds: length of the span.
    """

    def __init__(self, theatre: Theatre, seconds: float) -> None:
        self._theatre = theatre
        self._process = psutil.Process(theatre.pollers.pid("one"))
        self._cpu = sum(self._process.cpu_times()[:2])
        self._calls = theatre.calls(FAULTY)
        self._memory = self._process.memory_info().rss
        self.seconds = seconds
        self.began_at, self.began_ms = time.monotonic(), now_ms()

    def is_over(self) -> bool:
        """Whether the span has passed."""
        return time.monotonic() - self.began_at >= self.seconds

    def end(self) -> None:
        """The span ends now."""
        self.ended_ms = now_ms()
        self.asked = self._theatre.platform.since(self.began_at)
        self.cpu_seconds = sum(self._process.cpu_times()[:2]) - self._cpu
        self.grown_bytes = self._process.memory_info().rss - self._memory
        self.outcomes = self._theatre.calls(FAULTY) - self._calls

    def check(self, outcome: str, most_calls: float) -> None:
        """The poller named the fault, asked no more than so often, kept calm, and went on with other platforms."""
        assert self.outcomes[outcome] > 0, self.outcomes
        assert len(self.asked) <= most_calls, (len(self.asked), most_calls)
        assert self.cpu_seconds <= 1 + 0.3 * self.seconds, self.cpu_seconds
        assert self.grown_bytes <= _MEMORY_MARGIN_BYTES, self.grown_bytes
        self._theatre.check_others(self.began_ms, self.ended_ms)


def _read_all(bootstrap: str, topic: str, codec: Codec[Any]) -> Iterator[PlatformRaw]:
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": f"test-{secrets.token_hex(4)}", "enable.auto.commit": False}
    )
    try:
        ends = {number: consumer.get_watermark_offsets(TopicPartition(topic, number)) for number in range(PARTITIONS)}
        left = {number: high - low for number, (low, high) in ends.items() if high > low}
        consumer.assign([TopicPartition(topic, number, ends[number][0]) for number in left])
        deadline = time.monotonic() + _READ_SECONDS * PATIENCE
        while any(left.values()):
            assert time.monotonic() < deadline, f"the topic ends early: {left}"
            for message in consumer.consume(500, 0.05):
                assert message.error() is None, message.error()
                partition, value = message.partition(), message.value()
                assert partition is not None
                assert value is not None
                left[partition] -= 1
                yield codec.decode(value)
    finally:
        consumer.close()
