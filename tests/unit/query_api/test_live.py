"""Live questions: what is asked of the poller, and what is shown where it does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson
import pytest

from schemas.events import PlatformRaw, PollerReply, PullKind, PullTarget, RawTarget, ReplyKind
from schemas.metrics import LIKES, POST_METRICS
from schemas.registers import empty_register, merge
from services.query_api.directory import Directory
from services.query_api.live import LiveReads, Pulled
from services.query_api.reads.accounts import stored_health
from services.query_api.reads.merging import merge_targets
from services.query_api.reads.query import (
    Account,
    AccountQuestion,
    HealthQuestion,
    LivePostQuestion,
    Post,
    PostQuestion,
    Question,
)
from tests.support.query_api import NOW, ManualClock, answered, channel, target, values

DONE = PollerReply("r", "w1", ReplyKind.DONE)


def answer(event_id: str, captured_at: int, *likes: tuple[str, int]) -> PlatformRaw:
    posts = [{"uri": f"at://{name}", "likeCount": count} for name, count in likes]
    return PlatformRaw(
        event_id, "w1", "c1", "bluesky", "POST_METRICS", "/xrpc/app.bsky.feed.getPosts", {},
        tuple(RawTarget(name, "p1", f"at://{name}") for name, _ in likes), 200, orjson.dumps({"posts": posts}),
        captured_at, "LIVE",
    )  # fmt: skip


class Stored:
    """What is stored; merges the fresh over nothing."""

    def __init__(self) -> None:
        self.post = Post("p1", "published", None, None, NOW, (target("t1", values=values(likes=1), captured_at=NOW),))
        self.channel = channel("w1", "c1")
        self.asked: list[Question[Any]] = []

    async def answer(self, question: Question[Any]) -> Any:
        self.asked.append(question)
        if isinstance(question, AccountQuestion):
            return Account("c1", "x", False, None)
        if isinstance(question, HealthQuestion):
            return stored_health(self.channel, None, question.now)
        return self.post

    async def post_with(self, workspace_id: str, post: Post, events: Sequence[PlatformRaw]) -> Post:
        merged = merge_targets({}, events)
        shown = [t._replace(values=merged[t.target_id].values) for t in post.targets if t.target_id in merged]
        return post._replace(targets=tuple(shown))

    async def account_with(self, question: AccountQuestion, events: Sequence[PlatformRaw]) -> Account | None:
        return Account("c1", "x", True, None)


class FakeLink:
    """A poller that says what it was told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[PullKind, str, tuple[PullTarget, ...]]] = []
        self.pulled: Pulled | None = Pulled([], DONE)

    async def ask(
        self, kind: PullKind, workspace_id: str, *, channel_id: str = "", targets: Sequence[PullTarget] = ()
    ) -> Pulled | None:
        self.asked.append((kind, channel_id, tuple(targets)))
        await asyncio.sleep(0.01)
        return self.pulled


class World:
    def __init__(self) -> None:
        self.stored, self.link, self.directory = Stored(), FakeLink(), Directory()
        self.know(self.stored.channel)
        self.reads = LiveReads(self.stored, self.link, self.directory, ManualClock())

    def know(self, event: Any) -> None:
        self.directory.apply(("w1", event.channel_id), event)


async def test_other_questions_pass() -> None:
    world = World()
    assert await world.reads.answer(PostQuestion("w1", "p1")) is world.stored.post
    assert not world.link.asked


async def test_a_thousand_askers_are_one_request() -> None:
    world = World()
    world.link.pulled = Pulled([answer("e1", NOW, ("t1", 7))], DONE)
    posts = await asyncio.gather(*(answered(world.reads, LivePostQuestion("w1", "p1")) for _ in range(1000)))
    assert {post.targets[0].values[LIKES] for post in posts} == {7}
    assert len(world.link.asked) == 1


async def test_only_published_targets_on_active_channels_are_asked() -> None:
    world = World()
    world.know(replace(channel("w1", "c2"), status="token_expired"))
    pulled = target("t1", published_at=5, is_story=True, post_type="x-post", captured_at=NOW)
    others = (
        target("t2", status="failed"), target("t3", external_id=""), target("t4", "c2"), target("t5", "gone"),
    )  # fmt: skip
    world.stored.post = world.stored.post._replace(targets=(pulled, *others))
    assert await world.reads.answer(LivePostQuestion("w1", "p1")) is world.stored.post
    assert world.link.asked == [(PullKind.TARGETS, "", (PullTarget("t1", "c1", "p1", "ext-t1", "x-post", 5, True),))]
    world.stored.post = world.stored.post._replace(targets=others)
    assert await world.reads.answer(LivePostQuestion("w1", "p1")) is world.stored.post
    assert len(world.link.asked) == 1


@pytest.mark.parametrize("pulled", [None, Pulled([], None), Pulled([], DONE)])
async def test_without_live_answers_the_stored_is_shown(pulled: Pulled | None) -> None:
    world = World()
    world.link.pulled = pulled
    assert await world.reads.answer(LivePostQuestion("w1", "p1")) is world.stored.post
    assert not (await answered(world.reads, AccountQuestion("w1", "c1"))).is_live
    assert not (await answered(world.reads, HealthQuestion("w1", "c1", NOW))).is_live


@pytest.mark.parametrize("status", ["token_expired", "revoked", "disabled"])
async def test_an_account_that_is_not_active_is_shown_as_stored(status: str) -> None:
    world = World()
    world.know(replace(world.stored.channel, status=status))
    await world.reads.answer(AccountQuestion("w1", "c1"))
    assert not world.link.asked
    await world.reads.answer(HealthQuestion("w1", "c1", NOW))
    assert bool(world.link.asked) == (status == "token_expired")


async def test_health_is_what_the_probe_found() -> None:
    world = World()
    found = PollerReply("r", "w1", ReplyKind.DONE, None, True, "token_expired", "token_expired", NOW - 1)
    world.link.pulled = Pulled([], found)
    health = await answered(world.reads, HealthQuestion("w1", "c1", NOW))
    assert (health.is_live, health.is_healthy, health.status, health.error_code, health.token_expires_at) == (
        True, False, "token_expired", "token_expired", NOW - 1,
    )  # fmt: skip


async def test_health_that_the_owner_knew_without_asking_is_no_live_probe() -> None:
    world = World()
    found = PollerReply("r", "w1", ReplyKind.DONE, None, False, "token_expired", "token_expired", None)
    world.link.pulled = Pulled([], found)
    health = await answered(world.reads, HealthQuestion("w1", "c1", NOW))
    assert (health.is_live, health.is_healthy, health.status, health.error_code) == (
        False, False, "token_expired", "token_expired",
    )  # fmt: skip


def test_fresh_answers_are_merged_by_the_aggregators_rule() -> None:
    stored = merge(empty_register(len(POST_METRICS)), 1 << LIKES | 1, 0, values(likes=5, views=9), NOW, b"e5")
    older, same_time, newer = (
        answer("e1", NOW - 1, ("t1", 1)), answer("e9", NOW, ("t1", 2)), answer("e2", NOW + 1, ("t1", 3)),
    )  # fmt: skip

    def merged(*events: PlatformRaw) -> tuple[int | None, int | None, int | None]:
        register = merge_targets({"t1": stored}, events)["t1"]
        return register.values[LIKES], register.values[0], register.captured_at

    assert merged(older) == (5, 9, NOW)
    assert merged(same_time) == (2, 9, NOW)
    assert merged(newer, same_time, older) == (3, 9, NOW + 1)
    broken = replace(newer, body=b"no json")
    assert merge_targets({"t1": stored}, [broken]) == {}
