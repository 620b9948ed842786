"""The whole work on topics in memory, with receivers on real sockets: what is told, and that crashes lose nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import orjson
import pytest
from prometheus_client import CollectorRegistry

from schemas.codec import Codec, RecordCodec, codec, schema_text
from schemas.events import AccountEvent
from schemas.notices import DeliveryStatus, Webhook, WebhookRequest
from schemas.topic_names import (
    ACCOUNT_EVENTS,
    CHANNEL_ROLLUPS,
    POST_ROLLUPS,
    TOPICS_OF_CHANGES,
    WEBHOOK_DELIVERIES,
    WEBHOOK_REQUESTS,
    WEBHOOK_STATES,
    WEBHOOKS,
)
from services.notifier.log import COLUMNS, LogUnavailable
from services.notifier.metrics import NotifierMetrics
from services.notifier.sending import Sender
from services.notifier.work import Parts, Work
from services.runtime import keeping, revisions
from services.runtime.brokers import Place
from services.runtime.clock import SystemClock
from services.runtime.cursors import CursorText
from services.runtime.kafka import key, partition_of
from tests.support.examples import all_examples
from tests.support.memory_brokers import MemoryBrokers
from tests.support.receiver import Receiver, receiving
from tests.support.waiting import wait_until_async
from tests.support.webhooks import CIPHER, SECRET_KEY, webhook

PARTITIONS = 2
CLOCK = SystemClock()
CURSORS = CursorText([SECRET_KEY])
TYPED = (WEBHOOKS, WEBHOOK_DELIVERIES, WEBHOOK_STATES, WEBHOOK_REQUESTS, ACCOUNT_EVENTS)
POSTS = next(example for example in all_examples() if (example.topic, example.name) == (POST_ROLLUPS, "two_channels"))


def made(topic: str) -> Codec[Any]:
    return codec(topic, schema_id=7, fetch_schema=lambda _: schema_text(topic))


CODECS = {topic: made(topic) for topic in TYPED}
ROLLUPS = RecordCodec(POST_ROLLUPS, schema_id=7, fetch_schema=lambda _: schema_text(POST_ROLLUPS))
NEWEST_ROLLUP = max(
    (example for example in all_examples() if (example.topic, example.name) == (POST_ROLLUPS, "two_channels")),
    key=lambda example: example.version,
).record(orjson.loads(schema_text(POST_ROLLUPS)))


def home(workspace_id: str) -> int:
    """The partition of a workspace."""
    return partition_of(workspace_id, PARTITIONS)


class World:
    """Topics, the log, and the processes that come and go."""

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        self.brokers = MemoryBrokers(dict.fromkeys({*TOPICS_OF_CHANGES, *TYPED}, PARTITIONS))
        self.log: dict[str, dict[str, Any]] = {}
        self.log_is_away = False
        self.incarnation = "one"

    def put(self, topic: str, workspace_id: str, ids: Sequence[str], event: Any) -> int:
        """Write an event, None for a tombstone."""
        value = event if event is None or isinstance(event, bytes) else CODECS[topic].encode(event)
        place = partition_of(workspace_id, PARTITIONS)
        return self.brokers.put(topic, place, key(workspace_id, *ids), value, timestamp=CLOCK.now())

    def hook(self, path: str, webhook_id: str = "h1", workspace_id: str = "w1", **more: Any) -> Webhook:
        """Make a webhook whose receiver behaves as the path says."""
        held = webhook(webhook_id, workspace_id, url=self.receiver.url(path), at=CLOCK.now() - 1, **more)
        self.put(WEBHOOKS, workspace_id, [webhook_id], held)
        return held

    def account(self, type_: str = "account.token_expired", workspace_id: str = "w1") -> int:
        """Something happens to an account."""
        event = AccountEvent(workspace_id, "c1", "x", type_, CLOCK.now(), "revoked")
        return self.put(ACCOUNT_EVENTS, workspace_id, ["c1"], event)

    def rollup(self, post_id: str = "p1", workspace_id: str = "w1", **figures: Any) -> int:
        """A post has new figures."""
        record = {**NEWEST_ROLLUP, "workspace_id": workspace_id, "post_id": post_id, **figures}
        return self.put(POST_ROLLUPS, workspace_id, [post_id], ROLLUPS.encode(record))

    async def insert(self, rows: Sequence[tuple[Any, ...]]) -> None:
        if self.log_is_away:
            raise LogUnavailable
        for row in rows:
            told = dict(zip(COLUMNS, row, strict=True))
            held = self.log.get(told["delivery_id"])
            if held is None or held["offset"] < told["offset"]:
                self.log[told["delivery_id"]] = told

    def work(self, partitions: Sequence[int] = range(PARTITIONS), **more: Any) -> Work:
        sender = Sender(CIPHER, CLOCK, allows_private=True, seconds=3.0)

        async def incarnation() -> str:
            return self.incarnation

        return Work(
            Parts(
                brokers=self.brokers, partitions=PARTITIONS, codecs=CODECS, rollups=ROLLUPS, cursors=CURSORS,
                incarnation=incarnation, send=sender.send, insert=self.insert, clock=CLOCK,
                metrics=NotifierMetrics(CollectorRegistry()), share=lambda: 0.0, group="g", **more,
            ),
            partitions,
        )  # fmt: skip

    @asynccontextmanager
    async def running(self, partitions: Sequence[int] = range(PARTITIONS), **more: Any) -> AsyncIterator[Work]:
        """A process; at the end of the block it is gone, as after a crash."""
        work = self.work(partitions, **more)
        task = asyncio.create_task(work.run())
        try:
            await self.until(lambda: work.is_ready, "reads back")
            yield work
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until(self, condition: Callable[[], Any], what: str) -> None:
        async def holds() -> Any:
            return condition()

        await wait_until_async(holds, 10, what)

    def newest(self) -> dict[bytes, bytes]:
        """What compaction leaves of the deliveries."""
        held: dict[bytes, bytes] = {}
        for partition in range(PARTITIONS):
            for slot in self.brokers.log(Place(WEBHOOK_DELIVERIES, partition)).slots.values():
                assert slot.record is not None
                assert slot.record.key is not None
                held.pop(slot.record.key, None)
                if slot.record.value is not None:
                    held[slot.record.key] = slot.record.value
        return held

    def all_delivered(self) -> bool:
        """Whether there are deliveries, and all of them are durably known to be delivered."""
        held = [CODECS[WEBHOOK_DELIVERIES].decode(value).status for value in self.newest().values()]
        return bool(held) and set(held) == {DeliveryStatus.DELIVERED}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with receiving() as receiver:
        yield World(receiver)


async def test_an_accounts_event_is_told_logged_and_forgotten(world: World) -> None:
    world.hook("ok")
    async with world.running():
        world.account("account.recovered")
        world.account("account.hidden")
        await world.until(lambda: world.receiver.taken("ok"), "told")
        (request,) = world.receiver.of("ok")
        assert orjson.loads(request.body)["data"] == {"channel_id": "c1", "platform": "x", "reason": "revoked"}
        id_ = request.headers["webhook-id"]
        await world.until(lambda: world.log.get(id_, {}).get("status") == DeliveryStatus.DELIVERED, "logged")
        await world.until(lambda: not world.newest(), "forgotten")
    assert (world.log[id_]["tries"], world.log[id_]["answer_status"], world.log[id_]["answer"]) == (1, 200, "taken")


async def test_changes_are_told_at_most_once_a_second_with_a_cursor_that_shows_them(world: World) -> None:
    world.hook("ok", types=["metrics.changed"])
    async with world.running():
        offsets = [world.rollup(f"p{number % 3}") for number in range(9)]
        channel = world.put(CHANNEL_ROLLUPS, "w1", ["c1", "24h"], b"not read")
        await world.until(lambda: world.receiver.of("ok"), "told")
        last = world.rollup("p9")
        await world.until(lambda: len(world.receiver.of("ok")) > 1, "told again")
    first, second = world.receiver.of("ok")[:2]
    assert second.at - first.at > 0.8
    places, counts = [], []
    for request in (first, second):
        data = orjson.loads(request.body)["data"]
        places.append(CURSORS.read("w1", data["cursor"], CLOCK.now(), "one"))
        counts.append((data["posts"], data["channels"]))
    assert counts[0][0] <= 3
    at, channel_at = TOPICS_OF_CHANGES.index(POST_ROLLUPS), TOPICS_OF_CHANGES.index(CHANNEL_ROLLUPS)
    assert places[0].at[at] <= offsets[0]
    assert places[-1].seen[at] > last
    assert max(place.seen[channel_at] for place in places) > channel
    # Nothing lies between what one tells and where the next begins.
    assert places[1].at[at] <= places[0].seen[at]


async def test_a_webhook_that_is_made_while_news_is_gathered_is_told(world: World) -> None:
    world.hook("ok/old", "old", types=["metrics.changed"])
    async with world.running():
        world.rollup("p0")
        await world.until(lambda: world.receiver.of("ok/old"), "told a moment ago")
        world.rollup("p1")  # gathered: at most one a second
        await world.until(lambda: world.brokers.is_read(Place(POST_ROLLUPS, home("w1"))), "gathered")
        await asyncio.sleep(0.005)
        world.hook("ok/new", "new", types=["metrics.changed"])
        await asyncio.sleep(0.005)
        world.rollup("p2")
        await world.until(lambda: world.receiver.of("ok/new"), "told as well")


async def test_a_rule_is_told_of_once_also_after_restarts(world: World) -> None:
    rules = [("likes", 100), ("likes", 1_000_000), ("views", 1)]
    world.hook("ok", types=["post.threshold"], rules=rules)
    for round_ in range(3):
        async with world.running():
            world.rollup("p1", likes=99 + round_, views=None)
            world.rollup("p2", likes=None, views=0)
            world.account()
            # What was read is committed: the next process goes on behind it.
            place = Place(POST_ROLLUPS, partition_of("w1", PARTITIONS))
            end = world.brokers.log(place).end
            await world.until(lambda: world.brokers.groups.get(("g", place)) == end, "read")  # noqa: B023 - at once
            await world.until(lambda: all(r["status"] == "delivered" for r in world.log.values()), "delivered")
    (request,) = world.receiver.of("ok")
    data = orjson.loads(request.body)["data"]
    assert data == {"post_id": "p1", "metric": "likes", "at_least": 100, "value": 100}
    (kept,) = world.newest().values()
    assert CODECS[WEBHOOK_DELIVERIES].decode(kept).status == DeliveryStatus.TOLD


async def test_a_rule_that_is_read_again_after_a_lost_commit_is_told_once(world: World) -> None:
    world.hook("ok", types=["post.threshold"], rules=[("likes", 100)])
    world.rollup("p1", likes=100)
    for _ in range(3):
        async with world.running():
            await world.until(lambda: world.receiver.taken("ok"), "told")
            await world.until(lambda: all(r["status"] == "delivered" for r in world.log.values()), "delivered")
        world.brokers.groups.clear()
    assert len(world.receiver.of("ok")) == 1


async def test_positions_of_quiet_topics_are_committed_again_before_kafka_forgets_them(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restart would else tell again what happened up to 30 days ago, and repeat tests and redeliveries."""
    monkeypatch.setattr(keeping, "KEEP_SECONDS", 0.3)
    world.hook("ok")
    now = CLOCK.now()
    asked = WebhookRequest("w1", "h1", "msg_test", "webhook.test", now, "{}", now, now)
    async with world.running():
        world.account()
        world.put(WEBHOOK_REQUESTS, "w1", ["h1"], asked)
        await world.until(lambda: len(world.receiver.taken("ok")) == 2 and not world.newest(), "told and forgotten")
        ends = {
            (group, place): world.brokers.log(place).end
            for group, topics in (("g", (*TOPICS_OF_CHANGES, WEBHOOK_REQUESTS)), ("g-log", (WEBHOOK_DELIVERIES,)))
            for place in (Place(topic, partition) for topic in topics for partition in range(PARTITIONS))
        }
        await world.until(lambda: world.brokers.groups == ends, "committed")
        world.brokers.groups.clear()
        await world.until(lambda: world.brokers.groups == ends, "committed again, though nothing came")
    async with world.running() as work:
        await world.until(lambda: work.gauges().lag == 0, "read")
    assert len(world.receiver.of("ok")) == 2


