"""Reads: kept and new answers against a constant body, against one query a request, and against PostgreSQL."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any

import httpx
import psutil

from benchmarks import reads_load
from benchmarks.chart import Bar
from benchmarks.machine import Usage
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
from infra.embedded.ports import free_ports
from services.query_api.serving.auth import new_key
from services.runtime.kafka import key
from tests.support.backend import now_ms
from tests.support.engines import EmbeddedEngines

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
_FLUSH_EVERY = 10_000
_BLOCK = 250_000
_SECONDS = 6.0
_WARM_SECONDS = 1.0
_SHOWN_POSTS = (0, 1, 12_345)


def run(on: EmbeddedEngines, is_full: bool) -> Result:
    """Each server alone with the generator, one worker each."""
    wrk = reads_load.generator()
    count = FULL_POSTS if is_full else DEFAULT_POSTS
    stage = ReadStage(on, wrk, count, _SECONDS * (3 if is_full else 1))
    try:
        stage.prefill()
        stage.prefill_topics()
        loads, sample = _own(stage)
        loads |= _static(stage, sample)
        loads |= _unbatched(stage)
        loads |= _postgres(stage)
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
            "loads": {name: load.figures() for name, load in loads.items()},
            "cpu_microseconds_per_request": stage.cpu,
            "store": stage.store,
        },
        _ratios(loads, stage.store),
        [
            "Each server is alone with wrk and its store while it is measured; wrk takes its part of the same cores.",
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


def _ratios(loads: Mapping[str, Load], store: Mapping[str, float]) -> list[Ratio]:
    rate = {name: load.rate for name, load in loads.items()}
    ratios = [
        Ratio("hot, one post / constant body on a route", rate["hot_one"] / rate["routed"], WANTED_OF_STATIC),
        Ratio(f"hot, {HOT_POSTS} posts / the same", rate["hot_many"] / rate["routed"], WANTED_OF_STATIC),
        Ratio("hot, one post / constant body sent by hand, without a framework", rate["hot_one"] / rate["static"]),
        Ratio("cold / one ClickHouse query a request", rate["cold"] / rate["unbatched"], WANTED_OF_UNBATCHED),
        Ratio("cold / hot", rate["cold"] / rate["hot_many"], WANTED_OF_HOT),
        Ratio("cold, with the store / without", rate["cold"] / rate["cold_without"]),
        Ratio("bytes of the store a post", store["bytes_a_post"], WANTED_BYTES, is_ceiling=True),
        Ratio(
            "MB of a worker's own memory, its part of the store's file left out",
            store["private_mb"],
            WANTED_MB,
            is_ceiling=True,
        ),
        Ratio("p99 ms, hot at half rate", loads["hot_paced"].p99, WANTED_P99_MILLISECONDS, is_ceiling=True),
        Ratio("p99 ms, cold at half rate", loads["cold_paced"].p99, WANTED_COLD_P99_MILLISECONDS, is_ceiling=True),
    ]
    if "postgres_cold" in loads:
        ratios += [
            Ratio("hot / PostgreSQL", rate["hot_many"] / rate["postgres_hot"], 1),
            Ratio("cold / PostgreSQL", rate["cold"] / rate["postgres_cold"], WANTED_OF_POSTGRES),
        ]
    return ratios


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
        self.expected: list[Any] = []
        self.folder = on.folder
        self._asked = 0
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

    def held(self) -> dict[str, float]:
        """What the server that runs holds: resident and private memory in MB."""
        info = psutil.Process(self._server).memory_full_info()
        return {"resident_mb": info.rss / 1e6, "private_mb": info.uss / 1e6}

    @contextmanager
    def server(self, name: str, module: list[str], more: Mapping[str, str], ready: str) -> Iterator[str]:
        """One server from its readiness on; gives its origin."""
        port = free_ports(1)[0]
        origin = f"http://127.0.0.1:{port}"
        environment = {
            **os.environ,
            **self.environment,
            "TIDEMARK_QUERY_API_PORT": str(port),
            "BENCH_KEYS": ",".join(self.keys),
            **more,
        }

        def answers() -> bool:
            with suppress(httpx.HTTPError):
                return self.get(origin, ready).is_success
            return False

        argv = [sys.executable, "-m", *module, *([str(port)] if len(module) > 1 else [])]
        child = self._engines.start(name, argv, answers, environment)
        self._server = child.pid
        try:
            yield origin
        finally:
            child.stop(10)

    def get(self, origin: str, path: str, number: int = 0) -> httpx.Response:
        """One reply."""
        headers = {"authorization": f"Bearer {self.keys[number % WORKSPACES]}"}
        return httpx.get(origin + path, headers=headers, timeout=10, trust_env=False)

    def shown(self, origin: str) -> list[Any]:
        """What some posts read, without the time of their figures."""
        bodies = [self.get(origin, POST_PATH % number, number).json() for number in _SHOWN_POSTS]
        for body in bodies:
            assert body["totals"]["likes"] > 0
            assert len(body["channels"]) == 2
            assert body.pop("updated_at")
        return bodies

    def load(
        self, name: str, origin: str, path: str, posts: int = 1, rate: float | None = None, seconds: float | None = None
    ) -> Load:
        """Measure; posts that were asked for are not asked for again where all of them are asked for."""
        first = self._asked if posts == self.posts else 0
        step = self._step if posts == self.posts else 1
        asked = Posts(posts, self.keys, first % posts, step)
        with Progress(f"reads: {name}"):
            usage = Usage({"server": self._server, "clickhouse": self._engines.child("clickhouse").pid})
            done = reads_load.run(self.wrk, self.folder, origin, path, asked, seconds or self.seconds, rate)
            self.cpu[name] = {part: used / done.requests * 1e6 for part, used in usage.cpu_seconds().items()}
        if posts == self.posts:
            # Those that were sent but not answered when the time was over count too.
            self._asked += (done.requests + PACED_CONNECTIONS) * step
        return done

    def warm(self, origin: str, path: str, posts: int) -> None:
        """Let a server's connections open and its kept answers be made, unmeasured."""
        self.load("warming up", origin, path, posts, seconds=_WARM_SECONDS)
        del self.cpu["warming up"]


