"""Reads: kept and new answers against a constant body, against one query a request, and against PostgreSQL."""

from __future__ import annotations

import asyncio
import math
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from statistics import median
from time import monotonic
from typing import Any, NamedTuple

import httpx
import psutil

from benchmarks import reads_load
from benchmarks.chart import Bar
from benchmarks.machine import Usage, disk_faults
from benchmarks.progress import Progress
from benchmarks.reads_data import (
    INSERT_POSTS,
    INSERT_TOTALS,
    POST_PATH,
    WORKSPACES,
    catalog_post,
    post_rollup,
    workspace,
)
from benchmarks.reads_load import CONNECTIONS, PACED_CONNECTIONS, Load, Posts
from benchmarks.reads_peers import ROUTED_PATH, STATIC_PATH, catalog_channels, catalog_keys
from benchmarks.reads_postgres import NoPostgres, fill, postgres
from benchmarks.report import Ratio, Result
from benchmarks.stage import Stage
from benchmarks.workload import Workload
from services.query_api.serving.auth import new_key
from services.runtime.following import Batch, Follower
from services.runtime.kafka import key
from services.runtime.kafka_brokers import KafkaBrokers
from tests.support.backend import PARTITIONS, now_ms
from tests.support.engines import START_TIMEOUT_SECONDS, EmbeddedEngines
from tests.support.loopback import LOOPBACK

DEFAULT_POSTS = 200_000
FULL_POSTS = 1_000_000
HOT_POSTS = 300
WANTED_OF_STATIC = 0.7
WANTED_OF_UNBATCHED = 8
WANTED_P99_MILLISECONDS = 50
WANTED_COLD_P99_MILLISECONDS = 10
WANTED_OF_HOT = 0.6
WANTED_OF_POSTGRES = 2
WANTED_BYTES = 1_200
WANTED_MB = 300
WANTED_FILL_SECONDS = 60
"""From the start of the query API to its readiness, with a million posts on the topics and no store."""
_FLUSH_EVERY = 10_000
_BLOCK = 250_000
_SECONDS = 3.0
_ROUNDS = 5
_WARM_SECONDS = 1.0
# For a start that fills its store, beyond what any start may take: several times the bound.
_FILL_PATIENCE = 4 * WANTED_FILL_SECONDS
_SHOWN_POSTS = (0, 1, 12_345)


def run(on: EmbeddedEngines, is_full: bool) -> Result:
    """All servers side by side, one worker each, and the generator with one of them at a time."""
    wrk = reads_load.generator()
    count = FULL_POSTS if is_full else DEFAULT_POSTS
    stage = ReadStage(on, wrk, count, _SECONDS)
    try:
        stage.prefill()
        stage.prefill_topics()
        stage.store["iterated_seconds"] = stage.iterated_seconds()
        rounds, loads, sample = _beside(stage)
        loads |= _alone(stage)
    finally:
        stage.close()
    return Result(
        "reads",
        {
            "posts": count,
            "connections": CONNECTIONS,
            "paced_connections": PACED_CONNECTIONS,
            "reply_bytes": len(sample),
            "seconds_a_run": stage.seconds,
            "rounds": _ROUNDS,
            "loads": {name: load.figures() for name, load in loads.items()},
            "cpu_microseconds_per_request": stage.cpu,
            "disk_faults_of_each_load": stage.disk_faults,
            "store": stage.store,
        },
        _ratios(rounds, loads, stage.store, count),
        [
            f"The servers run side by side, and wrk loads one of them at a time, {_ROUNDS} rounds over: a ratio is the "
            "median of the rounds' ratios, since the machine's own pace changes within minutes. wrk takes its part of "
            "the same cores.",
            "Cold posts are asked for once each, so that no kept answer is met, though answers are kept as ever.",
            "The peers run this project's own endpoint, key check and rendering; only the source differs. PostgreSQL "
            "holds four snapshots a target, a thirtieth of what ninety days leave.",
            "The static body is sent by hand from the bare ASGI application; the routed one by a route of Starlette's.",
            f"Half of the saturating rate comes from up to {PACED_CONNECTIONS} connections with random pauses, since "
            "wrk has no rate of its own: nearly independent arrivals, but one that is late also delays the next of "
            "its connection.",
            *stage.notes,
        ],
        (
            "Reads of a post, one worker",
            "requests/s",
            [
                Bar("hot: one post", loads["hot_one"].rate, "ours"),
                Bar(f"hot: {HOT_POSTS} posts", loads["hot_many"].rate, "ours"),
                Bar("constant body, bare", loads["static"].rate, "bound"),
                Bar("constant body, routed", loads["routed"].rate, "bound"),
                Bar(f"cold: {count:,} posts", loads["cold"].rate, "ours"),
                Bar("cold, without the store", loads["cold_without"].rate),
                Bar("one ClickHouse query a request", loads["unbatched"].rate),
                *(
                    [Bar("one PostgreSQL query a request", loads["postgres_cold"].rate)]
                    if "postgres_cold" in loads
                    else []
                ),
            ],
        ),
    )