async def test_after_a_rebalance_each_partitions_owner_goes_on_alone(world: World) -> None:
    names = ["w1", next(f"w{n}" for n in range(2, 50) if home(f"w{n}") != home("w1"))]
    for name in names:
        world.hook(f"ok/{name}", "h1", name, types=["post.threshold", "account.recovered"], rules=[("likes", 100)])

    def happens() -> None:
        for name in names:
            world.rollup("p1", name, likes=100)
            world.account("account.recovered", name)

    def told(count: int) -> bool:
        # A process that ends before its success is in the log leaves the delivery to the next one, under the same id.
        return all(
            len({r.headers["webhook-id"] for r in world.receiver.taken(f"ok/{name}")}) == count for name in names
        )

    async with world.running():
        happens()
        await world.until(lambda: told(2), "told")
    async with world.running(partitions=[0]), world.running(partitions=[1]):
        happens()
        await world.until(lambda: told(3), "told by the others")
    async with world.running():
        happens()
        await world.until(lambda: told(4), "told by the first")
    for name in names:
        bodies = {request.headers["webhook-id"]: request.body for request in world.receiver.of(f"ok/{name}")}
        assert [orjson.loads(body)["type"] for body in bodies.values()].count("post.threshold") == 1


async def test_dead_receivers_cost_the_others_nothing(world: World) -> None:
    for behaviour in ("hang", "500", "close", "reset", "redirect", "410", "rubbish"):
        for number in range(3):
            world.hook(f"{behaviour}/{number}", f"{behaviour}-{number}", types=["account.token_expired"])
    world.hook("ok", "good", types=["account.token_expired"])
    async with world.running() as work:
        began = asyncio.get_running_loop().time()
        for _ in range(20):
            world.account()
        await world.until(lambda: len(world.receiver.taken("ok")) == 20, "all told")
        # A receiver that hangs takes 15 s: nobody waits for it.
        assert asyncio.get_running_loop().time() - began < 10
        assert work.gauges().failing > 0
        await world.until(
            lambda: {r["status"] for r in world.log.values() if r["webhook_id"] == "410-0"} == {"failed"}, "shut down"
        )
    assert len({request.headers["webhook-id"] for request in world.receiver.of("ok")}) == 20
    assert not world.receiver.of("ok/redirected")


