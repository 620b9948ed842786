"""What happened to connections, as it comes from the topic and as callers meet it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from schemas.events import AccountEvent
from schemas.topic_specs import topic_specs
from services.query_api.connections import KEPT, MOST_EVENTS, Connections
from services.query_api.tidemark.resources.models import EVENTS, EVENTS_SCHEMA
from services.query_api.views import Place
from tests.support.query_api import NOW, FakeApi, fake_api
from tests.unit.query_api.tidemark.resources.test_endpoints import conforms

HOUR = 3_600_000
DAY = 24 * HOUR


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    made = fake_api()
    yield made
    await made.client.aclose()


def told(connections: Connections, *ages: int, channel: str = "c1", workspace: str = "w1") -> list[AccountEvent]:
    """Events of these ages (ms), in this order on the topic."""
    events = [
        AccountEvent(workspace, channel, "x", "account.recovered" if place % 2 else "account.token_expired", NOW - age)
        for place, age in enumerate(ages)
    ]
    for offset, event in enumerate(events):
        connections.observe(f"{workspace}/{channel}".encode(), event, Place(0, offset))
    return events


def test_the_latest_come_first_and_what_comes_again_counts_once() -> None:
    connections = Connections()
    first, second, third = told(connections, 3 * HOUR, HOUR, HOUR)
    told(connections, 3 * HOUR, HOUR, HOUR)
    assert connections.of("w1", "c1", NOW) == [third, second, first]
    assert connections.of("w1", "c2", NOW) == connections.of("w2", "c1", NOW) == []
    connections.observe(b"w1/c1", None, Place(0, 9))
    assert connections.of("w1", "c1", NOW) == []


def test_events_are_shown_for_as_long_as_the_topic_keeps_them() -> None:
    connections = Connections()
    _, young = told(connections, 30 * DAY + 1, 30 * DAY)
    assert connections.of("w1", "c1", NOW) == [young]
    (retention,) = [spec.config["retention.ms"] for spec in topic_specs() if spec.name == connections.topic]
    assert timedelta(milliseconds=int(retention)) == KEPT


def test_a_channel_that_breaks_all_the_time_holds_a_bounded_number() -> None:
    connections = Connections()
    told(connections, *range(3 * MOST_EVENTS, 0, -1))
    held = connections.of("w1", "c1", NOW)
    assert (len(held), held[0].occurred_at) == (MOST_EVENTS, NOW - 1)


async def test_callers_read_the_events_of_their_own_channels(api: FakeApi) -> None:
    headers = api.add_key("w1", "good")
    api.add_channel("w1", "c1")
    api.add_channel("w1", "c2")
    api.add_channel("w2", "c3")
    told(api.sources.connections, 2 * HOUR, HOUR)
    told(api.sources.connections, HOUR, channel="c3", workspace="w2")
    address = "/tidemark/v1/channels/{}/events"
    found = (await api.client.get(address.format("c1"), headers=headers)).json()
    assert [event["type"] for event in found["data"]] == ["account.recovered", "account.token_expired"]
    assert found["data"][0]["occurred_at"] == "2026-06-28T08:14:22Z"
    assert conforms(found, EVENTS_SCHEMA)
    assert (await api.client.get(address.format("c2"), headers=headers)).json()["data"] == []
    for unknown in ("c3", "none"):
        assert (await api.client.get(address.format(unknown), headers=headers)).status_code == 404


def test_the_sample_is_what_the_schema_says() -> None:
    assert conforms(EVENTS, EVENTS_SCHEMA)
    assert not conforms({}, EVENTS_SCHEMA)