def _ratios(
    rounds: Sequence[Mapping[str, Load]], loads: Mapping[str, Load], store: Mapping[str, float], posts: int
) -> list[Ratio]:
    rate = {name: load.rate for name, load in loads.items()}

    def of(name: str, beside: str) -> float:
        """The median of the rounds' ratios."""
        return median(each[name].rate / each[beside].rate for each in rounds)

    ratios = [
        Ratio("hot, one post / constant body on a route", of("hot_one", "routed"), WANTED_OF_STATIC),
        Ratio(f"hot, {HOT_POSTS} posts / the same", of("hot_many", "routed"), WANTED_OF_STATIC),
        Ratio("hot, one post / constant body sent by hand, without a framework", of("hot_one", "static")),
        Ratio("cold / one ClickHouse query a request", rate["cold"] / rate["unbatched"], WANTED_OF_UNBATCHED),
        Ratio("cold / hot", of("cold", "hot_many"), WANTED_OF_HOT),
        Ratio("cold, with the store / without", rate["cold"] / rate["cold_without"]),
        Ratio(
            f"seconds from a start without a store to readiness, {posts:,} posts",
            store["filled_seconds"],
            WANTED_FILL_SECONDS * posts / FULL_POSTS,
            is_ceiling=True,
        ),
        Ratio("the same / reading the same messages by aiokafka", store["filled_seconds"] / store["iterated_seconds"]),
        Ratio("bytes of the store a post", store["bytes_a_post"], WANTED_BYTES, is_ceiling=True),
        Ratio(
            "MB of a worker's own memory, its part of the store's file left out",
            store["own_mb"],
            WANTED_MB,
            is_ceiling=True,
        ),
        Ratio("p99 ms, hot at half rate", loads["hot_paced"].p99, WANTED_P99_MILLISECONDS, is_ceiling=True),
        Ratio("p99 ms, cold at half rate", loads["cold_paced"].p99, WANTED_COLD_P99_MILLISECONDS, is_ceiling=True),
    ]
    if "postgres_cold" in loads:
        ratios += [
            Ratio("hot / PostgreSQL", of("hot_many", "postgres_hot"), 1),
            Ratio("cold / PostgreSQL", of("cold", "postgres_cold"), WANTED_OF_POSTGRES),
        ]
    return ratios


class _Contestant(NamedTuple):
    """A server, its process, and which of its posts are asked for."""

    name: str
    pid: int
    origin: str
    path: str
    posts: int