async def test_a_delivery_outlives_the_process_and_keeps_its_id(world: World) -> None:
    world.receiver.decide = lambda _: "500"
    world.hook("any")
    async with world.running():
        world.account()
        await world.until(lambda: any(r["status"] == "pending" and r["tries"] for r in world.log.values()), "failed")
    world.receiver.decide = lambda _: "ok"
    async with world.running():
        await world.until(lambda: world.receiver.taken("any"), "told by another process, after 5 s")
    ids = {request.headers["webhook-id"] for request in world.receiver.of("any")}
    assert len(ids) == 1
    first, last = world.receiver.of("any")[0], world.receiver.of("any")[-1]
    assert last.at - first.at > 4.5
    assert first.body == last.body


async def test_what_happened_while_no_process_ran_is_told(world: World) -> None:
    world.hook("ok")
    async with world.running():
        world.account()
        await world.until(lambda: world.receiver.taken("ok"), "told")
    world.account()
    async with world.running():
        await world.until(lambda: len({r.headers["webhook-id"] for r in world.receiver.taken("ok")}) == 2, "told")


async def test_a_process_that_dies_at_any_moment_loses_nothing(world: World) -> None:
    """Short lives, each ended at another moment; the last one lives on."""
    world.hook("ok", types=["account.token_expired"])
    world.hook("slow", "h2", types=["account.token_expired"])
    for life in range(12):
        work = world.work()
        task = asyncio.create_task(work.run())
        world.account()
        await asyncio.sleep(0.03 * life)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    async with world.running():
        for path in ("ok", "slow"):
            await world.until(lambda: len({r.headers["webhook-id"] for r in world.receiver.taken(path)}) == 12, path)  # noqa: B023
        await world.until(lambda: {r["status"] for r in world.log.values()} == {"delivered"}, "logged")
    assert len(world.log) == 24


