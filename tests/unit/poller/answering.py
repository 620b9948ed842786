"""A platform in memory that answers every call or fails every call, and a poller that asks it; all in virtual time.

The platform's own file makes the calls. What an answer means is said here, so that any way of failing can be had of any
platform, whatever its bodies look like; bodies of a whole failure (`fail` with an answer) are the file's own to read.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import httpx
from prometheus_client import CollectorRegistry

from schemas.events import CatalogTarget, ChannelTokens, PlatformRaw, RawKind
from services.platforms import all_platforms
from services.platforms.base import (
    NOTHING,
    Call,
    Channel,
    Facts,
    LimitState,
    Outcome,
    Platform,
    Reading,
    Target,
    Verdict,
)
from services.poller.asking.budget import Budget
from services.poller.asking.circuit import Circuit
from services.poller.asking.fetch import Fetcher
from services.poller.asking.knowledge import Knowledge
from services.poller.catalog import Catalog
from services.poller.connections.accounts import Accounts
from services.poller.connections.tokens import TokenStore
from services.poller.loop import Loop
from services.poller.metrics import PollerMetrics
from services.poller.schedule.schedule import Schedule
from services.runtime.secrets import TokenCipher, TokenPair
from tests.support.manual_clock import ManualTime
from tests.support.memory_publisher import MemoryPublisher
from tests.support.platform_transport import PlatformTransport, json_answer
from tests.unit.poller.builders import channel, channel_rounds, post

CIPHER = TokenCipher(["0123456789abcdef"])
# An id as the platform has them, with a number in it.
_IDS = {
    "x": "19000000000000{:05}",
    "linkedin": "urn:li:share:70000000000{:05}",
    "facebook": "20481632011_1221603400{:05}",
    "instagram": "178961000000{:05}",
    "bluesky": "at://did:plc:k7aaaabbbbccccddddeeeeff/app.bsky.feed.post/3k{:05}",
}
_ANY_ID = "id{:05}"
_OWNERS = {"linkedin": "urn:li:organization:1"}


class Answering:
    """One platform.

    Args:
        name: whose file makes the calls.

    Attributes:
        requests: in order.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.file = all_platforms()[name]
        self.requests: list[httpx.Request] = []
        self._answer: Callable[[httpx.Request], httpx.Response] | None = None
        self._verdict: Verdict | None = None

    def fail(self, answer: Callable[[httpx.Request], httpx.Response] | None, verdict: Verdict | None) -> None:
        """From now on answer so (None: well), or so that it means this."""
        self._answer, self._verdict = answer, verdict

    @property
    def meant(self) -> Verdict | None:
        """What any answer means now; None where it is for the platform's file to say."""
        return None if self._answer is not None else self._verdict or Verdict(Outcome.OK)

    def wire(self, request: httpx.Request) -> httpx.Response:
        """The answer to a request."""
        self.requests.append(request)
        return self._answer(request) if self._answer is not None else json_answer(200, b"{}")


class Answered:
    """A platform's file of which the answers of `Answering` mean what it says."""

    def __init__(self, answering: Answering) -> None:
        self._answering = answering
        self._file = answering.file

    @property
    def facts(self) -> Facts:
        """The file's."""
        return self._file.facts

    def authorize(self, token: str | None) -> dict[str, str]:
        """The file\'s."""
        return self._file.authorize(token)

    def post_calls(self, channel: Channel, targets: Sequence[Target], now: int | None = None) -> list[Call]:
        """The file\'s."""
        return self._file.post_calls(channel, targets, now)

    def channel_calls(self, channel: Channel, now: int) -> list[Call]:
        """The file\'s."""
        return self._file.channel_calls(channel, now)

    def identity_call(self, channel: Channel) -> Call:
        """The file\'s."""
        return self._file.identity_call(channel)

    def read(self, event: PlatformRaw) -> Reading:
        """Nothing of a good answer, which holds nothing; the file's of any other."""
        return NOTHING if event.body == b"{}" else self._file.read(event)

    def part(self, event: PlatformRaw, target_index: int) -> Any:
        """The file\'s."""
        return self._file.part(event, target_index)

    def classify(self, status: int, headers: Mapping[str, str], body: bytes, now: int) -> Verdict:
        """What `Answering` says, or the file."""
        meant = self._answering.meant
        return self._file.classify(status, headers, body, now) if meant is None else meant

    def limits(self, headers: Mapping[str, str], now: int) -> LimitState | None:
        """None."""
        return None


