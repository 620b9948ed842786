"""The whole fold against a brute-force model: random catalogs, answers, repeats, restarts and instants.

The model keeps every event and computes each number from scratch by the contract's words; the fold keeps registers,
caches and totals. They must agree on every target, post and channel window after every batch.
"""

from __future__ import annotations

import asyncio
import copy
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import CatalogChannel, CatalogPost, CatalogTarget, PlatformRaw, RawTarget
from schemas.metrics import (
    AVG_WATCH_TIME,
    CH_FOLLOWERS,
    CH_VIEWS,
    CHANNEL_METRICS,
    IMPRESSIONS,
    LIKES,
    NO_POST_VALUES,
    POST_METRICS,
    POST_NAMES,
    VIEWS,
)
from schemas.windows import DAY, HOUR, RANGES
from services.aggregator.batch import Batch, CatalogWrite, newest_writes
from services.aggregator.filling import fill
from services.aggregator.fold import fold_batch
from services.aggregator.reading import Message, RawReading
from services.aggregator.rows import Version
from services.aggregator.state import PartitionState
from services.aggregator.writing import insert_stages
from services.platforms.base import ChannelReading, PostReading, Reading
from tests.support import properties
from tests.support.state_store import StateStore

START = 1_780_000_000_000
WORKSPACE = "w"
TARGETS = ("t1", "t2", "t3")
POSTS = ("p1", "p2", "p3")
CHANNELS = ("c1", "c2")
METRICS = (VIEWS, IMPRESSIONS, LIKES, AVG_WATCH_TIME)


@dataclass(frozen=True)
class Said:
    target_id: str
    spoken: int
    ranged: int
    values: tuple[int | None, ...]
    captured_at: int
    event_id: str


@dataclass(frozen=True)
class ChannelSaid:
    channel_id: str
    period: tuple[str, int | None, int | None]
    figures: dict[int, int | None]
    captured_at: int
    event_id: str


@dataclass
class Model:
    """Every event, and the contract's definitions over them."""

    said: list[Said] = field(default_factory=list)
    channel_said: list[ChannelSaid] = field(default_factory=list)
    posts: dict[str, CatalogPost] = field(default_factory=dict)
    channels: dict[str, CatalogChannel] = field(default_factory=dict)

    def figures(self, target_id: str) -> tuple[int | None, ...]:
        values: list[int | None] = []
        for index in range(len(POST_METRICS)):
            said = [
                (not (s.ranged >> index & 1), s.captured_at, s.event_id.encode(), s.values[index])
                for s in self.said
                if s.target_id == target_id and s.spoken >> index & 1
            ]
            values.append(max(said, key=lambda entry: entry[:3])[3] if said else None)
        return tuple(values)

    def captured_at(self, target_id: str) -> int | None:
        return max((s.captured_at for s in self.said if s.target_id == target_id), default=None)

    def entry(self, target_id: str) -> tuple[CatalogPost, CatalogTarget] | None:
        """The catalog's newest entry of a target that counts, on a channel that the catalog holds."""
        held = self.listing(target_id)
        return held if held is not None and held[1].channel_id in self.channels else None

    def listing(self, target_id: str) -> tuple[CatalogPost, CatalogTarget] | None:
        """The catalog's newest entry of a target that counts: neither its post nor itself is deleted."""
        listings = [
            (post, target)
            for post in self.posts.values()
            for target in post.targets
            if target.target_id == target_id and "deleted" not in (post.status, target.status)
        ]
        return max(listings, key=lambda listing: (listing[0].updated_at, listing[0].post_id), default=None)

    def holder(self, target_id: str) -> tuple[str, str] | None:
        """The post and the channel of a target; None where no post lists it."""
        held = self.listing(target_id)
        return None if held is None else (held[0].post_id, held[1].channel_id)

    def parts(self, post_id: str) -> list[str]:
        post = self.posts[post_id]
        entries = [(target.target_id, self.entry(target.target_id)) for target in post.targets]
        return [target_id for target_id, entry in entries if entry is not None and entry[0] is post]

    def window(self, channel_id: str, range_ms: int, end: int) -> tuple[str, dict[str, int | None]]:
        days = {
            said.period: said
            for said in sorted(self.channel_said, key=lambda s: (s.captured_at, s.event_id.encode()))
            if said.channel_id == channel_id
        }
        native = _native(days, range_ms, end)
        if native is not None:
            return "channel", {"views": native}
        mine = [t for t in TARGETS if (held := self.entry(t)) and held[1].channel_id == channel_id]
        if not any(self.captured_at(t) is not None for t in mine):
            return "none", {"views": None, "likes": None}
        inside = []
        for target_id in mine:
            held = self.entry(target_id)
            assert held is not None
            published_at = held[0].published_at_of(held[1])
            if published_at is not None and end - range_ms <= published_at < end:
                inside.append(self.figures(target_id))
        return "posts", {name: _sum(inside, index) for name, index in (("views", VIEWS), ("likes", LIKES))}


