"""Runs of `tidemark rebuild` side by side in one process, on tables in memory, step by step in a given order.

A step is one query or one insert. A run that gets no more steps is a killed one, or one that a machine has suspended:
its next insert may land much later.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self, cast

import orjson

from schemas.events import CatalogChannel, CatalogPost, CatalogTarget, PlatformRaw, RawTarget
from schemas.windows import HOUR
from services.aggregator import rebuild, rebuild_runs, replay
from services.aggregator.batch import Inserts
from services.aggregator.clickhouse import ClickHouse
from services.aggregator.reading import Message, RawReading, map_or_failure
from services.aggregator.rebuild_runs import RebuildError, latest_rebuild
from services.aggregator.rows import (
    CHANNELS,
    POSTS,
    RAW_EVENTS,
    Row,
    Table,
    Version,
    channel_row,
    post_row,
    raw_event_row,
)
from services.aggregator.survey import Survey
from tests.support.manual_clock import ManualClock
from tests.support.state_store import StateStore

NOW = 1_790_000_000_000
_OWNED = 1 << 40
_FIGURES = ("latest_post_metrics_store", "latest_channel_metrics_store", "post_totals_store", "channel_totals_store")
_SETTLED = 12


class Tables(StateStore):
    """All tables that a rebuild uses; answers its queries."""

    def __init__(self) -> None:
        super().__init__()
        self.progress: dict[tuple[int, str], Row] = {}
        self.rebuilds: dict[int, Row] = {}
        self.handovers: set[tuple[int, int]] = set()
        self.shown: list[tuple[int, int]] = []
        self.now = NOW
        self.dropped_before = 0
        self.asked: list[tuple[str, str, str]] = []

    def take(self, table: Table, rows: Sequence[Row]) -> None:
        name = table[0]
        for row in rows:
            if name == "rebuild_progress":
                _replace(self.progress, (row[0], row[1]), row)
            elif name == "rebuilds":
                _replace(self.rebuilds, row[0], row)
            elif name == "rebuild_handovers":
                self.handovers.add((row[0], row[1]))
            elif name == "active_generations":
                self.shown.append((row[1], row[0]))
        if name in self.tables:
            super().insert({table: list(rows)})

    @property
    def active(self) -> int:
        return max(self.shown, default=(0, 0))[1]

    def runs(self) -> list[Row]:
        found = [row for (generation, name), row in self.progress.items() if not generation and "/run/" in name]
        return sorted(found, key=lambda row: row[1], reverse=True)

    def answer(self, sql: str, given: dict[str, Any]) -> list[Any]:
        if sql == "SELECT toUnixTimestamp64Milli(now64(3))":
            self.now += 1
            return [(self.now,)]
        if "max(workspace_id)" in sql:
            return [(max((row[1] for row in self.runs()), default=""),)]
        if "startsWith(workspace_id, '/run/')" in sql:
            return [(row[1], row[2], row[3], row[5], self.now) for row in self.runs()]
        if "FROM rebuild_progress" in sql:
            return [
                (row[1], row[2], row[3], row[4], row[5])
                for (generation, name), row in self.progress.items()
                if generation == given["generation"] and "/" not in name
            ]
        if "max(updated_at)" in sql:
            return [
                (max((row[4] for row in self.rebuilds.values() if row[0] == given["generation"]), default=0), self.now)
            ]
        if "max(generation) FROM rebuilds" in sql:
            return [(max(self.rebuilds, default=0),)]
        if "AND state = 'done'" in sql:
            return [(int(self.rebuilds.get(given["generation"], ("", ""))[1] == "done"),)]
        if sql == rebuild_runs.UNCLAIMED_QUERY:
            held = [row for row in self.rebuilds.values() if row[1] in rebuild_runs.UNFINISHED]
            return [row[:4] for row in sorted(held, reverse=True)]
        if "max(version) FROM active_generations" in sql:
            return [(self.active, max(self.shown, default=(0, 0))[0])]
        if "FROM active_generations" in sql:
            return [(self.active,)]
        if "FROM rebuild_handovers" in sql:
            return [(partition,) for generation, partition in self.handovers if generation == given["generation"]]
        if "kafkaMurmurHash" in sql:
            table = self.tables["posts_store" if "FROM posts_store" in sql else "channels_store"]
            return [(0, max(row["version"] for row in table.values()))]
        if "max(offset)" in sql:
            return [(0, max(row["offset"] for row in self.tables["raw_events_store"].values()) + 1)]
        if "FROM system.processes" in sql:
            return [(0, 0)]
        if "FROM system.parts" in sql:
            self.dropped_before = max(self.dropped_before, given["generation"])
            return []
        return self._of_tenants(sql, given)

    def _of_tenants(self, sql: str, given: dict[str, Any]) -> list[Any]:
        events = [
            row for row in self.tables["raw_events_store"].values() if given.get("workspace") == row["workspace_id"]
        ]
        if "count() FROM raw_events_store" in sql:
            return [(len(self.tables["raw_events_store"]),)]
        if "AND offset >= " in sql:
            later = [row for row in self.tables["raw_events_store"].values() if row["offset"] >= given["offset"]]
            return [tuple(row[column] for column in RAW_EVENTS[1]) for row in later[: given["limit"]]]
        if "groupArray" in sql:
            return []
        if "posts:UInt64" in sql:
            places = (("posts_store", given["posts"]), ("channels_store", given["channels"]))
            return sorted(
                {(key[0],) for name, cut in places for key, row in self.tables[name].items() if row["version"] >= cut}
            )
        if "DISTINCT workspace_id" in sql:
            return [(name,) for name in sorted({key[0] for key in self.tables["posts_store"]})]
        if "AND event_id > " in sql:
            later = sorted((row for row in events if row["event_id"] > given["after"]), key=lambda row: row["event_id"])
            return [tuple(row[column] for column in RAW_EVENTS[1]) for row in later[: given["limit"]]]
        if "FROM channels_store" in sql:
            rows = [row for key, row in self.tables["channels_store"].items() if key[0] == given["workspace"]]
            rows = [row for row in rows if row["version"] >= given.get("version", 0)]
            if sql.startswith("SELECT channel_id FROM"):
                return [(row["channel_id"],) for row in rows]
            return [tuple(row[column] for column in CHANNELS[1][1:-1]) for row in rows]
        assert "FROM posts_store" in sql, sql
        posts = [
            row for key, row in sorted(self.tables["posts_store"].items())
            if key[0] == given["workspace"] and key[1] > given["after"] and row["version"] >= given["version"]
        ]  # fmt: skip
        return [tuple(row[column] for column in POSTS[1][1:-1]) for row in posts[: given["limit"]]]

    def figures(self, generation: int) -> dict[str, dict[Any, Any]]:
        """Every figure of a generation, without versions."""
        return {
            name: {
                key[1:]: {column: value for column, value in row.items() if column not in ("generation", "version")}
                for key, row in self.tables[name].items()
                if key[0] == generation
            }
            for name in _FIGURES
        }


def _replace(table: dict[Any, Row], key: Any, row: Row) -> None:
    if key not in table or row[-1] >= table[key][-1]:
        table[key] = row


class Turns:
    """Lets one step after the other happen."""

    def __init__(self) -> None:
        self._parked: list[tuple[str, asyncio.Future[None]]] = []
        self._is_over = False
        self.taken: Counter[str] = Counter()

    async def wait(self, name: str) -> None:
        """Wait for this run's next turn."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._is_over:
            raise asyncio.CancelledError
        self._parked.append((name, turn))
        await turn

    def end(self) -> None:
        """Let no step happen any more."""
        self._is_over = True
        for _, turn in self._parked:
            turn.cancel()

    async def give(self, name: str, which: int = 0) -> bool:
        """Let a run make one of the steps that it is ready to make; False when it is ready for none."""
        for _ in range(_SETTLED):
            await asyncio.sleep(0)
        ready = [at for at in self._parked if at[0] == name and not at[1].done()]
        if not ready:
            return False
        chosen = ready[which % len(ready)]
        self._parked.remove(chosen)
        chosen[1].set_result(None)
        self.taken[name] += 1
        return True


