"""The query API's application over fakes: answers by question, events kept in a list, time moved by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx
from starlette.types import ASGIApp

from schemas.codec import codec
from schemas.events import ApiKey, CatalogChannel
from schemas.metrics import POST_NAMES, Values
from services.aggregator.topic_reader import TopicUnreadable
from services.query_api.admin.catalog import Catalog
from services.query_api.admin.keys import Keys
from services.query_api.admin.letters import Letters, LetterTopics
from services.query_api.admin.routes import Admin
from services.query_api.admin.status import StatusReader
from services.query_api.admin.vault import TokenVault
from services.query_api.app import Parts, create_app
from services.query_api.cache import AnswerCache
from services.query_api.directory import Directory
from services.query_api.errors import WritesUnavailable
from services.query_api.publisher import Write
from services.query_api.reads.at_once import AtOnce
from services.query_api.reads.facts import Facts
from services.query_api.reads.own import OwnReads
from services.query_api.reads.patience import Patience
from services.query_api.reads.query import Answered, Question, ReadModel, Target
from services.query_api.reads.sources import Sources, Store
from services.query_api.reads.subscribing import Subscriptions
from services.query_api.serving.auth import READ_SCOPE, AdminKey, KeyRing, key_hash
from services.query_api.serving.limits import RateLimiter
from services.query_api.serving.replies import Reply
from services.query_api.spending import Spending
from services.query_api.store.handle import Store as OwnStore
from services.query_api.views import Place
from services.query_api.webhook_views import WebhookBook
from services.query_api.webhooks import Webhooks
from services.runtime.cursors import CursorText
from services.runtime.kafka import key as message_key
from services.runtime.sealing import WebhookCipher
from services.runtime.secrets import TokenCipher

ADMIN_KEY = "admin-key-of-the-tests"
SECRET_KEY = "secret-key-of-the-tests"
NOW = 1_782_638_062_345
"""2026-06-28T09:14:22.345Z."""


class ManualClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: int = NOW) -> None:
        self.instant = now

    def now(self) -> int:
        return self.instant

    def advance(self, seconds: float) -> None:
        """Move time on."""
        self.instant += round(seconds * 1000)


class FakeReadModel:
    """Answers what it was told, by question; keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[Question[Any], Any] = {}
        self.asked: list[Question[Any]] = []
        self.error: Exception | None = None

    async def answer(self, question: Question[Any]) -> Any:
        self.asked.append(question)
        if self.error is not None:
            raise self.error
        return self.answers.get(question)


async def answered(reads: ReadModel, question: Question[Answered]) -> Answered:
    """The answer to a question about something that is there."""
    found = await reads.answer(question)
    assert found is not None, f"nothing answers {question}"
    return found


