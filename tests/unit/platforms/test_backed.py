"""What the matrix claims of a platform is backed: some call that polls make, answered by the sandbox, brings it.

Calls are those that the platform's file describes for a day of polls, of posts of each kind and of several ages. They
go to the sandbox's routes in process; the platform's own reading of the answers is what counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import httpx
import orjson
import pytest

from infra.sandbox.app import Sandbox
from infra.sandbox.channels import ACCOUNTS
from infra.sandbox.ids import behaviours_of, make_id
from infra.sandbox.state import Clock, State
from schemas.events import Origin, PlatformRaw, RawTarget
from schemas.metrics import CHANNEL_METRICS, POST_METRICS, POST_NAMES
from services.platforms import all_platforms, platform
from services.platforms.abilities import Discovers
from services.platforms.base import Call, Channel, MappingError, Target
from tests.unit.platforms.golden import RECEIVED_AT as NOW

NAMES = sorted(name for name in all_platforms() if name in ACCOUNTS)
HOUR, DAY = 3_600_000, 86_400_000
# Words of post types by which platforms' files tell kinds of posts apart.
KINDS = ("post", "video", "reel", "story")
AGES = (HOUR, 3 * DAY, 30 * DAY)
# A person beside the organization.
FURTHER_ACCOUNTS = {"linkedin": ("urn:li:person:a1B2c3",)}


def channels(name: str) -> list[Channel]:
    account = ACCOUNTS[name]
    ids = (account.external_id, *FURTHER_ACCOUNTS.get(name, ()))
    return [Channel("w", f"c{number}", external_id, account.username) for number, external_id in enumerate(ids)]


def targets(name: str, channel: Channel) -> Iterator[list[Target]]:
    """Ordinary posts of each kind and age together, and each peculiar one by itself."""
    number = 0
    for kind in KINDS:
        of_kind = []
        for age in AGES:
            number += 1
            published_at = NOW - age
            # X tells by the id whether a post carries a video: its digits vary with the number.
            for step in range(10 if name == "x" else 1):
                made = make_id(name, published_at, number * 10 + step, account=channel.external_id)
                if name == "facebook" and kind != "post":
                    made = made.rpartition("_")[2]  # videos, reels and stories are known by bare ids
                of_kind.append(Target(made, made, made, f"{name}-{kind}", published_at, kind == "story"))
        yield of_kind
    for peculiar in behaviours_of(name).values():
        made = make_id(name, NOW - 3 * DAY, 990, peculiar, channel.external_id)
        yield [Target(made, made, made, f"{name}-post", NOW - 3 * DAY)]


def calls_of_a_day(name: str, channel: Channel) -> list[Call]:
    """Every different call of a day's polls; queries that name the moment differ, and are made once."""
    known = platform(name)
    found: dict[tuple[str, str, str, str], Call] = {}
    for hour in range(24):
        now = NOW + hour * HOUR
        groups = list(targets(name, channel)) if set(known.facts.not_reported) != set(POST_NAMES) else []
        calls = [call for group in groups for call in known.post_calls(channel, group, now)]
        for call in calls:
            asked = " ".join(target.external_id for target in call.targets)
            metric = dict(call.query).get("queryType", "") + dict(call.query).get("type", "")
            found.setdefault((call.path, call.shape or call.kind, asked, metric), call)
    return [*found.values(), *known.channel_calls(channel, NOW)]


async def answer(client: httpx.AsyncClient, name: str, channel: Channel, call: Call) -> PlatformRaw:
    headers = platform(name).authorize(f"sandbox-{name}-token~{channel.external_id}")
    url = f"http://sandbox{call.path}" + (f"?{call.query_text()}" if call.query else "")
    reply = await client.request(call.method, url, headers=headers, json=call.json)
    raw = tuple(RawTarget(one.target_id, one.post_id, one.external_id) for one in call.targets)
    return PlatformRaw(
        "e", "w", channel.channel_id, name, call.kind, call.path, call.request_map(), raw, reply.status_code,
        reply.content, NOW, Origin.SCHEDULE,
    )  # fmt: skip


@cache
def seen(name: str) -> tuple[frozenset[str], frozenset[tuple[str, str]]]:
    """Post metrics that had a figure, and channel metrics with the periods that had one."""

    async def ask() -> tuple[frozenset[str], frozenset[tuple[str, str]]]:
        clock = Clock(wall=lambda: NOW + DAY)
        transport = httpx.ASGITransport(Sandbox(State(7, clock, enforce_limits=False)))
        posts: set[str] = set()
        periods: set[tuple[str, str]] = set()
        async with httpx.AsyncClient(transport=transport) as client:
            for channel in channels(name):
                for call in calls_of_a_day(name, channel):
                    event = await answer(client, name, channel, call)
                    try:
                        reading = platform(name).read(event)
                    except MappingError as error:
                        pytest.fail(f"{call.path}: {error}")
                    for post in reading.posts:
                        told = zip(POST_METRICS, post.values, strict=True)
                        posts |= {metric.name for metric, value in told if value is not None}
                    for read in reading.channels:
                        told = zip(CHANNEL_METRICS, read.values, strict=True)
                        periods |= {(metric.name, read.period) for metric, value in told if value is not None}
        return frozenset(posts), frozenset(periods)

    return asyncio.run(ask())