class Failing(Answered):
    """A platform of which calls about some posts fail, and all others are answered well.

    Args:
        name: whose file makes the calls, and reads what fails.
        answer: how calls about culprits fail.

    Attributes:
        culprits: ids of the platform.
        requests: in order.
    """

    def __init__(self, name: str, answer: Callable[[httpx.Request], httpx.Response]) -> None:
        answering = Answering(name)
        super().__init__(answering)
        self.name = name
        self.culprits: set[str] = set()
        self.requests = answering.requests
        self._fail = answer
        self._id = re.compile(re.escape(_IDS.get(name, _ANY_ID)).replace(r"\{:05\}", r"\d{5}"))

    def external_id(self, number: int) -> str:
        """The platform's id of a post by its number."""
        return _IDS.get(self.name, _ANY_ID).format(number)

    def ids_in(self, request: httpx.Request) -> set[str]:
        """The ids of posts that a request asks for."""
        return set(self._id.findall(unquote(f"{request.url.raw_path.decode()} {request.content.decode()}")))

    def wire(self, request: httpx.Request) -> httpx.Response:
        """The answer to a request."""
        self.requests.append(request)
        return self._fail(request) if self.ids_in(request) & self.culprits else json_answer(200, b"{}")

    def classify(self, status: int, headers: Mapping[str, str], body: bytes, now: int) -> Verdict:
        """The file's, of what fails."""
        return Verdict(Outcome.OK) if body == b"{}" else self._file.classify(status, headers, body, now)


class World:
    """A poller of one platform.

    Args:
        wire: what answers requests.
    """

    def __init__(self, name: str, platform: Platform, wire: Callable[[httpx.Request], httpx.Response]) -> None:
        self.name = name
        self.time = ManualTime()
        self.platform = platform
        self.schedule = Schedule({name: self.platform.facts.post_batch_size})
        self.accounts = Accounts()
        tokens = self.tokens = TokenStore(CIPHER, {})
        self.catalog = Catalog({}, self.schedule, tokens, self.accounts)
        self.publisher = MemoryPublisher()
        self.known = Knowledge(self.schedule.polled_channels)
        self.catalog.is_set_aside = self.known.forget
        transport = PlatformTransport(wire)
        circuits = {name: Circuit()}
        rounds = channel_rounds(
            time=self.time, platforms={name: self.platform}, schedule=self.schedule,
            fetcher=Fetcher({}, transports=lambda *_: transport), publisher=self.publisher, tokens=tokens,
            accounts=self.accounts, budget=Budget(limits={name: self.platform.facts.limits}), circuits=circuits,
            metrics=PollerMetrics(CollectorRegistry()), known=self.known,
        )  # fmt: skip
        self.catalog.on_connected = rounds.connected
        self.catalog.on_written = rounds.written
        self.task = asyncio.create_task(Loop(self.time, self.schedule, rounds, circuits, 8).run())

    def token(self, channel_id: str, token: str) -> None:
        """Connect a channel with a token."""
        key = ("w1", channel_id)
        sealed = CIPHER.encrypt(TokenPair(token), key)
        self.catalog.put_tokens(key, ChannelTokens(*key, sealed, "f", None, "put", self.time.at), self.time.at)

    def connect(self, *channels: str) -> None:
        """Channels that are polled."""
        for channel_id in channels:
            self.token(channel_id, f"token-of-{channel_id}")
            event = channel(channel_id, self.name, updated_at=self.time.at)
            event = replace(event, external_id=_OWNERS.get(self.name, event.external_id))
            self.catalog.put_channel(("w1", channel_id), event, self.time.at)

    def publish(self, channel_id: str, count: int, *, first: int = 0, post_type: str = "") -> None:
        """Posts that go out now, numbered from `first`."""
        for number in range(first, first + count):
            name = f"{channel_id}-{number}"
            external_id = _IDS.get(self.name, _ANY_ID).format(number)
            of = CatalogTarget(name, channel_id, post_type, "published", external_id)
            event = post(of, post_id=f"p-{name}", published_at=self.time.at)
            self.catalog.put_post("w1", event.post_id, event, self.time.at)

    def captured_since(self, channel_id: str, at: int, outcome: Collection[int] = (200,)) -> int:
        """How many posts of a channel have had an answer since an instant."""
        found = {
            target.target_id
            for event in self.publisher.events
            if event.kind == RawKind.POST_METRICS and event.channel_id == channel_id and event.captured_at >= at
            and event.http_status in outcome and event.body == b"{}"
            for target in event.targets
        }  # fmt: skip
        return len(found)