class ReadStage(Stage):
    """Posts in ClickHouse, keys and channels on their topics, and servers that are asked for them."""

    def __init__(self, on: EmbeddedEngines, wrk: str, posts: int, seconds: float, name: str = "reads") -> None:
        super().__init__(on, name, Workload(0))
        self.wrk = wrk
        self.seconds = seconds
        self.keys = [new_key("postme") for _ in range(WORKSPACES)]
        self.posts = posts
        self.notes: list[str] = []
        self.store: dict[str, float] = {}
        self.cpu: dict[str, dict[str, float]] = {}
        self.disk_faults: dict[str, list[int]] = {}
        self.expected: list[Any] = []
        self.folder = on.folder
        self._asked: Counter[str] = Counter()
        # Far apart and never met twice: the golden section of all posts.
        self._step = next(n for n in range(int(posts * 0.618), posts) if math.gcd(n, posts) == 1)

    def prefill(self) -> None:
        """Posts in ClickHouse; keys and channels on their topics."""
        with Progress(f"reads: {self.posts:,} posts") as progress:
            for first in range(0, self.posts, _BLOCK):
                where = {"first": first, "count": min(_BLOCK, self.posts - first), "now": now_ms()}
                for statement in (INSERT_POSTS, INSERT_TOTALS):
                    self.clickhouse.command(statement, parameters=where)
                progress.show(f"{first:,} of {self.posts:,}")
            for table in ("posts_store", "post_totals_store"):
                self.clickhouse.command(f"OPTIMIZE TABLE {table} FINAL")
            for held in catalog_channels():
                value = self.codec("catalog.channels").encode(held)
                place = key(held.workspace_id, held.channel_id)
                self.publish("catalog.channels", place, held.workspace_id, value)
            for made in catalog_keys(self.keys):
                value = self.codec("catalog.api-keys").encode(made)
                self.publish("catalog.api-keys", key(made.workspace_id, made.key_id), made.workspace_id, value)
            self.flush()

    def prefill_topics(self) -> None:
        """The same posts on the topics that the API's own store is filled from."""
        encoders = {topic: self.registry.encoder(topic) for topic in ("catalog.posts", "rollups.posts")}
        now = now_ms()
        with Progress(f"reads: {self.posts:,} posts on the topics") as progress:
            for number in range(self.posts):
                place = key(workspace(number), f"post-{number:07d}")
                self.publish(
                    "catalog.posts", place, workspace(number), encoders["catalog.posts"](catalog_post(number, now))
                )
                self.publish(
                    "rollups.posts", place, workspace(number), encoders["rollups.posts"](post_rollup(number, now))
                )
                if number % _FLUSH_EVERY == 0:
                    self.flush()
                    progress.show(f"{number:,} of {self.posts:,}")
            self.flush()

    def iterated_seconds(self) -> float:
        """How long a process takes that reads the posts' messages from the topics and does nothing with them."""
        topics = ("catalog.posts", "rollups.posts")

        async def let_go(_: Batch) -> None:
            pass

        async def read() -> int:
            reading = Follower(KafkaBrokers(self.settings), topics, range(PARTITIONS), let_go, most=5_000)
            await reading.run(until_caught_up=True)
            return reading.read_count

        began = monotonic()
        with Progress("reads: the messages alone"):
            assert asyncio.run(read()) == len(topics) * self.posts
        return monotonic() - began

    def held(self, pid: int) -> dict[str, float]:
        """What a server holds: resident memory in MB, in all and without pages of files."""
        info = psutil.Process(pid).memory_info()
        return {"resident_mb": info.rss / 1e6, "own_mb": (info.rss - info.shared) / 1e6}

    @contextmanager
    def server(self, name: str, module: list[str], more: Mapping[str, str], ready: str) -> Iterator[str]:
        """One server from its readiness on; gives its origin."""
        told = {"BENCH_KEYS": ",".join(self.keys), **more}
        patience = START_TIMEOUT_SECONDS + _FILL_PATIENCE * self.posts / FULL_POSTS

        def ask(origin: str) -> httpx.Response:
            return self.get(origin, ready)

        with self.serving(name, module, told, ask=ask, patience=patience) as (origin, self._server):
            yield origin

    def get(self, origin: str, path: str, number: int = 0) -> httpx.Response:
        """One reply."""
        headers = {"authorization": f"Bearer {self.keys[number % WORKSPACES]}"}
        return LOOPBACK.get(origin + path, headers=headers, timeout=10)

    def shown(self, origin: str) -> list[Any]:
        """What some posts read, without the time of their figures."""
        bodies = [self.get(origin, POST_PATH % number, number).json() for number in _SHOWN_POSTS]
        for body in bodies:
            assert body["totals"]["likes"] > 0
            assert len(body["channels"]) == 2
            assert body.pop("updated_at")
        return bodies

    @property
    def pid(self) -> int:
        """The process of the server that was started last."""
        return self._server

    def load(self, name: str, on: _Contestant, rate: float | None = None, seconds: float | None = None) -> Load:
        """Measure; posts that were asked for are not asked for again where all of them are asked for."""
        is_of_all = on.posts == self.posts
        first, step = (self._asked[on.name], self._step) if is_of_all else (0, 1)
        asked = Posts(on.posts, self.keys, first % on.posts, step)
        with Progress(f"reads: {name}"):
            usage = Usage({"server": on.pid, "clickhouse": self._engines.child("clickhouse").pid})
            faults = disk_faults(on.pid)
            done = reads_load.run(self.wrk, self.folder, on.origin, on.path, asked, seconds or self.seconds, rate)
            self.disk_faults.setdefault(name, []).append(disk_faults(on.pid) - faults)
            self.cpu[name] = {part: used / done.requests * 1e6 for part, used in usage.cpu_seconds().items()}
        if is_of_all:
            # Those that were sent but not answered when the time was over count too.
            self._asked[on.name] += (done.requests + PACED_CONNECTIONS) * step
        return done

    def warm(self, on: _Contestant) -> None:
        """Let a server's connections open and its kept answers be made, unmeasured."""
        self.load("warming up", on, seconds=_WARM_SECONDS)
        del self.cpu["warming up"], self.disk_faults["warming up"]