async def test_while_the_log_is_away_deliveries_go_on_and_are_logged_later(world: World) -> None:
    world.log_is_away = True
    world.hook("ok")
    async with world.running():
        world.account()
        await world.until(world.all_delivered, "told, and known to be")
    assert world.newest()
    world.log_is_away = False
    async with world.running():
        await world.until(lambda: {r["status"] for r in world.log.values()} == {"delivered"}, "logged")
        await world.until(lambda: not world.newest(), "forgotten")
    assert len(world.receiver.of("ok")) == 1


async def test_while_kafka_is_away_nothing_is_lost(world: World) -> None:
    world.hook("ok")
    async with world.running():
        world.account()
        before = {reader for reader in world.brokers.readers if not reader.is_stopped}
        world.brokers.go_away()
        await world.until(lambda: all(reader.is_stopped for reader in before), "everybody has noticed")
        world.brokers.come_back()
        world.account()
        await world.until(lambda: len({r.headers["webhook-id"] for r in world.receiver.taken("ok")}) == 2, "told")


async def test_requests_are_carried_out_and_a_deleted_webhook_is_left_alone(world: World) -> None:
    held = world.hook("ok", types=["metrics.changed"])
    async with world.running():
        now = CLOCK.now()
        asked = WebhookRequest("w1", "h1", "msg_test", "webhook.test", now, '{"webhook_id":"h1"}', now, now)
        world.put(WEBHOOK_REQUESTS, "w1", ["h1"], asked)
        await world.until(lambda: world.receiver.taken("ok"), "told")
        assert world.receiver.of("ok")[0].headers["webhook-id"] == "msg_test"
        world.put(WEBHOOKS, "w1", ["h1"], None)
        world.account()
        world.put(WEBHOOK_REQUESTS, "w1", ["h1"], replace(asked, delivery_id="msg_late"))
        world.put(WEBHOOKS, "w1", ["h1"], replace(held, webhook_id="other"))  # does not count: key and value differ
        place = Place(WEBHOOK_REQUESTS, partition_of("w1", PARTITIONS))
        await world.until(lambda: world.brokers.groups.get(("g", place)) == 2, "read")
    assert len(world.receiver.requests) == 1