class FakeStore:
    """Answers queries by name with the rows it was told, or with what a function makes of the parameters."""

    def __init__(self) -> None:
        self.answers: dict[str, list[list[Any]] | Callable[[dict[str, Any]], list[list[Any]]]] = {}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.error: Exception | None = None
        self.goes: asyncio.Event | None = None
        """Queries wait for it, where there is one."""

    async def rows(self, name: str, sql: str, parameters: dict[str, Any], seconds: float = 5.0) -> list[list[Any]]:
        self.asked.append((name, parameters))
        if self.goes is not None:
            await self.goes.wait()
        if self.error is not None:
            raise self.error
        found = self.answers.get(name, [])
        return found(parameters) if callable(found) else found

    async def stream(
        self, name: str, sql: str, parameters: dict[str, Any], fmt: str, settings: Mapping[str, Any] | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The rows as lines of text, one a chunk."""
        for row in await self.rows(name, sql, parameters):
            yield f"{row}\n".encode()


class MemoryPublisher:
    """Keeps events that can be encoded; may be away like Kafka."""

    def __init__(self) -> None:
        self.writes: list[Write] = []
        self.is_away = False
        self.failing: dict[str, Exception] = {}
        """What a write about an id raises."""

    async def publish(self, writes: Sequence[Write]) -> list[Place]:
        if self.is_away:
            raise WritesUnavailable
        for write in writes:
            if write.id in self.failing:
                raise self.failing[write.id]
            if write.event is not None:
                codec(write.topic, schema_id=1).encode(write.event)
        first = len(self.writes)
        self.writes += writes
        return [Place(0, first + number) for number in range(len(writes))]

    def of(self, topic: str) -> list[Write]:
        """Events of one topic, oldest first."""
        return [write for write in self.writes if write.topic == topic]


class PublishedWebhooks:
    """Brings what was published to the view of webhooks; see `services.query_api.webhook_changes.Reads`."""

    def __init__(self, publisher: MemoryPublisher, book: WebhookBook) -> None:
        self._publisher = publisher
        self._book = book
        self._read_to = 0

    async def read_present(self, workspace_id: str, topics: Sequence[str]) -> dict[str, int]:
        """Read all that was published; returns how much that was."""
        for offset in range(self._read_to, len(self._publisher.writes)):
            write = self._publisher.writes[offset]
            if write.topic == WebhookBook.topic:
                self._book.observe(write.message_key, write.event, Place(0, offset), write.headers)
        self._read_to = len(self._publisher.writes)
        return dict.fromkeys(topics, self._read_to)

    async def reached(self, topic: str, offsets: Mapping[int, int]) -> None:
        """Read all that was published."""
        await self.read_present("", (topic,))


@dataclass
class FakeApi:
    """The application, what it stands on, and a client."""

    client: httpx.AsyncClient
    read_model: FakeReadModel
    store: FakeStore
    publisher: MemoryPublisher
    keys: KeyRing
    directory: Directory
    vault: TokenVault
    clock: ManualClock
    missing: list[str] = field(default_factory=list)
    cache: AnswerCache[Reply] | None = None
    silent: list[float] = field(default_factory=list)
    spending: Spending = field(default_factory=Spending)
    webhooks: Webhooks = field(kw_only=True)
    subscriptions: Subscriptions = field(default_factory=Subscriptions)
    app: ASGIApp | None = None
    all_sources: Sources | None = None

    @property
    def sources(self) -> Sources:
        """The sources of its answers."""
        assert self.all_sources is not None
        return self.all_sources

    def add_key(self, workspace_id: str, text: str, scopes: tuple[str, ...] = (READ_SCOPE,)) -> Mapping[str, str]:
        """Make a key known; returns the headers that present it."""
        key_id = f"key_{text}"
        event = ApiKey(workspace_id, key_id, key_hash(text), scopes, "tidemark", self.clock.now())
        self.keys.apply((workspace_id, key_id), event)
        return {"authorization": f"Bearer {text}"}

    def add_channel(self, workspace_id: str, channel_id: str, platform: str = "x", username: str = "tide") -> None:
        """Make a channel known."""
        self.directory.apply((workspace_id, channel_id), channel(workspace_id, channel_id, platform, username))


def _letters(held: LetterTopics | None) -> LetterTopics:
    if held is None:
        raise TopicUnreadable("there is no Kafka here")
    return held


def fake_api(
    *,
    rate_limit: int = 0,
    admin_key: str | None = ADMIN_KEY,
    secret_key: str | None = SECRET_KEY,
    cache_bytes: int | None = None,
    clickhouse: Store | None = None,
    reads: Callable[[Directory], ReadModel] | None = None,
    own_reads: OwnReads | None = None,
    own_store: OwnStore | None = None,
    at_once: Callable[[Directory], AtOnce] | None = None,
    cors_origins: tuple[str, ...] = (),
    letters: LetterTopics | None = None,
    explanations: Patience[Any] | None = None,
) -> FakeApi:
    """An application over fakes; without `cache_bytes` it keeps no replies.

    Args:
        clickhouse: stands for the fake store.
        reads: makes what stands for the fake read model.
        own_reads: look-ups in the API's own store.
        own_store: that store, for changes.
        at_once: makes answers of that store.
        letters: the topics of dead letters.
        explanations: keeps what explains unknown figures; with it calls and meanings of answers are kept, too.
    """
    clock, read_model, store, publisher = ManualClock(), FakeReadModel(), FakeStore(), MemoryPublisher()
    keys, directory, vault, spending = KeyRing(), Directory(), TokenVault(), Spending()
    catalog = Catalog(
        publisher,
        directory=directory,
        keys=keys,
        vault=vault,
        cipher=TokenCipher([secret_key]) if secret_key else None,
        clock=clock,
    )
    webhooks = Webhooks(
        publisher, WebhookCipher([secret_key]) if secret_key else None, clock, is_private=_is_named_private
    )
    webhooks.changes.reads = PublishedWebhooks(publisher, webhooks.book)
    missing: list[str] = []
    cache: AnswerCache[Reply] | None = None
    if cache_bytes is not None:
        cache = AnswerCache(cache_bytes, lambda: clock.now() / 1000)
    silent = [0.0]
    subscriptions = Subscriptions(CursorText([secret_key]) if secret_key else None, keys.opens)

    async def readiness() -> str | None:
        return missing[0] if missing else None

    sources = Sources(
        clickhouse or store,
        directory,
        reads(directory) if reads else read_model,
        own_store=own_store,
        own_reads=own_reads,
        subscriptions=subscriptions,
        clock=clock,
        at_once=at_once(directory) if at_once else None,
        spending=spending,
        webhooks=webhooks,
        calls=Facts(0 if explanations is None else 1 << 20),
        meanings=Facts(0 if explanations is None else 1 << 20),
        explanations=explanations or Patience(0),
    )
    app = create_app(
        Parts(
            keys=keys,
            sources=sources,
            admin_key=AdminKey(admin_key),
            admin=Admin(
                catalog,
                Keys(catalog, keys, clock),
                StatusReader(lambda: {"is_healthy": True}),
                Letters(partial(_letters, letters)),
            ),
            limiter=RateLimiter(rate_limit) if rate_limit else None,
            clock=clock,
            readiness=readiness,
            cache=cache,
            silent_seconds=lambda: silent[0],
            cors_origins=cors_origins,
        )
    )
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api")
    return FakeApi(
        client,
        read_model,
        store,
        publisher,
        keys,
        directory,
        vault,
        clock,
        missing,
        cache,
        silent,
        spending,
        subscriptions,
        app,
        sources,
        webhooks=webhooks,
    )


async def _is_named_private(host: str, workspace_id: str, seconds: float) -> bool:
    return host.startswith("private.")


def channel(
    workspace_id: str, channel_id: str, platform: str = "x", username: str = "tide", *, updated_at: int = NOW
) -> CatalogChannel:
    """A connected account."""
    return CatalogChannel(
        workspace_id=workspace_id,
        channel_id=channel_id,
        platform=platform,
        external_id=f"ext-{channel_id}",
        username=username,
        status="active",
        token_expires_at=None,
        updated_at=updated_at,
    )


def values(**figures: int) -> Values:
    """Post figures by name, durations in milliseconds; what is not named is None."""
    unknown = set(figures) - set(POST_NAMES)
    assert not unknown, f"no such metrics: {unknown}"
    return tuple(figures.get(name) for name in POST_NAMES)


def target(target_id: str, channel_id: str = "c1", platform: str = "x", **changes: Any) -> Target:
    """A published target, measured where `captured_at` says so."""
    held: dict[str, Any] = {
        "target_id": target_id,
        "channel_id": channel_id,
        "platform": platform,
        "username": "tide",
        "post_type": "",
        "status": "published",
        "external_id": f"ext-{target_id}",
        "permalink": None,
        "published_at": NOW - 3_600_000,
        "content": None,
        "is_story": False,
        "parent_target_id": None,
        "detail": {},
        "captured_at": None,
        "values": values(),
    }
    return Target(**{**held, **changes})


def place(offset: int, partition: int = 0) -> Place:
    """The place of a record."""
    return Place(partition, offset)


def record_key(workspace_id: str, thing_id: str) -> bytes:
    """The key of a message."""
    return message_key(workspace_id, thing_id)
