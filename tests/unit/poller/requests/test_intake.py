"""Requests as they come in: whose are taken, how many, and who does them."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from schemas.events import Origin, PollerRequest, PullKind
from services.poller.metrics import PollerMetrics
from services.poller.partitions.ownership import Ownership
from services.poller.requests.intake import Intake
from tests.support.manual_clock import ManualTime
from tests.unit.poller.requests.test_live import REQUESTS


class Serving:
    """Does no request until it is let."""

    def __init__(self, most_requests: int) -> None:
        self.most_requests = most_requests
        self.served: list[str] = []
        self.let = asyncio.Event()

    async def serve(self, request: PollerRequest) -> None:
        self.served.append(request.request_id)
        await self.let.wait()


class World:
    def __init__(self) -> None:
        self.time, self.live, self.backfill = ManualTime(), Serving(3), Serving(1)
        self.ownership = Ownership(1, 1000, lambda: 0, lambda _: 0)
        self.ownership.gain(0)
        self.ownership.activate(0)
        self.ownership.prove(0)
        self.registry = CollectorRegistry()
        self.intake = Intake(
            time=self.time, codec=REQUESTS, metrics=PollerMetrics(self.registry), ownership=self.ownership,
            live=self.live, backfill=self.backfill,
        )  # fmt: skip

    async def send(self, name: str, origin: Origin = Origin.LIVE, *, late_by: int = -1000) -> None:
        now = self.time.at
        request = PollerRequest(
            name, "api", "w1", PullKind.ACCOUNT.value, "c1", (), now, now - late_by, origin.value, None
        )
        self.intake.take(REQUESTS.encode(request))
        await self.time.settle()

    def counted(self) -> dict[tuple[str, str], float]:
        return {
            (sample.labels["kind"], sample.labels["outcome"]): sample.value
            for metric in self.registry.collect()
            for sample in metric.samples
            if sample.name == "tidemark_poller_live_requests_total"
        }


async def test_each_kind_goes_to_its_own_and_has_room_of_its_own() -> None:
    world = World()
    for number in range(4):
        await world.send(f"live{number}")
        await world.send(f"backfill{number}", Origin.BACKFILL)
    assert world.live.served == ["live0", "live1", "live2"]
    assert world.backfill.served == ["backfill0"]
    assert world.counted() == {
        ("ACCOUNT", "taken"): 3, ("ACCOUNT", "refused"): 1,
        ("BACKFILL_ACCOUNT", "taken"): 1, ("BACKFILL_ACCOUNT", "refused"): 3,
    }  # fmt: skip
    world.backfill.let.set()
    await world.time.settle()
    await world.send("next", Origin.BACKFILL)
    assert world.backfill.served == ["backfill0", "next"]
    await world.intake.close()


@pytest.mark.parametrize("origin", [Origin.LIVE, Origin.BACKFILL])
async def test_a_request_that_is_late_or_of_another_poller_is_refused(origin: Origin) -> None:
    world = World()
    await world.send("late", origin, late_by=0)
    world.ownership.drain()
    await world.send("another's", origin)
    world.intake.take(b"no event")
    world.intake.take(None)
    await world.time.settle()
    assert world.live.served == world.backfill.served == []
    assert sum(world.counted().values()) == 2


async def test_closing_ends_what_is_being_served() -> None:
    world = World()
    await world.send("one")
    await world.intake.close()
    await world.send("two")
    assert world.live.served == ["one", "two"]
    await world.intake.close()