async def test_a_webhook_is_told_of_what_happened_right_after_it_was_made_whichever_topic_is_read_first(
    world: World,
) -> None:
    async with world.running():
        world.brokers.slow.add(WEBHOOKS)
        world.hook("ok", types=["account.token_expired", "metrics.changed"])
        now = CLOCK.now()
        asked = WebhookRequest("w1", "h1", "msg_test", "webhook.test", now, '{"webhook_id":"h1"}', now, now)
        world.put(WEBHOOK_REQUESTS, "w1", ["h1"], asked)
        world.account()
        world.rollup()
        places = [Place(topic, home("w1")) for topic in (WEBHOOK_REQUESTS, ACCOUNT_EVENTS, POST_ROLLUPS)]
        await world.until(lambda: all(world.brokers.is_read(place) for place in places), "read")
        world.brokers.slow.clear()
        world.brokers.tell()
        await world.until(lambda: len(world.receiver.taken("ok")) == 3, "told")
    types = {orjson.loads(request.body)["type"] for request in world.receiver.of("ok")}
    assert types == {"webhook.test", "account.token_expired", "metrics.changed"}


@pytest.mark.parametrize("value", [b"", b"\0", b"\0\0\0\0\7", b"\0\0\0\0\7\xff\xff\xff", b"rubbish" * 50, None])
@pytest.mark.parametrize("message_key", [None, b"", b"w1", b"w1/h1", b"w1/h1/msg_1", b"\xff/\xff", b"w1//", b"w9/h1"])
async def test_whatever_stands_in_a_topic_the_others_are_told(
    world: World, message_key: bytes | None, value: bytes | None
) -> None:
    world.hook("ok", webhook_id="good", types=["post.threshold", "account.recovered"], rules=[("likes", 1)])
    place = partition_of("w1", PARTITIONS)

    def litter() -> None:
        for topic in {*TOPICS_OF_CHANGES, *TYPED}:
            world.brokers.put(topic, place, message_key, value, timestamp=CLOCK.now())

    litter()
    async with world.running():
        litter()
        world.account("account.recovered")
        await world.until(lambda: world.receiver.taken("ok"), "told")


