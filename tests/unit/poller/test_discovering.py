"""Posts that were published elsewhere, with a hand-moved clock: when a list is asked for, and what is written of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import httpx
import orjson
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from schemas.events import CatalogPost, CatalogTarget
from schemas.tiers import COMMON
from schemas.topic_names import POSTS
from services.platforms import all_platforms
from services.platforms.abilities import Discovered
from services.poller.discoveries import PREFIX, SETTLING, discovered_id, oldest_discovered, spelling
from services.poller.discovering import AGAIN_AFTER, INTERVAL, Discovery
from services.poller.metrics import PollerMetrics
from services.poller.partitions.ownership import Ownership, alone
from services.runtime.clock import MILLIS_PER_DAY, MILLIS_PER_HOUR, iso_millis
from tests.support.manual_clock import START
from tests.support.memory_publisher import MemoryPublisher
from tests.support.platform_transport import json_answer
from tests.unit.poller.builders import channel, post, target
from tests.unit.poller.requests.test_live import World, failing

KEY = ("w1", "c1")
MINUTE = 60_000
HOUR = MILLIS_PER_HOUR


class Topic(MemoryPublisher):
    """Brings what is written back to the catalog, as the topic does."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.on_put: Callable[[], None] = lambda: None

    async def put(self, topic: str, workspace_id: str, message_key: bytes, event: CatalogPost | None) -> None:
        await super().put(topic, workspace_id, message_key, event)
        assert topic == POSTS
        assert event is not None
        assert message_key == f"{workspace_id}/{event.post_id}".encode()
        self.on_put()
        self.world.catalog.put_post(workspace_id, event.post_id, event, self.world.time.at)

    async def erase(self, topic: str, key: tuple[str, str]) -> None:
        await super().erase(topic, key)
        self.world.catalog.put_post(*key, None, self.world.time.at)


class Elsewhere:
    """A poller with one channel of YouTube, whose account lists `videos`: when each was published, by id.

    Args:
        ownership: whose the channel is; by default this process's for good.
    """

    def __init__(self, ownership: Ownership | None = None) -> None:
        self.world = World()
        self.time, self.catalog, self.ownership = self.world.time, self.world.catalog, ownership or alone()
        self.videos: dict[str, int] = {}
        self.spoiled: list[Any] = []
        self.asked: list[int] = []
        self.registry = CollectorRegistry()
        self.metrics = PollerMetrics(self.registry)
        self.refuse: Callable[[httpx.Request], httpx.Response] | None = None
        self.on_asked: Callable[[], None] = lambda: None
        self.world.wire.answer = self._answer
        self.topic = Topic(self.world)
        self.tasks = [asyncio.create_task(self.world.loop.run())]

    def start(self) -> None:
        made = Discovery(
            time=self.time, platforms={"youtube": all_platforms()["youtube"]}, schedule=self.world.schedule,
            catalog=self.catalog, rounds=self.world.rounds, publisher=self.topic, ownership=self.ownership,
            metrics=self.metrics,
        )  # fmt: skip
        self.tasks.append(asyncio.create_task(made.run()))

    def switch(self, *, discover: bool, updated_at: int | None = None) -> None:
        at = self.time.at if updated_at is None else updated_at
        self.catalog.take_channel(KEY, replace(channel(updated_at=at), discover=discover), self.time.at)

    def put(self, event: CatalogPost) -> None:
        self.catalog.put_post("w1", event.post_id, event, self.time.at)

    def delete(self, post_id: str) -> None:
        self.catalog.put_post("w1", post_id, None, self.time.at)

    def polled(self) -> set[str]:
        return {entry.external_id for entry in self.world.schedule.plans[KEY].live()}

    def written(self) -> list[str]:
        return [event.targets[0].external_id for event in self.topic.posts]

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/playlistItems"):
            ids = request.url.params.get("id", "").split(",")
            items = [{"id": name, "statistics": {"likeCount": "7"}} for name in ids]
            return json_answer(200, orjson.dumps({"items": items, "rows": [], "columnHeaders": []}))
        self.asked.append(self.time.at)
        self.on_asked()
        if self.refuse is not None:
            return self.refuse(request)
        items = [
            {
                "snippet": {"title": f"Title of {name}", "resourceId": {"videoId": name}},
                "contentDetails": {"videoId": name, "videoPublishedAt": iso_millis(at)},
            }
            for name, at in self.videos.items()
        ] + self.spoiled
        return json_answer(200, orjson.dumps({"items": items}))

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.world.close()