@pytest.mark.parametrize("name", NAMES)
def test_every_post_metric_that_is_claimed_comes_by_a_poll(name: str) -> None:
    facts = platform(name).facts
    assert set(POST_NAMES) - set(facts.not_reported) - set(facts.not_asked) == seen(name)[0]


@pytest.mark.parametrize("name", NAMES)
def test_every_period_of_a_channel_that_is_claimed_comes_by_a_poll(name: str) -> None:
    facts = platform(name).facts
    claimed = {
        (metric, period)
        for metric, periods in facts.channel_metrics.items()
        for period in periods
        if period not in facts.channel_not_asked.get(metric, ())
    }
    assert claimed == seen(name)[1]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_said_of_a_metric_is_of_one_that_is_reported(name: str) -> None:
    facts = platform(name).facts
    reported = set(POST_NAMES) - set(facts.not_reported)
    assert set(facts.not_asked) <= reported
    assert set(facts.conditions) <= reported - set(facts.not_asked)
    assert set(facts.channel_conditions) <= set(facts.channel_metrics)
    for metric, periods in facts.channel_not_asked.items():
        assert set(periods) <= set(facts.channel_metrics[metric])


@pytest.mark.parametrize("name", NAMES)
def test_every_call_has_a_shape(name: str) -> None:
    known = platform(name)
    for channel in channels(name):
        calls = [*calls_of_a_day(name, channel), known.identity_call(channel)]
        if isinstance(known, Discovers):
            listing = known.discovery_call(channel, NOW)
            calls += [listing] if listing is not None else []
        assert all(call.shape for call in calls), {call.path for call in calls if not call.shape}
        # One shape is one kind of question: it never mixes kinds of answers.
        assert len({(call.shape, call.kind) for call in calls}) == len({call.shape for call in calls})


DISCOVERING = [name for name in NAMES if isinstance(platform(name), Discovers)]


@pytest.mark.parametrize("name", DISCOVERING)
def test_the_account_s_own_list_names_its_newest_posts(name: str) -> None:
    async def ask() -> None:
        transport = httpx.ASGITransport(Sandbox(State(7, Clock(wall=lambda: NOW + DAY), enforce_limits=False)))
        async with httpx.AsyncClient(transport=transport) as client:
            known = platform(name)
            assert isinstance(known, Discovers)
            channel = channels(name)[0]
            call = known.discovery_call(channel, NOW + DAY)
            assert call is not None
            event = await answer(client, name, channel, call)
            assert event.http_status == 200, event.body
            found, lacking = known.discovered(event)
            assert found
            assert not lacking
            assert all(one.external_id and NOW - 400 * DAY < one.published_at <= NOW + DAY for one in found)
            times = [one.published_at for one in found]
            assert times == sorted(times, reverse=True)
            assert not known.read(event).posts
            assert not known.read(event).channels

            assert_no_item_spoils_the_list(known, event)

    asyncio.run(ask())


def assert_no_item_spoils_the_list(known: Discovers, event: PlatformRaw) -> None:
    """An item without any of its fields is passed over and counted, or read without it; the others are read."""
    whole, found = orjson.loads(event.body), known.discovered(event).posts
    (items,) = lists_in(whole)
    for position in (0, len(items) // 2):
        kept = items[position]
        others: list[Any] = [*without_one_field(kept), {}, None, 7, "text", []]
        for spoiled in others:
            items[position] = spoiled
            posts, lacking = known.discovered(replace(event, body=orjson.dumps(whole)))
            assert len(posts) + sum(lacking.values()) in (len(found), len(found) - 1), spoiled
            assert len({one.external_id for one in posts} & {one.external_id for one in found}) >= len(found) - 1
            if not isinstance(spoiled, dict) or not spoiled:
                assert sum(lacking.values()) == 1 or known_kinds(kept), spoiled
        items[position] = kept


def known_kinds(item: dict[str, Any]) -> bool:
    """Whether items of the list say their kind, so that one without is none of the account's posts."""
    return "kind" in item


def lists_in(value: Any) -> list[list[Any]]:
    """The lists of objects that an answer holds, without those inside their items."""
    if isinstance(value, list):
        return [value] if value and isinstance(value[0], dict) else []
    return [held for inner in value.values() for held in lists_in(inner)] if isinstance(value, dict) else []


def without_one_field(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The item without one of its fields, at any depth of objects; and with null, or a list, in its place."""
    for name, inner in item.items():
        rest = {other: value for other, value in item.items() if other != name}
        yield rest
        yield {**rest, name: None}
        yield {**rest, name: [7]}
        if isinstance(inner, dict):
            for less in without_one_field(inner):
                yield {**rest, name: less}