async def test_a_change_that_does_not_count_is_passed_over(world: World) -> None:
    """Its writer had not read the one before, and makes it again."""
    held = world.hook("ok")
    partition, message_key = home("w1"), key("w1", "h1")

    def change(path: str | None, read_to: int) -> int:
        value = None if path is None else CODECS[WEBHOOKS].encode(replace(held, url=world.receiver.url(path)))
        headers = [revisions.read_to(read_to)]
        return world.brokers.put(WEBHOOKS, partition, message_key, value, timestamp=CLOCK.now(), headers=headers)

    async with world.running():
        seen = change("ok/new", 1)
        change("ok/stale", seen)
        change(None, seen)
        world.account()
        await world.until(lambda: world.receiver.taken("ok/new"), "told")
        again = change("ok/again", seen + 3)
        await world.until(lambda: world.brokers.is_read(Place(WEBHOOKS, partition)), "read")
        world.account()
        await world.until(lambda: world.receiver.taken("ok/again"), "told")
    assert again == seen + 3
    assert not world.receiver.of("ok/stale")


async def test_workspaces_hear_of_their_own_only(world: World) -> None:
    for number in range(6):
        world.hook(f"ok/{number}", "h1", f"w{number}")
    async with world.running():
        for number in range(6):
            world.account(workspace_id=f"w{number}")
            world.rollup(workspace_id=f"w{number}")
        await world.until(lambda: all(len(world.receiver.of(f"ok/{n}")) == 2 for n in range(6)), "told")
    for number in range(6):
        for request in world.receiver.of(f"ok/{number}"):
            data = orjson.loads(request.body)["data"]
            if "cursor" in data:
                assert CURSORS.read(f"w{number}", data["cursor"], CLOCK.now(), "one")


async def test_without_a_lease_nothing_is_tried(world: World) -> None:
    world.hook("ok")
    may, asked = [False], []

    def may_try() -> bool:
        asked.append(len(world.receiver.requests))
        return may[0]

    async with world.running(may_try=may_try) as work:
        world.account()
        await world.until(lambda: work.gauges().pending, "known")
        looked = len(asked)
        await world.until(lambda: len(asked) > looked + 1, "looked again")
        assert not world.receiver.requests
        may[0] = True
        await world.until(lambda: world.receiver.taken("ok"), "told")
