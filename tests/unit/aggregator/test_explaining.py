"""What moves the reasons of unknown figures is told on the rollup topics, though no figure changed; nothing else is."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from schemas.events import CatalogChannel, CatalogPost, CatalogTarget, PlatformRaw, RawTarget
from schemas.metrics import LIKES, NO_POST_VALUES, POST_NAMES
from schemas.topic_names import CHANNEL_ROLLUPS, POST_ROLLUPS
from services.aggregator.batch import Batch, CatalogWrite
from services.aggregator.filling import fill
from services.aggregator.fold import fold_batch
from services.aggregator.reading import Message, RawReading
from services.aggregator.rows import Version
from services.aggregator.state import PartitionState
from services.aggregator.writing import insert_stages
from services.platforms import all_platforms
from services.platforms.base import NOTHING, PostReading, Reading
from tests.support.state_store import StateStore

NOW = 1_780_000_000_000
DAY = 86_400_000
W = "w"
ASKED = sum(1 << at for at, name in enumerate(POST_NAMES) if all_platforms()["instagram"].facts.is_asked(name))


class World:
    """One workspace's states; each step tells which rollups were published."""

    def __init__(self, platform: str = "instagram") -> None:
        self.store = StateStore()
        self.state = PartitionState.empty(1_000)
        self.number = 0
        self.platform = platform
        self.channel()
        self.post("p1", "t1", "t2")
        self.post("p2", "t3")

    def apply(self, batch: Batch) -> set[tuple[str, str]]:
        related = asyncio.run(fill(self.state, batch, self.store, 0, NOW))
        self.number += 1
        effects = fold_batch(self.state, batch, related, Version(0, 0, self.number), NOW)
        for stage in insert_stages(effects):
            self.store.insert(stage)
        # States are read anew, as by another owner.
        self.state = PartitionState.empty(1_000)
        return {(topic, key.decode()) for topic, key, _ in effects.rollups}

    def channel(self, status: str = "active", username: str = "tide") -> set[tuple[str, str]]:
        event = CatalogChannel(W, "c1", self.platform, "e", username, status, None, NOW)
        return self.apply(Batch(catalog=[CatalogWrite(W, "c1", event, False, NOW)]))

    def post(self, post_id: str, *target_ids: str, at: int = NOW - DAY) -> set[tuple[str, str]]:
        targets = tuple(
            CatalogTarget(id_, "c1", "post", "published", f"e-{id_}", published_at=at) for id_ in target_ids
        )
        event = CatalogPost(W, post_id, "published", at, at, targets, NOW)
        return self.apply(Batch(catalog=[CatalogWrite(W, post_id, event, True, NOW)]))

    def answer(
        self, *target_ids: str, told: tuple[str, ...] = (), spoken: int = 1 << LIKES, **more: Any
    ) -> set[tuple[str, str]]:
        values = list(NO_POST_VALUES)
        for metric in range(len(POST_NAMES)):
            values[metric] = 1 if spoken >> metric & 1 else None
        posts = [PostReading(target_ids.index(id_), spoken, 0, tuple(values)) for id_ in told]
        event = PlatformRaw(
            f"e{self.number}", W, "c1", self.platform, "POST_METRICS", "/", {},
            tuple(RawTarget(id_, "unknown", f"e-{id_}") for id_ in target_ids), 200 if told else 500, b"{}", NOW,
            "SCHEDULE",
        )  # fmt: skip
        event = replace(event, **more)
        message = Message("platform.raw", 0, self.number, b"w", b"", NOW)
        said = Reading(posts=posts) if posts else NOTHING
        return self.apply(Batch(raw=[RawReading(message, event, event.event_id.encode(), said)]))


def posts_of(told: set[tuple[str, str]]) -> set[str]:
    return {key for topic, key in told if topic == POST_ROLLUPS}


def test_a_failed_answer_tells_the_posts_that_it_is_about() -> None:
    world = World()
    assert world.answer("t1", "t3") == {(POST_ROLLUPS, "w/p1"), (POST_ROLLUPS, "w/p2")}
    assert world.answer("t2") == {(POST_ROLLUPS, "w/p1")}
    # It changes nothing that is stored of targets.
    assert not any(row["captured_at"] for row in world.store.tables["latest_post_metrics_store"].values())


def test_an_answer_tells_posts_that_it_leaves_out() -> None:
    world = World()
    assert posts_of(world.answer("t1", "t3", told=("t3",))) == {"w/p1", "w/p2"}
    assert posts_of(world.answer("t1", told=("t1",))) == {"w/p1"}


def test_a_failed_answer_about_posts_of_which_all_is_known_tells_nothing() -> None:
    world = World()
    world.answer("t3", told=("t3",), spoken=ASKED)
    assert world.answer("t3") == set()
    assert world.answer("t1") == {(POST_ROLLUPS, "w/p1")}


@pytest.mark.parametrize("age", [89, 91])
def test_posts_too_old_to_be_polled_have_their_age_as_the_reason(age: int) -> None:
    world = World()
    world.post("p3", "t4", at=NOW - age * DAY)
    assert world.answer("t4") == ({(POST_ROLLUPS, "w/p3")} if age == 89 else set())


def test_unknown_targets_are_nobodys() -> None:
    world = World()
    assert world.answer("t9") == set()
    assert World("nowhere").answer("t1") == set()


def test_answers_about_the_identity_tell_nothing() -> None:
    assert World().answer(kind="IDENTITY") == set()


def test_a_failed_answer_about_the_channel_tells_its_windows() -> None:
    told = World().answer(kind="CHANNEL_METRICS")
    assert told == {(CHANNEL_ROLLUPS, f"w/c1/{length}") for length in ("24h", "7d", "28d")}


def test_a_channel_whose_polls_end_or_begin_tells_its_posts() -> None:
    world = World()
    world.answer("t3", told=("t3",), spoken=ASKED)
    assert posts_of(world.channel("token_expired")) == {"w/p1"}, "of the other all is known"
    assert posts_of(world.channel("revoked")) == set()
    assert posts_of(world.channel("active")) == {"w/p1"}
    assert posts_of(world.channel(username="new")) == set()


def test_a_channel_that_was_switched_twice_in_one_batch_tells_its_posts() -> None:
    world = World()
    earlier = CatalogChannel(W, "c1", "instagram", "e", "tide", "revoked", None, NOW)
    latest = replace(earlier, status="active")
    write = CatalogWrite(W, "c1", latest, False, NOW, (CatalogWrite(W, "c1", earlier, False, NOW),))
    assert posts_of(world.apply(Batch(catalog=[write]))) == {"w/p1", "w/p2"}


def test_a_newer_post_tells_the_one_that_it_pushes_out_of_the_newest() -> None:
    """On X the newest fifty of three days are polled: of the fifty-first the reason becomes its place."""
    world = World("x")
    for number in range(48):
        told = world.post(f"n{number}", f"n{number}", at=NOW - DAY + 1_000 * (number + 1))
    # With t1, t2 and t3 there are fifty-one: the oldest by time and id is out.
    assert posts_of(told) == {"w/n47", "w/p1"}
    assert posts_of(world.post("old", "old", at=NOW - 4 * DAY)) >= {"w/old"}
    told = world.apply(Batch(catalog=[CatalogWrite(W, "n5", None, True, NOW)]))
    assert "w/p1" in posts_of(told), "one goes, and the first outside is back"


def test_few_posts_push_nobody_out() -> None:
    for platform in ("x", "instagram"):
        world = World(platform)
        assert posts_of(world.post("p3", "t4", at=NOW - DAY)) == {"w/p3"}