@pytest.fixture
async def elsewhere() -> AsyncIterator[Elsewhere]:
    made = Elsewhere()
    yield made
    await made.close()


async def test_what_the_catalog_lacks_is_written_and_polled(elsewhere: Elsewhere) -> None:
    elsewhere.videos = {"known": START - HOUR, "new": START - 2 * HOUR}
    elsewhere.put(post(target(external_id="known")))
    elsewhere.switch(discover=True)
    elsewhere.start()
    await elsewhere.time.advance(2 * MINUTE)
    (written,) = elsewhere.topic.posts
    name = discovered_id("c1", "new")
    assert name.startswith(PREFIX)
    assert len(name) <= 128
    assert written == CatalogPost(
        "w1", name, "published", START - 2 * HOUR, START - 2 * HOUR,
        (
            CatalogTarget(
                name, "c1", "youtube-video", "published", "new", "https://www.youtube.com/watch?v=new",
                START - 2 * HOUR, "Title of new", origin="discovered",
            ),
        ),
        written.updated_at,
    )  # fmt: skip
    assert elsewhere.polled() == {"known", "new"}
    asked = [request for request in elsewhere.world.wire.requests if "new" in request.url.params.get("id", "")]
    assert asked
    # The list itself is published like any answer, and no figure is read from it.
    lists = [event for event in elsewhere.world.publisher.events if event.endpoint.endswith("/playlistItems")]
    assert [(event.kind, event.origin) for event in lists] == [("IDENTITY", "SCHEDULE")]


async def test_nothing_is_looked_for_unless_it_is_switched_on(elsewhere: Elsewhere) -> None:
    elsewhere.videos = {"new": START - HOUR}
    elsewhere.start()
    await elsewhere.time.advance(2 * INTERVAL)
    assert not elsewhere.asked
    elsewhere.switch(discover=True)
    await elsewhere.time.advance(2 * MINUTE)
    assert elsewhere.written() == ["new"]
    elsewhere.switch(discover=False)
    elsewhere.videos["newer"] = elsewhere.time.at - HOUR
    await elsewhere.time.advance(2 * INTERVAL)
    assert len(elsewhere.asked) == 1
    # What was found stays.
    assert elsewhere.polled() == {"new"}


async def test_a_list_is_asked_for_once_in_six_hours(elsewhere: Elsewhere) -> None:
    elsewhere.switch(discover=True, updated_at=0)
    elsewhere.start()
    await elsewhere.time.advance(3 * INTERVAL)
    assert len(elsewhere.asked) == 3
    gaps = [later - sooner for sooner, later in zip(elsewhere.asked, elsewhere.asked[1:], strict=False)]
    assert all(abs(gap - INTERVAL) <= MINUTE for gap in gaps)
    # Another process that takes over keeps to the same instants.
    elsewhere.tasks.pop().cancel()
    elsewhere.start()
    await elsewhere.time.advance(INTERVAL)
    assert abs(elsewhere.asked[-1] - elsewhere.asked[-2] - INTERVAL) <= MINUTE
    assert len(elsewhere.asked) == 4