class Stepped:
    """What one run sees of the tables; each call is a step. Stands in for `ClickHouse` and for `StoredStates`."""

    def __init__(self, name: str, tables: Tables, turns: Turns) -> None:
        self._name, self._tables, self._turns = name, tables, turns

    async def query(self, sql: str, parameters: dict[str, Any] | None = None) -> list[Any]:
        await self._turns.wait(self._name)
        if "AND event_id > " in sql and parameters is not None:
            self._tables.asked.append((self._name, parameters["workspace"], parameters["after"]))
        return self._tables.answer(sql, parameters or {})

    async def insert(self, table: Table, rows: Sequence[Row]) -> None:
        await self._turns.wait(self._name)
        self._tables.take(table, rows)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        fetch = getattr(self._tables, name)

        async def stepped(*arguments: Any) -> Any:
            await self._turns.wait(self._name)
            return await fetch(*arguments)

        return stepped

    @property
    def store(self) -> ClickHouse:
        return cast("ClickHouse", self)


class NoSurvey:
    """A survey that finds nothing."""

    partitions = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def missing_events(self, _: object) -> Iterator[list[RawReading]]:
        return iter(())

    def mirrors(self, _: object) -> frozenset[int]:
        return frozenset()

    rollups = mirrors


class World:
    """Two tenants with a history, any number of runs, and an owner who takes over when the newest run asks for it."""

    def __init__(self) -> None:
        self.tables = Tables()
        self.turns = Turns()
        self.runs: dict[str, asyncio.Task[dict[str, int]]] = {}
        self.is_owned = True
        self.at_handover: dict[str, dict[Any, Any]] | None = None
        self._fill()

    def _fill(self) -> None:
        version, mirror = Version(0, 0, _OWNED), cast("Inserts", {CHANNELS: [], POSTS: [], RAW_EVENTS: []})
        offset = 0
        for tenant in ("w1", "w2"):
            mirror[CHANNELS].append(
                channel_row(version, CatalogChannel(tenant, "c1", "youtube", "c1", "c1", "active", None, NOW))
            )
            for number in range(2):
                target = CatalogTarget(f"t{number}", "c1", status="published", external_id=f"x{number}")
                post = CatalogPost(tenant, f"p{number}", "published", NOW - HOUR, NOW - HOUR, (target,), NOW)
                mirror[POSTS].append(post_row(version, post))
            for event in range(5):
                offset += 1
                mirror[RAW_EVENTS].append(raw_event_row(_read(tenant, event, offset)))
        for table, rows in mirror.items():
            self.tables.take(table, rows)

    def start(self, name: str, *, is_taking_over: bool = True) -> None:
        """Begin a run; it makes no step yet."""
        stepped = Stepped(name, self.tables, self.turns)
        self.runs[name] = asyncio.create_task(
            rebuild.run_rebuild(
                stepped.store, ManualClock(NOW + HOUR), 1, cast("Survey", NoSurvey()), lambda _: None, 1e9,
                is_taking_over=is_taking_over,
            )
        )  # fmt: skip

    async def steps(self, name: str, count: int, which: int = 0) -> None:
        """Let a run make so many steps, or as many as it makes."""
        for _ in range(count):
            await self._own()
            if not await self.turns.give(name, which):
                return

    async def finish(self, name: str, which: int = 0) -> str:
        """Let a run go on to its end; returns its last line, empty for a run that finished the rebuild."""
        for _ in range(3_000):
            if self.runs[name].done():
                break
            await self.steps(name, 1, which)
        else:
            raise AssertionError(f"{name} does not end")
        error = self.runs[name].exception()
        if error is None:
            return ""
        assert isinstance(error, RebuildError), repr(error)
        return str(error)

    async def _own(self) -> None:
        if not self.is_owned:
            return
        found = await latest_rebuild(AtOnce(self.tables).store)
        if found is None or found.state != "handover" or (found.generation, 0) in self.tables.handovers:
            return
        self.at_handover = self.tables.figures(found.generation)
        self.tables.handovers.add((found.generation, 0))

    async def close(self) -> None:
        """End what still runs."""
        self.turns.end()
        for task in self.runs.values():
            task.cancel()
        await asyncio.gather(*self.runs.values(), return_exceptions=True)