def _beside(stage: ReadStage) -> tuple[list[dict[str, Load]], dict[str, Load], bytes]:
    """The servers that a ratio compares, side by side: the rounds' loads, their medians with what else was measured of
    the query API, and a reply's body."""
    store = stage.folder / "reads-store"
    with ExitStack() as running:
        began = monotonic()
        more = {"TIDEMARK_STORE_DIR": str(store)}
        origin = running.enter_context(stage.server("reads-own", ["services.query_api"], more, "/readyz"))
        own = stage.pid
        stage.store["filled_seconds"] = monotonic() - began
        stage.expected = stage.shown(origin)
        sample = stage.get(origin, POST_PATH % 0).content
        contestants = [
            _Contestant("hot_one", own, origin, POST_PATH, 1),
            _Contestant("hot_many", own, origin, POST_PATH, HOT_POSTS),
            _Contestant("cold", own, origin, POST_PATH, stage.posts),
        ]
        peer, more = ["benchmarks.reads_peers", "static"], {"BENCH_BODY": sample.decode()}
        constant = running.enter_context(stage.server("reads-static", peer, more, STATIC_PATH))
        contestants += [
            _Contestant("static", stage.pid, constant, STATIC_PATH, 1),
            _Contestant("routed", stage.pid, constant, ROUTED_PATH, 1),
            *_postgres(stage, running),
        ]
        for each in contestants:
            stage.warm(each)
        rounds = []
        for _ in range(_ROUNDS):
            rounds.append({each.name: stage.load(each.name, each) for each in contestants})
        loads = {each.name: _median([done[each.name] for done in rounds]) for each in contestants}
        for name, of, each in (("hot_paced", "hot_many", contestants[1]), ("cold_paced", "cold", contestants[2])):
            loads[name] = stage.load(name, each, loads[of].rate / 2)
        stage.store |= stage.held(own)
        running.pop_all().close()
    size = sum(path.stat().st_blocks * 512 for path in store.rglob("data.mdb"))
    stage.store["bytes_a_post"] = size / stage.posts
    return rounds, loads, sample


def _median(loads: Sequence[Load]) -> Load:
    return sorted(loads, key=lambda load: load.rate)[len(loads) // 2]


def _postgres(stage: ReadStage, running: ExitStack) -> list[_Contestant]:
    """The seeds' own way; nobody where PostgreSQL can't be run."""
    try:
        address = running.enter_context(postgres(stage.folder))
    except NoPostgres as error:
        sys.stderr.write(f"  reads: without PostgreSQL: {error}\n")
        stage.notes.append(f"Not compared with PostgreSQL: {error}")
        return []
    with Progress(f"reads: {stage.posts:,} posts in PostgreSQL"):
        fill(address, stage.posts)
    peer, more = ["benchmarks.reads_peers", "postgres"], {"BENCH_POSTGRES": address}
    origin = running.enter_context(stage.server("reads-postgres", peer, more, POST_PATH % 0))
    assert stage.shown(origin) == stage.expected
    return [
        _Contestant("postgres_hot", stage.pid, origin, POST_PATH, HOT_POSTS),
        _Contestant("postgres_cold", stage.pid, origin, POST_PATH, stage.posts),
    ]


def _alone(stage: ReadStage) -> dict[str, Load]:
    """The servers that read from ClickHouse, one after the other."""
    loads = {}
    with stage.server("reads-without-store", ["services.query_api"], {}, "/readyz") as origin:
        # ClickHouse's first statement may take longer than the warm-up.
        stage.get(origin, POST_PATH % 0)
        without = _Contestant("cold_without", stage.pid, origin, POST_PATH, stage.posts)
        stage.warm(without)
        loads["cold_without"] = stage.load("cold_without", without)
    with stage.server("reads-unbatched", ["benchmarks.reads_peers", "clickhouse"], {}, POST_PATH % 0) as origin:
        assert stage.shown(origin) == stage.expected
        unbatched = _Contestant("unbatched", stage.pid, origin, POST_PATH, stage.posts)
        stage.warm(unbatched)
        loads["unbatched"] = stage.load("unbatched", unbatched)
    return loads