def _own(stage: ReadStage) -> tuple[dict[str, Load], bytes]:
    """The query API as it is run; also a reply's body."""
    loads = {}
    store = stage.folder / "reads-store"
    began = monotonic()
    with stage.server("reads-own", ["services.query_api"], {"TIDEMARK_STORE_DIR": str(store)}, "/readyz") as origin:
        stage.store["filled_seconds"] = monotonic() - began
        stage.expected = stage.shown(origin)
        sample = stage.get(origin, POST_PATH % 0).content
        stage.warm(origin, POST_PATH, HOT_POSTS)
        loads["hot_one"] = stage.load("hot, one post", origin, POST_PATH)
        loads["hot_many"] = stage.load(f"hot, {HOT_POSTS} posts", origin, POST_PATH, HOT_POSTS)
        half = loads["hot_many"].rate / 2
        loads["hot_paced"] = stage.load("hot at half the rate", origin, POST_PATH, HOT_POSTS, half)
        stage.warm(origin, POST_PATH, stage.posts)
        loads["cold"] = stage.load(f"cold, {stage.posts:,} posts", origin, POST_PATH, stage.posts)
        half = loads["cold"].rate / 2
        loads["cold_paced"] = stage.load("cold at half the rate", origin, POST_PATH, stage.posts, half)
        stage.store |= stage.held()
    size = sum(path.stat().st_blocks * 512 for path in store.rglob("data.mdb"))
    stage.store["bytes_a_post"] = size / stage.posts
    with stage.server("reads-without-store", ["services.query_api"], {}, "/readyz") as origin:
        stage.warm(origin, POST_PATH, stage.posts)
        loads["cold_without"] = stage.load("cold, without the store", origin, POST_PATH, stage.posts)
    return loads, sample


def _static(stage: ReadStage, sample: bytes) -> dict[str, Load]:
    loads = {}
    peer, body = ["benchmarks.reads_peers", "static"], {"BENCH_BODY": sample.decode()}
    with stage.server("reads-static", peer, body, STATIC_PATH) as origin:
        for name, path in (("static", STATIC_PATH), ("routed", ROUTED_PATH)):
            stage.warm(origin, path, 1)
            loads[name] = stage.load(f"constant body, {name}", origin, path)
    return loads


def _unbatched(stage: ReadStage) -> dict[str, Load]:
    with stage.server("reads-unbatched", ["benchmarks.reads_peers", "clickhouse"], {}, POST_PATH % 0) as origin:
        assert stage.shown(origin) == stage.expected
        stage.warm(origin, POST_PATH, stage.posts)
        return {"unbatched": stage.load("one ClickHouse query a request", origin, POST_PATH, stage.posts)}


def _postgres(stage: ReadStage) -> dict[str, Load]:
    """The seeds' own way; nothing where PostgreSQL can't be run."""
    loads = {}
    try:
        with postgres(stage.folder) as address:
            with Progress(f"reads: {stage.posts:,} posts in PostgreSQL"):
                fill(address, stage.posts)
            peer, more = ["benchmarks.reads_peers", "postgres"], {"BENCH_POSTGRES": address}
            with stage.server("reads-postgres", peer, more, POST_PATH % 0) as origin:
                assert stage.shown(origin) == stage.expected
                for name, posts in (("postgres_hot", HOT_POSTS), ("postgres_cold", stage.posts)):
                    stage.warm(origin, POST_PATH, posts)
                    loads[name] = stage.load(name, origin, POST_PATH, posts)
    except NoPostgres as error:
        sys.stderr.write(f"  reads: without PostgreSQL: {error}\n")
        stage.notes.append(f"Not compared with PostgreSQL: {error}")
    return loads