class AtOnce:
    """The tables as a partition's owner sees them, without steps. Stands in for `ClickHouse` and for `StoredStates`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def query(self, sql: str, parameters: dict[str, Any] | None = None) -> list[Any]:
        return self._tables.answer(sql, parameters or {})

    async def insert(self, table: Table, rows: Sequence[Row]) -> None:
        self._tables.take(table, rows)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tables, name)

    @property
    def store(self) -> ClickHouse:
        return cast("ClickHouse", self)


def _read(tenant: str, number: int, offset: int) -> RawReading:
    # The second target is measured by the last event alone.
    which = number == 4
    body = {"kind": "youtube#videoListResponse", "items": [{"id": f"x{which:d}", "statistics": _figures(number)}]}
    event = PlatformRaw(
        f"e{number}", tenant, "c1", "youtube", "POST_METRICS", "/youtube/v3/videos",
        {"part": "statistics", "id": f"x{which:d}"}, (RawTarget(f"t{which:d}", f"p{which:d}", f"x{which:d}"),), 200,
        orjson.dumps(body), NOW + number * 1_000, "SCHEDULE",
    )  # fmt: skip
    reading, failure = map_or_failure(event)
    assert failure is None, failure
    return RawReading(
        Message("platform.raw", 0, offset, tenant.encode(), b"", NOW), event, event.event_id.encode(), reading
    )


def _figures(number: int) -> dict[str, str]:
    return {"viewCount": str(100 + number), "likeCount": str(10 + number), "commentCount": "1"}


def without_waiting(patch: Any) -> None:
    """Make every wait of a rebuild a turn of the event loop, and no signs of life; batches are of two events."""

    async def at_once(call: Callable[..., Any], *arguments: Any) -> Any:
        return call(*arguments)

    patch.setattr(asyncio, "to_thread", at_once)
    patch.setattr(rebuild, "_HANDOVER_POLL_SECONDS", 0)
    patch.setattr(rebuild, "_DROP_POLL_SECONDS", 0)
    patch.setattr(rebuild_runs, "_LOOK_SECONDS", 0)
    patch.setattr(rebuild_runs, "_BEAT_SECONDS", 1e9)
    patch.setattr(replay, "EVENTS_PER_BATCH", 2)
    patch.setattr(replay, "StoredStates", lambda store: store)
