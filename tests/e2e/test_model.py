"""Random workspaces against a brute-force model: ClickHouse, topics and every API agree with it, to the last unit.

Catalog writes go through the admin API, raw events through a Confluent client; events come twice, in any order, before
and after the catalog that they need, and the aggregator is killed in between. At every checked instant each number of
each surface must be the model's. TIDEMARK_TEST_SEED repeats a run.
"""

from __future__ import annotations

import os
import random
import secrets
import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import httpx
import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from tests.support.brute_force import (
    CHANNELS,
    METRICS,
    POSTS,
    RANGES,
    TARGETS,
    Figures,
    World,
    engagements,
    rate,
    total,
    total_rate,
)
from tests.support.tidemark import RawPublisher, Tidemark
from tests.support.waiting import wait_until

WORLDS = 4
STEPS = 15
ROUNDS = 3
SEED = int(os.environ.get("TIDEMARK_TEST_SEED") or secrets.randbelow(10**6))

pytestmark = pytest.mark.timeout(600)


def test_every_surface_equals_the_model(tidemark: Tidemark) -> None:
    chance = random.Random(SEED)
    name = f"model-{SEED}-{secrets.token_hex(2)}"
    worlds = [
        World(f"{name}-{number}", chance.randrange(2**32), int(time.time() * 1000) // 1000 * 1000)
        for number in range(WORLDS)
    ]
    publisher = RawPublisher(tidemark.ready)
    for round_number in range(ROUNDS):
        waiting: list[dict[str, Any]] = []
        for number, world in enumerate(worlds * STEPS):
            if chance.random() < 0.4:
                kind, thing, body = world.write()
                path = f"/admin/v1/workspaces/{world.workspace_id}/{kind}/{thing}"
                reply = tidemark.admin("DELETE" if body is None else "PUT", path, body)
                assert reply.is_success or (body is None and reply.status_code == 404), reply.text
            else:
                event = world.answer()
                waiting += [event] * chance.choice((1, 1, 2))
            if chance.random() < 0.1:
                chance.shuffle(waiting)
                for event in waiting:
                    publisher.publish(event)
                waiting = []
            if round_number == 1 and number == WORLDS * STEPS // 2:
                tidemark.kill("aggregator")
        for event in waiting:
            publisher.publish(event)
        publisher.flush()
        for world in worlds:
            _wait_until_equal(tidemark, world)


def _wait_until_equal(tidemark: Tidemark, world: World) -> None:
    seen: list[str] = []

    def is_equal() -> bool:
        seen[:] = differences(tidemark, world)
        return not seen

    wait_until(is_equal, 30, lambda: f"seed {SEED}, {world.workspace_id}: {seen[:4]}; {tidemark.log('aggregator')}")


def differences(tidemark: Tidemark, world: World) -> list[str]:
    """What any surface shows of a world that is not the model's."""
    found: list[str] = []
    for check in (_tables, _windows, _topics, _posts_of_products, _channels_of_products):
        for what, seen, expected in check(tidemark, world):
            if seen != expected:
                found.append(f"{what}: {seen}, expected {expected}")
        if found:
            break  # the later surfaces follow the earlier ones
    return found


Compared = Iterable[tuple[str, Any, Any]]


def _full(figures: Figures) -> dict[str, Any]:
    return {**figures, "engagements": engagements(figures), "engagement_rate": rate(figures)}


def _tables(tidemark: Tidemark, world: World) -> Compared:
    where = f"WHERE workspace_id = '{world.workspace_id}'"
    columns = ", ".join((*METRICS, "engagements", "engagement_rate"))
    rows = tidemark.query(f"SELECT target_id, event_id FROM post_snapshots {where} ORDER BY target_id, event_id")
    yield "post_snapshots", [(row["target_id"], row["event_id"]) for row in rows], list(world.snapshots())
    instant = "toUnixTimestamp64Milli(captured_at) AS at"
    rows = tidemark.query(
        f"SELECT target_id, post_id, channel_id, {instant}, {columns} FROM latest_post_metrics {where}"
    )
    expected = {}
    for target_id in TARGETS:
        held, at = world.listed(target_id), world.captured_at(target_id)
        if held is not None and at is not None:
            place = {"target_id": target_id, "post_id": held[0], "channel_id": held[1]["channel_id"], "at": at}
            expected[target_id] = place | _full(world.figures(target_id))
    yield "latest_post_metrics", {row["target_id"]: row for row in rows}, expected
    rows = tidemark.query(f"SELECT post_id, {columns} FROM post_totals {where}")
    yield (
        "post_totals",
        {row["post_id"]: row for row in rows},
        {post_id: {"post_id": post_id, **_full_post(world, post_id)} for post_id in world.held_posts()},
    )


def _post(world: World, post_id: str) -> Figures:
    return total([world.figures(target_id) for target_id in world.targets_of(post_id)])


def _shown_by_postflow(figures: Figures, names: dict[str, str]) -> dict[str, int]:
    """Figures by PostFlow's names; its shares leave the quotes out."""
    found = {at: figures[name] or 0 for at, name in names.items()}
    return {**found, "shares": max(0, found["shares"] - found["quotes"])}


def _full_post(world: World, post_id: str) -> dict[str, Any]:
    parts = [world.figures(target_id) for target_id in world.targets_of(post_id)]
    return {**_full(total(parts)), "engagement_rate": total_rate(parts)}


def _windows(tidemark: Tidemark, world: World) -> Compared:
    columns = ", ".join(METRICS)
    rows = tidemark.query(
        f"SELECT channel_id, `range`, source, toUnixTimestamp64Milli(window_start) AS start, "
        f"toUnixTimestamp64Milli(window_end) AS end, {columns} FROM channel_totals "
        f"WHERE workspace_id = '{world.workspace_id}'"
    )
    yield (
        "channel_totals",
        sorted((row["channel_id"], row["range"]) for row in rows),
        sorted((channel, name) for channel in world.channels for name in RANGES),
    )
    for row in rows:
        what = f"channel_totals {row['channel_id']} {row['range']}"
        yield f"{what} length", row["end"] - row["start"], RANGES[row["range"]]
        source, figures = world.window(row["channel_id"], row["start"], row["end"])
        yield what, (row["source"], {name: row[name] for name in METRICS}), (source, figures)


def _topics(tidemark: Tidemark, world: World) -> Compared:
    held = _latest(tidemark, "rollups.posts", world.workspace_id)
    for post_id in POSTS:
        record = held.get(f"{world.workspace_id}/{post_id}")
        seen = None if record is None else {name: record[name] for name in (*METRICS, "engagements", "engagement_rate")}
        yield f"rollups.posts {post_id}", seen, _full_post(world, post_id) if post_id in world.held_posts() else None
    held = _latest(tidemark, "rollups.channels", world.workspace_id)
    yield (
        "rollups.channels",
        sorted(name for name, record in held.items() if record is not None),
        sorted(f"{world.workspace_id}/{channel}/{name}" for channel in world.channels for name in RANGES),
    )
    for name, record in held.items():
        if record is not None:
            # The topic tells a window as it was when it was told, and how long that stays exact.
            start, end = (round(record[at].timestamp() * 1000) for at in ("window_start", "window_end"))
            source, figures = world.window(record["channel_id"], start, end)
            yield name, (record["source"], {at: record[at] for at in METRICS}), (source, figures)


def _latest(tidemark: Tidemark, topic: str, workspace: str) -> dict[str, dict[str, Any] | None]:
    ready = tidemark.ready
    decode = AvroDeserializer(SchemaRegistryClient({"url": ready["schema_registry"], "timeout": 10}))
    consumer = Consumer(
        {
            "bootstrap.servers": ready["kafka"],
            "group.id": f"model-{secrets.token_hex(4)}",
            # Nothing is committed, and so nothing is waited for when it closes.
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 20,
            "log_level": 0,
        }
    )
    try:
        numbers = list(consumer.list_topics(topic, 10).topics[topic].partitions)
        ends = {at: consumer.get_watermark_offsets(TopicPartition(topic, at), timeout=10)[1] for at in numbers}
        consumer.assign([TopicPartition(topic, at, 0) for at in numbers])
        found: dict[str, dict[str, Any] | None] = {}
        open_numbers = {at for at in numbers if ends[at] > 0}
        deadline = time.monotonic() + 20
        while open_numbers:
            assert time.monotonic() < deadline, f"{topic} could not be read to its end"
            first = consumer.poll(0.2)
            for message in [] if first is None else [first, *consumer.consume(2000, 0.0)]:
                name = (message.key() or b"").decode()
                if message.error() is None and name.startswith(f"{workspace}/"):
                    context = SerializationContext(topic, MessageField.VALUE)
                    found[name] = None if message.value() is None else decode(message.value(), context)
            places = consumer.position([TopicPartition(topic, at) for at in open_numbers])
            open_numbers = {place.partition for place in places if place.offset < ends[place.partition]}
        return found
    finally:
        consumer.close()


def _zeroed(figures: Figures, names: Iterable[str]) -> dict[str, int]:
    return {name: figures[name] or 0 for name in names}


def _posts_of_products(tidemark: Tidemark, world: World) -> Compared:
    def get(path: str) -> httpx.Response:
        return tidemark.get(world.workspace_id, path)

    for post_id in POSTS:
        paths = (
            f"/api/v1/posts/{post_id}/insights",
            f"/v1/posts/{post_id}/metrics",
            f"/v1/analytics/post/{post_id}",
            f"/tidemark/v1/posts/{post_id}",
        )
        answers = [get(path) for path in paths]
        is_held = post_id in world.held_posts()
        yield f"statuses of {post_id}", [reply.status_code for reply in answers], [200 if is_held else 404] * len(paths)
        if not is_held or not all(reply.is_success for reply in answers):
            continue
        postme, postflow, openpost, own = (reply.json() for reply in answers)
        figures, targets = _post(world, post_id), world.targets_of(post_id)
        shown = ("impressions", "likes", "comments", "shares", "saves")
        wanted = _zeroed(figures, shown)
        # X has no views: impressions stand in for them.
        wanted |= {"views": wanted["impressions"], "reach": 0, "engagements": engagements(figures) or 0}
        yield f"postme {post_id}", {name: postme["totals"][name] for name in wanted}, wanted
        of_postflow = {
            "likes": "likes", "shares": "shares", "quotes": "quotes", "replies": "comments", "saves": "saves",
            "post_link_clicks": "clicks", "user_profile_clicks": "profile_clicks",
        }  # fmt: skip
        yield (
            f"PostFlow {post_id}",
            [(row["id"], {at: row[at] or 0 for at in of_postflow}) for row in postflow],
            [(each, _shown_by_postflow(world.figures(each), of_postflow)) for each in targets],
        )
        counted = ("impressions", "likes", "comments", "shares")
        yield f"OpenPost {post_id}", openpost["data"]["totals"], _zeroed(figures, counted)
        yield (
            f"OpenPost {post_id} targets",
            [(row["target_id"], {at: row[at] for at in counted}) for row in openpost["data"]["targets"]],
            [(each, _zeroed(world.figures(each), counted)) for each in targets],
        )
        yield f"/tidemark/v1 {post_id}", {name: own["metrics"][name] for name in METRICS}, figures
        measured = [each for each in targets if world.captured_at(each) is not None]
        reply = get(f"/api/v1/posts/{post_id}/analytics")
        if not targets:
            yield f"PostFuze {post_id} without a target", reply.status_code, 422
            continue
        rows = reply.json().get("metrics_by_account", [])
        told = ("impressions", "likes", "comments", "shares", "saves", "clicks")
        yield (
            f"PostFuze {post_id}",
            [(row["target_id"], {at: row[at] or 0 for at in told}) for row in rows],
            [(each, _zeroed(world.figures(each), told)) for each in measured],
        )
    for target_id in TARGETS:
        reply = get(f"/tidemark/v1/targets/{target_id}")
        held = world.listed(target_id)
        yield f"target {target_id}", reply.status_code, 200 if held else 404
        if held and reply.is_success:
            yield f"target {target_id}", {n: reply.json()["metrics"][n] for n in METRICS}, world.figures(target_id)
            item = tidemark.get(world.workspace_id, f"/api/v1/post-items/{target_id}/analytics", _in(world)).json()
            expected = None
            if world.captured_at(target_id) is not None:
                expected = {"views": world.figures(target_id)["impressions"] or 0}
                expected |= _zeroed(world.figures(target_id), ("likes", "comments"))
            seen = item["metrics"] and {name: item["metrics"][name] for name in ("views", "likes", "comments")}
            yield f"PowerPost {target_id}", seen, expected


def _in(world: World) -> dict[str, str]:
    return {"X-Workspace-Id": world.workspace_id}


def _instant(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def _channels_of_products(tidemark: Tidemark, world: World) -> Compared:
    for channel in CHANNELS:
        for name, length in RANGES.items():
            reply = tidemark.get(world.workspace_id, f"/api/v1/channels/{channel}/insights?range={name}")
            yield f"postme {channel} {name}", reply.status_code, 200 if channel in world.channels else 404
            if channel not in world.channels or not reply.is_success:
                continue
            body = reply.json()
            end = _instant(body["window"]["end"])
            source, figures = world.window(channel, end - length, end)
            shown = _zeroed(figures, ("likes", "comments", "shares", "saves"))
            shown |= {"views": figures["impressions"] or 0, "engagements": engagements(figures) or 0}
            yield (
                f"postme {channel} {name}",
                (body["source"], {at: body["totals"][at] for at in shown}),
                (source, shown),
            )
