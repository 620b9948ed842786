"""A poller's rounds in this process, on virtual time, before a sandbox that is asked over real HTTP.

Time moves by hand and stands still while a call is under way, so that days pass in a moment and every instant is exact.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry

from infra.sandbox.channels import ACCOUNTS
from infra.sandbox.curves import metric_value
from infra.sandbox.ids import make_id
from infra.sandbox.ids import published_at as published_at_of
from infra.sandbox.state import State, Switch
from schemas.events import (
    CatalogChannel,
    CatalogPost,
    CatalogTarget,
    ChannelTokens,
    Origin,
    PlatformRaw,
    RawKind,
    RawTarget,
)
from schemas.metrics import CHANNEL_NAMES, POST_NAMES
from services.platforms import all_platforms
from services.platforms.abilities import AnswersApart, AppClient, RefreshCall
from services.platforms.base import Call, MappingError, Outcome
from services.poller.asking.budget import Budget
from services.poller.asking.circuit import Circuit
from services.poller.asking.decide import unanswered
from services.poller.asking.fetch import Fetcher, Reply
from services.poller.asking.refresh import Refresher
from services.poller.catalog import Catalog
from services.poller.connections.accounts import Accounts
from services.poller.connections.tokens import TokenStore
from services.poller.errors import NoAnswer
from services.poller.loop import Loop
from services.poller.metrics import PollerMetrics
from services.poller.schedule.schedule import Schedule
from services.runtime.secrets import TokenCipher, TokenPair
from tests.support.manual_clock import ManualTime
from tests.support.memory_publisher import MemoryPublisher
from tests.unit.poller.builders import channel_rounds

MINUTE = 60_000
HOUR = 60 * MINUTE
CIPHER = TokenCipher(["0123456789abcdef"])
WORKSPACE = "w1"
CULPRIT, NEIGHBOUR = "culprit", "neighbour"
"""The channel that is refused something, and another account of the same platform."""
NEIGHBOURS = {
    "x": "2002",
    "instagram": "17841400000000002",
    "youtube": "UCtidemarkotherchannel",
    "bluesky": "did:plc:othersandboxothersandbox",
    "linkedin": "urn:li:organization:2414999",
    "facebook": "204583221947103",
    "threads": "17841401234567999",
    "tiktok": "823f24d7-e717-40f8-a2b6-cb8464cd23b4",
    "pinterest": "2783136121146311752",
    "reddit": "tidemark_other",
    "google_business": "21293847561029384756",
}
# One figure of each platform: its common name, and what the platform calls it.
FIGURES = {
    "x": ("likes", "like_count"),
    "instagram": ("likes", "like_count"),
    "youtube": ("views", "viewCount"),
    "bluesky": ("likes", "likeCount"),
    "linkedin": ("likes", "likeCount"),
    "facebook": ("views", "post_media_view"),
    "threads": ("views", "views"),
    "tiktok": ("views", "view_count"),
    "pinterest": ("impressions", "impression"),
    "reddit": ("likes", "score"),
}
# The same where insights are what is refused.
BESIDE_INSIGHTS = {"facebook": ("shares", "shares")}


class HttpTime(ManualTime):
    """A clock moved by hand that waits for calls under way before it moves on."""

    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.under_way = 0
        self._returned = asyncio.Event()

    def begin(self) -> None:
        """A call begins."""
        self.under_way += 1

    def end(self) -> None:
        """A call is over."""
        self.under_way -= 1
        self._returned.set()

    async def settle(self) -> None:
        """Let everything run that needs no time but that of calls."""
        await super().settle()
        while self.under_way:
            self._returned.clear()
            await self._returned.wait()
            await super().settle()


class Heard(NamedTuple):
    """One answer: when, to which call, and what came."""

    at: int
    platform: str
    call: Call
    reply: Reply


class Unanswered(NamedTuple):
    """One call without an answer: when, which, and why."""

    at: int
    call: Call
    error: NoAnswer


class WatchedFetcher(Fetcher):
    """Makes calls over HTTP, keeps their answers, and stops the clock meanwhile."""

    def __init__(self, time: HttpTime, base_urls: Mapping[str, str], timeout_seconds: float) -> None:
        super().__init__(base_urls, timeout_seconds=timeout_seconds)
        self._clock = time
        self.heard: list[Heard] = []
        self.unanswered: list[Unanswered] = []

    async def fetch(
        self, platform: str, call: Call | RefreshCall, default_base_url: str, headers: Mapping[str, str], **more: Any
    ) -> Reply:
        """See `Fetcher.fetch`."""
        self._clock.begin()
        try:
            reply = await super().fetch(platform, call, default_base_url, headers, **more)
        except NoAnswer as error:
            if isinstance(call, Call):
                self.unanswered.append(Unanswered(self._clock.at, call, error))
            raise
        finally:
            self._clock.end()
        if isinstance(call, Call):
            self.heard.append(Heard(self._clock.at, platform, call, reply))
        return reply


class Figure(NamedTuple):
    """One figure of a post that an answer brought."""

    at: int
    external_id: str
    metric: str
    value: int | None


class PolledPlatform:
    """Two channels of one platform with posts of an hour's age, polled until the test ends.

    Args:
        url: of the sandbox.
        state: of the sandbox; its clock follows this world's.
        token: how the culprit's access token begins.
        timeout_seconds: of a call, by the machine's clock.

    Attributes:
        posts: the platform's ids by channel.
    """

    def __init__(
        self,
        url: str,
        state: State,
        platform: str,
        start: int,
        token: str = "sandbox-token",
        timeout_seconds: float = 20.0,
    ) -> None:
        self.platform, self.state = platform, state
        self.time = HttpTime(start)
        state.clock._wall = lambda: self.time.at
        state.reset()
        state.limits.enforced = False
        platforms = all_platforms()
        self.schedule = Schedule({name: known.facts.post_batch_size for name, known in platforms.items()})
        self.accounts = Accounts()
        self.tokens = TokenStore(CIPHER, {})
        self.catalog = Catalog({}, self.schedule, self.tokens, self.accounts)
        self.publisher = MemoryPublisher()
        self.fetcher = WatchedFetcher(self.time, dict.fromkeys(platforms, url), timeout_seconds)
        metrics = PollerMetrics(CollectorRegistry())
        self.refresher = Refresher(
            time=self.time, platforms=platforms, fetcher=self.fetcher, publisher=self.publisher, tokens=self.tokens,
            catalog=self.catalog, accounts=self.accounts, metrics=metrics,
            clients=dict.fromkeys(platforms, AppClient("app-id", "app-secret")), uniform=_upper,
        )  # fmt: skip
        circuits = {name: Circuit(_upper) for name in platforms}
        rounds = channel_rounds(
            time=self.time, platforms=platforms, schedule=self.schedule, fetcher=self.fetcher,
            publisher=self.publisher, tokens=self.tokens, accounts=self.accounts, budget=Budget(_upper),
            circuits=circuits, metrics=metrics, refresher=self.refresher, uniform=_upper,
        )  # fmt: skip
        self.catalog.on_connected = rounds.connected
        self.catalog.on_written = rounds.written
        self.rounds = rounds
        self._tasks = [
            asyncio.create_task(self.refresher.run()),
            asyncio.create_task(Loop(self.time, self.schedule, rounds, circuits, 8).run()),
        ]
        self.accounts_of = {CULPRIT: ACCOUNTS[platform].external_id, NEIGHBOUR: NEIGHBOURS[platform]}
        self.posts: dict[str, list[str]] = defaultdict(list)
        for channel, count in ((CULPRIT, 4), (NEIGHBOUR, 2)):
            self.connect(channel, token if channel == CULPRIT else "sandbox-token")
            for number in range(count if ACCOUNTS[platform].post_type else 0):
                self.publish(channel, number)

    def connect(self, channel: str, token: str = "sandbox-token") -> None:
        """Put a channel with new tokens, as when the person connects it."""
        key, account, now = (WORKSPACE, channel), self.accounts_of[channel], self.time.at
        pair = TokenPair(f"{token}-{now}~{account}", f"sandbox-refresh-{now}~{account}")
        sealed = ChannelTokens(*key, CIPHER.encrypt(pair, key), f"put-{now}", None, "put", now)
        self.catalog.put_tokens(key, sealed, now)
        event = CatalogChannel(*key, self.platform, account, "name", "active", None, now)
        self.catalog.put_channel(key, event, now)

    def publish(self, channel: str, number: int) -> None:
        """Put a post that went out an hour ago."""
        went_out = self.time.at - HOUR
        account = self.accounts_of[channel]
        made = make_id(self.platform, went_out, number + (0 if channel == CULPRIT else 50), account=account)
        self.posts[channel].append(made)
        post_id = f"{channel}-{number}"
        target = CatalogTarget(
            f"{post_id}.t", channel, ACCOUNTS[self.platform].post_type, "published", made, published_at=went_out
        )
        event = CatalogPost(WORKSPACE, post_id, "published", went_out, went_out, (target,), self.time.at)
        self.catalog.put_post(WORKSPACE, post_id, event, self.time.at)

    def switch_on(self, refusal: str, **more: Any) -> Switch:
        """Switch a refusal of the platform on, as the control API does."""
        made = Switch(self.platform, refusal, **more)
        self.state.switches.append(made)
        return made

    async def close(self) -> None:
        """End the poller; nothing of it may be left under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.refresher.close(1.0)
        await self.fetcher.close()
        assert self.publisher.reserved == 0

    # What was seen

    def figures(self, since: int) -> list[Figure]:
        """Every figure of posts that was published since an instant (ms)."""
        found = []
        for event in self.publisher.events:
            if event.captured_at < since or event.kind != RawKind.POST_METRICS:
                continue
            for reading in self._read(event).posts:
                named = zip(POST_NAMES, reading.values, strict=True)
                external_id = event.targets[reading.position].external_id
                found += [Figure(event.captured_at, external_id, name, value) for name, value in named]
        return [figure for figure in found if figure.value is not None]

    def channel_figures(self, channel: str, since: int) -> dict[str, int]:
        """When each figure of a channel itself came last since an instant (ms)."""
        found: dict[str, int] = {}
        for event in self.publisher.events:
            if (event.kind, event.channel_id) != (RawKind.CHANNEL_METRICS, channel) or event.captured_at < since:
                continue
            for reading in self._read(event).channels:
                named = zip(CHANNEL_NAMES, reading.values, strict=True)
                found |= {name: event.captured_at for name, value in named if value is not None}
        return found

    def calls(self, channel: str, since: int, until: int) -> int:
        """How many answers of a channel came in a span (ms)."""
        return sum(
            event.channel_id == channel and since <= event.captured_at < until for event in self.publisher.events
        )

    def right(self, external_id: str, at: int, name: str) -> int:
        """What a figure of a post is at an instant (ms), by the platform's name of it."""
        went_out = published_at_of(self.platform, external_id)
        return metric_value(self.state.seed, self.platform, external_id, name, went_out, at)

    def outcomes(self, external_id: str | None, since: int) -> set[str]:
        """What answers since an instant (ms) meant for a post, or (None) for any call."""
        known = all_platforms()[self.platform]
        found = {
            unanswered(one.error).outcome.value
            for one in self.fetcher.unanswered
            if one.at >= since and external_id in (None, *(target.external_id for target in one.call.targets))
        }
        for heard in self.fetcher.heard:
            targets = heard.call.targets
            positions = [i for i, target in enumerate(targets) if external_id in (None, target.external_id)]
            if heard.at < since or (external_id is not None and not positions):
                continue
            whole = known.classify(heard.reply.status, heard.reply.headers, heard.reply.body, heard.at)
            if isinstance(known, AnswersApart) and targets:
                apart = known.verdicts(self._event(heard), heard.reply.headers, heard.at)
                found |= {apart.get(position, whole).outcome.value for position in positions}
            else:
                found.add(whole.outcome.value)
            if whole.outcome is Outcome.OK and set(known.read(self._event(heard)).gone) & set(positions):
                found.add(Outcome.TARGET_GONE.value)
        return found

    def _event(self, heard: Heard) -> PlatformRaw:
        call = heard.call
        return PlatformRaw(
            event_id="e", workspace_id=WORKSPACE, channel_id="c", platform=self.platform, kind=call.kind,
            endpoint=call.path, request=call.request_map(),
            targets=tuple(RawTarget(t.target_id, t.post_id, t.external_id) for t in call.targets),
            http_status=heard.reply.status, body=heard.reply.body, captured_at=heard.at, origin=Origin.SCHEDULE,
        )  # fmt: skip

    def _read(self, event: PlatformRaw) -> Any:
        try:
            return all_platforms()[self.platform].read(event)
        except MappingError as error:
            raise AssertionError(f"{event.endpoint} {event.http_status} {event.body!r}: {error}") from error


def _upper(_: float, upper: float) -> float:
    """The longest of every wait that is drawn."""
    return upper