def _sum(parts: list[tuple[int | None, ...]], index: int) -> int | None:
    known = [part[index] for part in parts]
    present = [value for value in known if value is not None]
    if not present or (index == AVG_WATCH_TIME and len(present) > 1):
        return None
    return sum(present)


def _native(days: dict[Any, ChannelSaid], range_ms: int, end: int) -> int | None:
    by_end = {
        period[2]: said
        for period, said in days.items()
        if period[0] == "day" and period[2] <= end and said.figures[CH_VIEWS] is not None
    }
    if not by_end or end - max(by_end) > 72 * HOUR:
        return None
    last, total = max(by_end), 0
    for number in range(range_ms // DAY):
        said = by_end.get(last - number * DAY)
        if said is None:
            return None
        total += said.figures[CH_VIEWS] or 0
    return total


@st.composite
def post_answers(draw: st.DrawFn) -> tuple[str, Any]:
    target_id = draw(st.sampled_from(TARGETS))
    spoken = sum(1 << index for index in draw(st.sets(st.sampled_from(METRICS), min_size=1)))
    ranged = spoken if draw(st.integers(0, 4)) == 0 else 0
    values = list(NO_POST_VALUES)
    for index in METRICS:
        if spoken >> index & 1:
            values[index] = draw(st.none() | st.integers(0, 1000))
    return "said", (target_id, spoken, ranged, tuple(values), draw(st.integers(-50, 50)) * 60_000)


@st.composite
def channel_answers(draw: st.DrawFn) -> tuple[str, Any]:
    channel_id = draw(st.sampled_from(CHANNELS))
    views = draw(st.none() | st.integers(0, 1000))
    days_ago = draw(st.integers(-1, 3))
    return "channel_said", (channel_id, views, days_ago, draw(st.integers(-50, 50)) * 60_000)


@st.composite
def post_writes(draw: st.DrawFn) -> tuple[str, Any]:
    post_id = draw(st.sampled_from(POSTS))
    chosen = draw(st.lists(st.sampled_from(TARGETS), unique=True, max_size=3))
    targets = tuple(
        CatalogTarget(
            target_id,
            draw(st.sampled_from(CHANNELS)),
            status=draw(st.sampled_from(["published", "published", "deleted"])),
            published_at=draw(st.none() | st.integers(-30 * 24, 2).map(lambda hours: START + hours * HOUR)),
        )
        for target_id in chosen
    )
    published_at = draw(st.integers(-30 * 24, 2)) * HOUR + START
    status = draw(st.sampled_from(["published", "published", "published", "deleted"]))
    # Clocks of writers may differ: a later write need not be the newer one.
    updated_at = START + draw(st.integers(0, 3))
    return "put_post", CatalogPost(WORKSPACE, post_id, status, published_at, published_at, targets, updated_at)


steps = st.one_of(
    post_answers(),
    post_answers(),
    channel_answers(),
    post_writes(),
    st.tuples(st.just("delete_post"), st.sampled_from(POSTS)),
    st.tuples(st.just("put_channel"), st.sampled_from(CHANNELS)),
    st.tuples(st.just("delete_channel"), st.sampled_from(CHANNELS)),
    st.tuples(st.just("repeat"), st.integers(0, 5)),
    st.tuples(st.just("restart"), st.none()),
    st.tuples(st.just("evict"), st.none()),
    st.tuples(st.just("clock"), st.integers(1, 40)),
)


crashes = st.tuples(st.integers(0, 2), st.integers(0, 127))


class System:
    """The fold with its caches, the tables behind it, and a crash at any point."""

    def __init__(self) -> None:
        self.store = StateStore()
        self.state = PartitionState.empty(1000)
        self.epoch = 1
        self.sequence = 0
        self.now = START

    def apply(self, batch: Batch, crash: tuple[int, int] | None = None, *, is_repeated: bool = True) -> None:
        """Fold, store and publish.

        Args:
            crash: stop within this stage, after these of its tables (a bit mask) were stored; then start anew.
            is_repeated: whether the new start repeats the batch, as the uncommitted offsets make the next owner do.
        """
        related = asyncio.run(fill(self.state, batch, self.store, 0, self.now))
        self.sequence += 1
        version = Version(0, 0, (self.epoch << 40) + self.sequence)
        effects = fold_batch(self.state, batch, related, version, self.now)
        for number, stage in enumerate(insert_stages(effects)):
            if crash is not None and number == crash[0]:
                stored = {table: rows for bit, (table, rows) in enumerate(stage.items()) if crash[1] >> bit & 1}
                self.store.insert(stored)
                self.restart()
                if is_repeated:
                    self.apply(batch)
                return
            self.store.insert(stage)
            if number == 0:
                self.store.publish(effects)

    def restart(self) -> None:
        self.state = PartitionState.empty(1000)
        self.epoch += 1
        self.sequence = 0


def reading(number: int, channel_id: str, captured_at: int, said: Reading, targets: tuple[str, ...]) -> RawReading:
    event = PlatformRaw(
        f"e{number}", WORKSPACE, channel_id, "x", "POST_METRICS", "/", {},
        tuple(RawTarget(target, "unknown", target) for target in targets), 200, b"{}", captured_at, "SCHEDULE",
    )  # fmt: skip
    return RawReading(Message("platform.raw", 0, number, b"w", b"", captured_at), event, event.event_id.encode(), said)


@settings(max_examples=properties.of(200), deadline=None)
@given(st.lists(st.tuples(steps, st.booleans(), st.none() | crashes), max_size=25))
def test_the_fold_equals_the_model(program: list[tuple[tuple[str, Any], bool, tuple[int, int] | None]]) -> None:
    model, system = Model(), System()
    applied: list[Batch] = []
    batch = Batch()
    for number, ((name, detail), joins_next, crash) in enumerate(program):
        if name == "said":
            target_id, spoken, ranged, values, offset = detail
            at = START + offset
            model.said.append(Said(target_id, spoken, ranged, values, at, f"e{number}"))
            said = Reading(posts=[PostReading(0, spoken, ranged, values)])
            batch.raw.append(reading(number, "c1", at, said, (target_id,)))
        elif name == "channel_said":
            channel_id, views, days_ago, offset = detail
            end = (START // DAY - days_ago) * DAY
            figures: list[int | None] = [None] * len(CHANNEL_METRICS)
            figures[CH_VIEWS] = views
            period = ("day", end - DAY, end)
            at = START + offset
            model.channel_said.append(ChannelSaid(channel_id, period, {CH_VIEWS: views}, at, f"e{number}"))
            of_day = ChannelReading(*period, 1 << CH_VIEWS, tuple(figures))
            figures = [None] * len(CHANNEL_METRICS)
            figures[CH_FOLLOWERS] = number
            of_life = ChannelReading("lifetime", None, None, 1 << CH_FOLLOWERS, tuple(figures))
            batch.raw.append(reading(number, channel_id, at, Reading(channels=[of_day, of_life]), ()))
        elif name in ("put_post", "delete_post", "put_channel", "delete_channel"):
            batch.catalog.append(write_of(name, detail, model))
        elif name == "repeat" and detail < len(applied):
            # Answers may come again at any time; catalog writes only in their order.
            batch.raw.extend(applied[-1 - detail].raw)
        elif name == "restart":
            system.restart()
        elif name == "evict":
            system.state = PartitionState.empty(1000)
        elif name == "clock":
            system.now += detail * HOUR
        is_last = number == len(program) - 1
        if not joins_next or is_last or number % 7 == 0:
            # As the partition reads them: who is replaced at once may never be seen.
            batch.catalog = newest_writes(batch.catalog)
            system.apply(batch, crash)
            applied.append(batch)
            batch = Batch()
            check(model, system)


catalog_steps = st.one_of(
    post_writes(),
    post_writes(),
    st.tuples(st.just("delete_post"), st.sampled_from(POSTS)),
    st.tuples(st.just("put_channel"), st.sampled_from(CHANNELS)),
    st.tuples(st.just("delete_channel"), st.sampled_from(CHANNELS)),
)


def write_of(name: str, detail: Any, model: Model) -> CatalogWrite:
    """A catalog step, told to the model and as the fold takes it."""
    if name == "put_post":
        model.posts[detail.post_id] = detail
        return CatalogWrite(WORKSPACE, detail.post_id, detail, True, START)
    if name == "delete_post":
        model.posts.pop(detail, None)
        return CatalogWrite(WORKSPACE, detail, None, True, START)
    if name == "put_channel":
        channel = CatalogChannel(WORKSPACE, detail, "x", detail, detail, "active", None, START)
        model.channels[detail] = channel
        return CatalogWrite(WORKSPACE, detail, channel, False, START)
    model.channels.pop(detail, None)
    return CatalogWrite(WORKSPACE, detail, None, False, START)


@settings(max_examples=properties.of(12), deadline=None)
@given(st.lists(catalog_steps, min_size=2, max_size=6), st.permutations(TARGETS), catalog_steps)
def test_a_crash_anywhere_in_a_catalog_write_changes_nothing(
    before: list[tuple[str, Any]], measured: list[str], last: tuple[str, Any]
) -> None:
    model, system = Model(), System()
    for number, target_id in enumerate(measured):
        values = list(NO_POST_VALUES)
        values[LIKES] = values[VIEWS] = 10**number
        model.said.append(Said(target_id, 1 << LIKES | 1 << VIEWS, 0, tuple(values), START, f"e{number}"))
        said = Reading(posts=[PostReading(0, 1 << LIKES | 1 << VIEWS, 0, tuple(values))])
        system.apply(Batch(raw=[reading(number, "c1", START, said, (target_id,))]))
    for name, detail in [("put_channel", "c1"), ("put_channel", "c2"), *before]:
        system.apply(Batch(catalog=[write_of(name, detail, model)]))
    check(model, system)
    write = write_of(*last, model)
    for stage in range(3):
        for mask in range(2**6):
            crashed = copy.deepcopy(system)
            crashed.apply(Batch(catalog=[write]), (stage, mask))
            check(model, crashed)


@settings(max_examples=properties.of(300), deadline=None)
@given(
    st.lists(catalog_steps, max_size=4),
    st.permutations(TARGETS),
    st.lists(catalog_steps, min_size=1, max_size=6),
    st.lists(st.tuples(st.integers(1, 6), crashes), min_size=1, max_size=3),
    st.lists(st.integers(1, 3), min_size=6, max_size=6),
)
def test_owners_that_died_among_a_part_of_the_writes_leave_nothing_behind(
    before: list[tuple[str, Any]],
    measured: list[str],
    steps: list[tuple[str, Any]],
    deaths: list[tuple[int, tuple[int, int]]],
    sizes: list[int],
) -> None:
    """Each owner begins with the same first write, and sees fewer or more of those that follow at once."""
    model, system = Model(), System()
    for number, target_id in enumerate(measured):
        values = list(NO_POST_VALUES)
        values[LIKES] = values[VIEWS] = 10**number
        model.said.append(Said(target_id, 1 << LIKES | 1 << VIEWS, 0, tuple(values), START, f"e{number}"))
        said = Reading(posts=[PostReading(0, 1 << LIKES | 1 << VIEWS, 0, tuple(values))])
        system.apply(Batch(raw=[reading(number, "c1", START, said, (target_id,))]))
    for name, detail in [("put_channel", "c1"), ("put_channel", "c2"), *before]:
        system.apply(Batch(catalog=[write_of(name, detail, model)]))
    writes = [write_of(name, detail, model) for name, detail in steps]
    for count, crash in deaths:
        system.apply(Batch(catalog=newest_writes(writes[:count])), crash, is_repeated=False)
    system.restart()
    while writes:
        size = sizes.pop()
        system.apply(Batch(catalog=newest_writes(writes[:size])))
        writes = writes[size:]
    check(model, system)


def test_a_target_of_a_version_that_nobody_finished_is_given_back() -> None:
    """The post listed it in a version whose states were stored and whose mirror was not; the next one did not."""
    model, system = Model(), System()
    system.apply(Batch(catalog=[write_of("put_channel", "c1", model)]))
    target = CatalogTarget("t1", "c1", "post", "published", "1", None, None, None)
    first, second = (
        write_of("put_post", CatalogPost(WORKSPACE, "p1", "published", START, START, targets, START), model)
        for targets in ((target,), ())
    )
    system.apply(Batch(catalog=[first]), (2, 0), is_repeated=False)
    system.apply(Batch(catalog=newest_writes([first, second])))
    assert not system.store.tables["latest_post_metrics_store"][(0, WORKSPACE, "t1")]["is_listed"]
    check(model, system)


def check(model: Model, system: System) -> None:
    latest = system.store.tables["latest_post_metrics_store"]
    for target_id in TARGETS:
        row = latest.get((0, WORKSPACE, target_id))
        figures = model.figures(target_id)
        holder = model.holder(target_id)
        place = None if row is None or not row["is_listed"] else (row["post_id"], row["channel_id"])
        assert place == holder
        if row is None:
            assert model.captured_at(target_id) is None
            continue
        assert tuple(row[name] for name in ("views", "impressions", "likes")) == (
            figures[VIEWS],
            figures[IMPRESSIONS],
            figures[LIKES],
        )
        assert row["captured_at"] == model.captured_at(target_id)
    totals = system.store.tables["post_totals_store"]
    for post_id in POSTS:
        row = totals.get((0, WORKSPACE, post_id))
        told = system.store.topics["rollups.posts"].get(f"{WORKSPACE}/{post_id}".encode())
        if post_id not in model.posts or model.posts[post_id].status == "deleted":
            assert row is None or row["is_deleted"] == 1
            assert told is None
            continue
        assert row is not None
        assert told is not None
        parts = [model.figures(target_id) for target_id in model.parts(post_id)]
        for index, name in enumerate(POST_NAMES):
            expected = _sum(parts, index)
            seen = row[name]
            assert (int(seen * 1000) if index == AVG_WATCH_TIME and seen is not None else seen) == expected, name
            assert told[name] == expected
        times = [model.captured_at(target_id) for target_id in model.parts(post_id)]
        assert row["captured_at"] == max((at for at in times if at is not None), default=None)
    windows = system.store.tables["channel_totals_store"]
    for channel_id in CHANNELS:
        for range_name, range_ms in RANGES.items():
            row = windows.get((0, WORKSPACE, channel_id, range_name))
            told = system.store.topics["rollups.channels"].get(f"{WORKSPACE}/{channel_id}/{range_name}".encode())
            if channel_id not in model.channels:
                assert row is None or row["is_deleted"] == 1
                assert told is None
                continue
            assert row is not None
            assert told is not None
            assert told["views"] == row["views"]
            # Exact for every end up to the row's expiry, not only for the one it was told at.
            ends = {row["window_end"] if row["source"] != "channel" else system.now}
            for end in (system.now, row["valid_until"], (row["valid_from"] or 0) + 1):
                if end is not None and _is_valid(row, end):
                    ends.add(end)
            for end in ends:
                if not _is_valid(row, end):
                    continue
                source, expected_figures = model.window(channel_id, range_ms, end)
                assert row["source"] == source
                for name, value in expected_figures.items():
                    assert row[name] == value, (range_name, name, end)


def _is_valid(row: dict[str, Any], end: int) -> bool:
    after = row["valid_from"] is None or end > row["valid_from"]
    return after and (row["valid_until"] is None or end <= row["valid_until"])


def test_the_model_notices_a_wrong_fold() -> None:
    """The comparison itself can fail: a figure changed behind the fold's back is found."""
    model, system = Model(), System()
    values = list(NO_POST_VALUES)
    values[LIKES] = 3
    model.said.append(Said("t1", 1 << LIKES, 0, tuple(values), START, "e0"))
    said = Reading(posts=[PostReading(0, 1 << LIKES, 0, tuple(values))])
    system.apply(Batch(raw=[reading(0, "c1", START, said, ("t1",))]))
    check(model, system)
    wrong = replace(model.said[0], values=(*values[:LIKES], 4, *values[LIKES + 1 :]))
    model.said[0] = wrong
    try:
        check(model, system)
    except AssertionError:
        return
    raise RuntimeError("a wrong figure went unnoticed")