async def test_the_youngest_wait_and_the_oldest_are_left_out(elsewhere: Elsewhere) -> None:
    oldest = START - oldest_discovered(COMMON)
    assert oldest_discovered(COMMON) == 88 * MILLIS_PER_DAY
    elsewhere.videos = {"young": START - SETTLING // 2, "old": oldest - HOUR, "just": oldest + HOUR}
    elsewhere.switch(discover=True)
    elsewhere.start()
    await elsewhere.time.advance(2 * MINUTE)
    assert elsewhere.written() == ["just"]
    await elsewhere.time.advance(INTERVAL)
    assert elsewhere.written() == ["just", "young"]


async def test_a_later_put_of_the_product_takes_the_place(elsewhere: Elsewhere) -> None:
    elsewhere.videos = {"new": START - HOUR}
    elsewhere.switch(discover=True)
    elsewhere.start()
    await elsewhere.time.advance(2 * MINUTE)
    elsewhere.put(post(target(external_id="new"), post_id="mine", published_at=START - HOUR))
    await elsewhere.time.advance(2 * MINUTE)
    assert elsewhere.topic.erased == [(POSTS, ("w1", discovered_id("c1", "new")))]
    held = [entry.post_id for entry in elsewhere.world.schedule.plans[KEY].live()]
    assert held == ["mine"]
    await elsewhere.time.advance(2 * INTERVAL)
    assert elsewhere.written() == ["new"]
    assert len(elsewhere.topic.erased) == 1


async def test_a_put_while_the_discovered_post_is_on_its_way_wins_too(elsewhere: Elsewhere) -> None:
    elsewhere.videos = {"new": START - HOUR}
    # The topic brings the product's write first, since it stands there before.
    mine = post(target(external_id="new"), post_id="mine", published_at=START - HOUR)
    elsewhere.topic.on_put = lambda: elsewhere.put(mine)
    elsewhere.switch(discover=True)
    elsewhere.start()
    await elsewhere.time.advance(2 * MINUTE)
    assert elsewhere.topic.erased == [(POSTS, ("w1", discovered_id("c1", "new")))]
    assert [entry.post_id for entry in elsewhere.world.schedule.plans[KEY].live()] == ["mine"]


@pytest.mark.parametrize("order", ["product first", "discovered first"])
async def test_a_restart_finds_a_post_that_stands_twice(elsewhere: Elsewhere, order: str) -> None:
    name = discovered_id("c1", "new")
    found = target(name, external_id="new")
    both = [
        post(target(external_id="new"), post_id="mine"),
        post(replace(found, origin="discovered"), post_id=name),
    ]
    for event in both if order == "product first" else reversed(both):
        elsewhere.put(event)
    elsewhere.switch(discover=False)
    elsewhere.start()
    await elsewhere.time.advance(2 * MINUTE)
    assert elsewhere.topic.erased == [(POSTS, ("w1", name))]


async def test_what_was_deleted_stays_deleted(elsewhere: Elsewhere) -> None:
    elsewhere.videos = {"new": START - HOUR, "gone": START - HOUR}
    # A tombstone that a process reads at its start.
    elsewhere.delete(discovered_id("c1", "gone"))
    elsewhere.switch(discover=True)
    elsewhere.start()
    await elsewhere.time.advance(2 * MINUTE)
    assert elsewhere.written() == ["new"]
    elsewhere.delete(discovered_id("c1", "new"))
    await elsewhere.time.advance(2 * INTERVAL)
    assert len(elsewhere.asked) >= 2
    assert elsewhere.written() == ["new"]
    assert elsewhere.polled() == set()


async def test_what_a_former_owner_sent_after_the_tombstone_is_taken_back(elsewhere: Elsewhere) -> None:
    name = discovered_id("c1", "new")
    elsewhere.start()
    elsewhere.delete(name)
    elsewhere.put(post(replace(target(name, external_id="new"), origin="discovered"), post_id=name))
    await elsewhere.time.advance(2 * MINUTE)
    assert elsewhere.topic.erased == [(POSTS, ("w1", name))]


async def test_the_products_own_deleted_post_is_not_found_again(elsewhere: Elsewhere) -> None:
    elsewhere.videos = {"mine": START - HOUR}
    elsewhere.switch(discover=True)
    elsewhere.put(post(target(external_id="mine"), published_at=START - HOUR))
    elsewhere.start()
    await elsewhere.time.advance(2 * MINUTE)
    elsewhere.delete("p1")
    await elsewhere.time.advance(2 * INTERVAL)
    assert elsewhere.written() == []
    # The tombstone is what the next process knows it by.
    assert elsewhere.topic.erased == [(POSTS, ("w1", discovered_id("c1", "mine")))]


@pytest.mark.parametrize("status", ["scheduled", "publishing", "failed", "deleted"])
async def test_a_post_that_is_not_polled_is_known_all_the_same(elsewhere: Elsewhere, status: str) -> None:
    elsewhere.videos = {"mine": START - HOUR}
    elsewhere.switch(discover=True)
    elsewhere.put(post(target(external_id="mine", status=status)))
    elsewhere.start()
    await elsewhere.time.advance(2 * MINUTE)
    assert elsewhere.asked
    assert elsewhere.written() == []


async def test_the_same_post_of_another_channel_is_this_channels_too(elsewhere: Elsewhere) -> None:
    elsewhere.videos = {"shared": START - HOUR}
    elsewhere.switch(discover=True)
    elsewhere.put(post(target(channel_id="c2", external_id="shared")))
    elsewhere.start()
    await elsewhere.time.advance(2 * MINUTE)
    assert elsewhere.written() == ["shared"]


async def test_a_product_may_make_a_discovered_post_its_own(elsewhere: Elsewhere) -> None:
    elsewhere.videos = {"new": START - HOUR}
    elsewhere.switch(discover=True)
    elsewhere.start()
    await elsewhere.time.advance(2 * MINUTE)
    name = discovered_id("c1", "new")
    elsewhere.put(post(target("t1", external_id="new"), post_id=name, published_at=START - HOUR))
    await elsewhere.time.advance(INTERVAL)
    assert elsewhere.topic.erased == []
    assert elsewhere.written() == ["new"]
    assert [entry.target_id for entry in elsewhere.world.schedule.plans[KEY].live()] == ["t1"]


async def test_whoever_is_no_longer_the_owner_writes_nothing() -> None:
    ownership = alone()
    elsewhere = Elsewhere(ownership)
    try:
        elsewhere.videos = {"new": START - HOUR, "newer": START - HOUR // 2}
        elsewhere.on_asked = ownership.drain
        elsewhere.switch(discover=True)
        elsewhere.start()
        await elsewhere.time.advance(2 * MINUTE)
        assert elsewhere.asked
        assert elsewhere.written() == []
        await elsewhere.time.advance(2 * INTERVAL)
        assert len(elsewhere.asked) == 1
    finally:
        await elsewhere.close()


async def test_an_owner_that_loses_the_channel_between_two_writes_writes_one() -> None:
    ownership = alone()
    elsewhere = Elsewhere(ownership)
    try:
        elsewhere.videos = {"new": START - HOUR, "newer": START - HOUR // 2}
        elsewhere.topic.on_put = ownership.drain
        elsewhere.switch(discover=True)
        elsewhere.start()
        await elsewhere.time.advance(2 * MINUTE)
        assert elsewhere.written() == ["newer"]
    finally:
        await elsewhere.close()


async def test_a_list_that_nobody_answers_is_asked_for_again_soon_and_seldom(elsewhere: Elsewhere) -> None:
    elsewhere.refuse = failing(503, "backendError")
    elsewhere.switch(discover=True)
    elsewhere.start()
    await elsewhere.time.advance(HOUR)
    assert 1 <= len(elsewhere.asked) <= 2 * HOUR // AGAIN_AFTER
    elsewhere.refuse = None
    elsewhere.videos = {"new": START - HOUR}
    await elsewhere.time.advance(INTERVAL)
    assert elsewhere.written() == ["new"]


async def test_scheduled_polls_come_first(elsewhere: Elsewhere) -> None:
    polls = elsewhere.tasks.pop()
    polls.cancel()
    elsewhere.put(post(target(external_id="known")))
    elsewhere.switch(discover=True)
    await elsewhere.time.advance(MINUTE)
    elsewhere.start()
    await elsewhere.time.advance(10 * MINUTE)
    assert not elsewhere.asked
    elsewhere.tasks.append(asyncio.create_task(elsewhere.world.loop.run()))
    await elsewhere.time.advance(2 * MINUTE)
    assert len(elsewhere.asked) == 1


async def test_a_list_that_cannot_be_read_ends_nothing(elsewhere: Elsewhere) -> None:
    elsewhere.refuse = lambda _: json_answer(200, b'{"items": 7}')
    elsewhere.switch(discover=True)
    elsewhere.start()
    await elsewhere.time.advance(2 * MINUTE)
    elsewhere.refuse = None
    elsewhere.videos = {"new": START - HOUR}
    await elsewhere.time.advance(2 * INTERVAL)
    assert elsewhere.written() == ["new"]


async def test_an_item_that_cannot_be_read_takes_no_other_with_it(
    elsewhere: Elsewhere, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere.videos = {"new": START - HOUR}
    elsewhere.spoiled = [{"contentDetails": {"videoPublishedAt": "2026-01-01T00:00:00Z"}}, 7]
    elsewhere.switch(discover=True)
    elsewhere.start()
    await elsewhere.time.advance(2 * MINUTE)
    assert elsewhere.written() == ["new"]
    shown = generate_latest(elsewhere.registry).decode()
    for field in ("videoId", "object"):
        assert f'tidemark_poller_unlisted_posts_total{{field="{field}",platform="youtube"}} 1.0' in shown
    assert "items of a list of posts can't be read" in capsys.readouterr().out


LINK = "https://www.facebook.com"
TWICE = [
    # The id that the product has, and the same post in the account's list.
    ("998877665544332", Discovered("204_11", 0, permalink=f"{LINK}/reel/998877665544332/")),
    ("998877665544332", Discovered("204_11", 0, permalink=f"{LINK}/204/videos/998877665544332/")),
    ("998877665544332", Discovered("204_11", 0, permalink=f"{LINK}/photo.php?fbid=998877665544332&set=a.40000")),
    ("1990000000000000001", Discovered("1990000000000000003", 0, other_ids=("1990000000000000001",))),
    ("C8abcDEFghi", Discovered("17896100000000011", 0, permalink="https://www.instagram.com/reel/C8abcDEFghi/")),
    ("DAbcdEFghij", Discovered("18000000000000001", 0, permalink="https://www.threads.com/@name/post/DAbcdEFghij")),
    ("7100000000000000001", Discovered("urn:li:share:7100000000000000001", 0)),
    ("urn:li:share:7100000000000000001", Discovered("urn:li:ugcPost:7100000000000000001", 0)),
    (
        "urn:li:activity:7100000000000000002",
        Discovered(
            "urn:li:share:7100000000000000001", 0,
            permalink="https://www.linkedin.com/feed/update/urn:li:activity:7100000000000000002/",
        ),
    ),
    ("https://www.youtube.com/shorts/aB3dE5fG7hI?feature=share", Discovered("aB3dE5fG7hI", 0)),
    ("https://www.youtube.com/watch?v=aB3dE5fG7hI&t=1s", Discovered("aB3dE5fG7hI", 0)),
    ("https://youtu.be/aB3dE5fG7hI", Discovered("aB3dE5fG7hI", 0)),
    ("https://www.pinterest.com/pin/813744226420795884/", Discovered("813744226420795884", 0)),
    ("at://name.example/app.bsky.feed.post/3k2a", Discovered("at://did:plc:abc/app.bsky.feed.post/3k2a", 0)),
]  # fmt: skip


@pytest.mark.parametrize(("held", "listed"), TWICE)
@pytest.mark.parametrize("status", ["published", "draft", "deleted"])
async def test_a_post_that_the_product_has_under_another_id_is_not_found_again(
    elsewhere: Elsewhere, held: str, listed: Discovered, status: str
) -> None:
    elsewhere.switch(discover=True)
    mine = post(replace(target(external_id=held), status="draft" if status == "draft" else "published"), post_id="mine")
    elsewhere.put(mine)
    if status == "deleted":
        elsewhere.delete("mine")
    at = elsewhere.time.at - HOUR
    plan = elsewhere.world.schedule.plans[KEY]
    other = Discovered("another", at, permalink="https://www.facebook.com/reel/1/")
    found = elsewhere.catalog.discoveries.missing(
        KEY, plan, [listed._replace(published_at=at), other], elsewhere.time.at
    )
    assert [one.targets[0].external_id for one in found] == ["another"]


async def test_a_post_known_by_its_activity_alone_is_not_found_again_at_its_instant(elsewhere: Elsewhere) -> None:
    elsewhere.switch(discover=True)
    elsewhere.put(post(target(external_id="urn:li:activity:7100000000000000001"), post_id="mine"))
    plan = elsewhere.world.schedule.plans[KEY]
    (held,) = plan.live()
    same = Discovered("urn:li:share:7100000000000000000", held.published_at + 30_000)
    other = Discovered("urn:li:share:7100000000000000009", held.published_at + 3 * MINUTE)
    unlisted_ids = all_platforms()["linkedin"].facts.unlisted_ids
    found = elsewhere.catalog.discoveries.missing(KEY, plan, [same, other], held.published_at + HOUR, unlisted_ids)
    assert [one.targets[0].external_id for one in found] == ["urn:li:share:7100000000000000009"]


@pytest.mark.parametrize(("held", "listed"), TWICE)
async def test_a_put_under_another_id_takes_the_place_at_the_next_look(
    elsewhere: Elsewhere, held: str, listed: Discovered
) -> None:
    elsewhere.switch(discover=True)
    at = elsewhere.time.at - HOUR
    listed = listed._replace(published_at=at)
    discoveries, plan = elsewhere.catalog.discoveries, elsewhere.world.schedule.plans[KEY]
    (found,) = discoveries.missing(KEY, plan, [listed], elsewhere.time.at)
    elsewhere.put(found)
    assert discoveries.missing(KEY, plan, [listed], elsewhere.time.at) == []
    assert not discoveries.superseded
    elsewhere.put(post(target(external_id=held), post_id="mine"))
    assert discoveries.missing(KEY, plan, [listed], elsewhere.time.at) == []
    assert discoveries.superseded == {("w1", found.post_id)}


async def test_a_workspace_that_is_given_back_is_forgotten(elsewhere: Elsewhere) -> None:
    elsewhere.videos = {"new": START - HOUR}
    elsewhere.switch(discover=True)
    elsewhere.start()
    await elsewhere.time.advance(2 * MINUTE)
    elsewhere.catalog.discard(lambda _: True)
    assert elsewhere.catalog.discoveries.is_unheard("w1", discovered_id("c1", "new"))
    await elsewhere.time.advance(2 * INTERVAL)
    assert len(elsewhere.asked) == 1


@pytest.mark.parametrize(
    ("written", "listed"),
    [
        ("at://name.example/app.bsky.feed.post/3k2", "at://did:plc:abc/app.bsky.feed.post/3k2"),
        ("11", "204_11"),
        ("1abc", "t3_1abc"),
        ("dQw4w9WgXc_", "dQw4w9WgXc_"),
        ("urn:li:share:7", "urn:li:share:7"),
        ("7", "urn:li:ugcPost:7"),
    ],
)
def test_one_post_is_one_however_its_id_is_written(written: str, listed: str) -> None:
    assert spelling(written) == spelling(listed)
    assert discovered_id("c1", written) == discovered_id("c1", listed)


def test_ids_of_other_posts_and_channels_differ() -> None:
    ids = {discovered_id(*one) for one in (("c1", "a"), ("c1", "b"), ("c2", "a"), ("c1", "urn:li:share:7"))}
    assert len(ids) == 4
    assert discovered_id("c1", "t3_9_9") != discovered_id("c1", "9")
