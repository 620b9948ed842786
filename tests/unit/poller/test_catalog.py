"""The catalog's fold: what can be polled is, the rest isn't, in whatever order it arrives."""

from __future__ import annotations

from functools import partial
from itertools import permutations
from typing import Any

import pytest

from schemas.codec import codec, schema_text
from schemas.events import CatalogChannel, CatalogPost, ChannelTokens
from schemas.topic_names import CHANNELS, POSTS, TOKENS
from services.platforms.base import Outcome
from services.poller.catalog import TOPICS, Catalog
from services.poller.connections.accounts import Accounts
from services.poller.connections.tokens import TokenStore
from services.poller.schedule.schedule import DEBOUNCE, Schedule
from services.runtime.clock import MILLIS_PER_DAY, MILLIS_PER_HOUR
from services.runtime.kafka import key
from services.runtime.secrets import TokenCipher, TokenPair
from tests.support.manual_clock import START
from tests.unit.poller.builders import channel, post, target


def _schema(topic: str, _: int) -> str:
    return schema_text(topic)


CIPHER = TokenCipher(["0123456789abcdef"])
CODECS = {name: codec(name, schema_id=1, fetch_schema=partial(_schema, name)) for name in TOPICS}


class Folded:
    def __init__(self) -> None:
        self.schedule = Schedule({"youtube": 50, "x": 100})
        self.accounts = Accounts()
        self.tokens = TokenStore(CIPHER, {})
        self.catalog = Catalog(CODECS, self.schedule, self.tokens, self.accounts)

    def channel(self, event: CatalogChannel | None, now: int = START, channel_id: str = "c1") -> None:
        self._fold(CHANNELS, channel_id, event, now)

    def post(self, event: CatalogPost | None, now: int = START, post_id: str = "p1") -> None:
        self._fold(POSTS, post_id, event, now)

    def token(self, token: str | None, now: int = START) -> None:
        event = None
        if token is not None:
            event = ChannelTokens("w1", "c1", CIPHER.encrypt(TokenPair(token), ("w1", "c1")), "f", None, "put", now)
        self._fold(TOKENS, "c1", event, now)

    def _fold(self, topic: str, name: str, event: Any, now: int) -> None:
        value = None if event is None else CODECS[topic].encode(event)
        self.catalog.fold(topic, key("w1", name), value, now)

    def due(self, now: int = START + DEBOUNCE) -> list[str]:
        asked = []
        for platform in self.schedule.lanes:
            while (work := self.schedule.take(platform, now)) is not None:
                asked += [entry.target_id for entry in work.entries]
        return sorted(asked)


def test_in_whatever_order() -> None:
    for order in permutations(range(3)):
        folded = Folded()
        steps = (
            lambda folded=folded: folded.channel(channel()),
            lambda folded=folded: folded.post(post(target())),
            lambda folded=folded: folded.token("secret"),
        )
        for step in order:
            steps[step]()
        assert folded.due() == ["t1"]
        assert folded.tokens.credentials(("w1", "c1"), "youtube").access_token == "secret"


@pytest.mark.parametrize(
    "event",
    [
        post(target(status="scheduled")),
        post(target(status="deleted")),
        post(target(external_id="")),
        post(target(), published_at=None),
        post(target(), status="deleted"),
        post(target(), published_at=START - 91 * MILLIS_PER_DAY),
        post(target(channel_id="other")),
        None,
    ],
)
def test_what_is_not_polled(event: CatalogPost | None) -> None:
    folded = Folded()
    folded.channel(channel())
    folded.post(event)
    assert folded.due() == []


@pytest.mark.parametrize("status", ["token_expired", "revoked", "disabled"])
def test_only_active_channels(status: str) -> None:
    folded = Folded()
    folded.channel(channel())
    folded.post(post(target()))
    folded.channel(channel(status=status))
    assert folded.due() == []
    folded.channel(channel())
    assert folded.due() == ["t1"]


def test_a_targets_own_time_counts() -> None:
    folded = Folded()
    folded.channel(channel())
    folded.post(post(target(published_at=START), published_at=None))
    assert folded.due() == ["t1"]


def test_a_post_is_replaced_whole_and_what_stays_keeps_its_time() -> None:
    folded = Folded()
    folded.channel(channel())
    folded.post(post(target("a"), target("b")))
    (kept, gone) = folded.catalog.entries("w1", "p1")
    folded.schedule.restore(kept, START)
    folded.schedule.rebuild()
    folded.post(post(target("a"), target("c")))
    assert folded.catalog.entries("w1", "p1")[0] is kept
    assert gone.dropped
    assert folded.due() == ["c"]


def test_a_changed_id_is_another_target() -> None:
    folded = Folded()
    folded.channel(channel())
    folded.post(post(target(external_id="one")))
    assert folded.due() == ["t1"]
    folded.post(post(target(external_id="two")))
    assert folded.due() == ["t1"]


def test_tombstones() -> None:
    folded = Folded()
    folded.channel(channel())
    folded.post(post(target()))
    folded.post(None)
    assert folded.catalog.entries("w1", "p1") == ()
    assert folded.due() == []
    folded.post(post(target()))
    folded.channel(None)
    assert folded.due() == []
    folded.channel(channel())
    assert folded.due() == ["t1"]


def test_a_paused_channel_is_tried_again_with_a_new_token_or_put() -> None:
    for news in ("token", "channel"):
        folded = Folded()
        folded.channel(channel())
        folded.token("old")
        folded.post(post(target()))
        folded.accounts.broken(("w1", "c1"), "youtube", Outcome.TOKEN_EXPIRED, START, START + 10)
        folded.schedule.pause(folded.schedule.plan(("w1", "c1")))
        folded.channel(channel(updated_at=START))
        assert folded.due() == []
        if news == "token":
            folded.token("new", START + 20)
        else:
            folded.channel(channel(updated_at=START + 20))
        assert folded.due() == ["t1"]


def test_a_connection_is_new_with_tokens_that_were_put_or_a_channel_that_was() -> None:
    folded = Folded()
    heard: list[tuple[str, str]] = []
    folded.catalog.on_connected = heard.append
    key = ("w1", "c1")
    folded.channel(channel(updated_at=START))
    assert heard == []
    folded.token("new", START + 20)
    assert heard == [key]
    # The same once more, as after partitions moved.
    held = folded.tokens.sealed(key)
    assert held is not None
    folded.catalog.put_tokens(key, folded.tokens.renewed(held, TokenPair("renewed"), None, START + 30), START + 30)
    assert heard == [key]
    folded.channel(channel(updated_at=START))
    assert heard == [key]
    folded.channel(channel(updated_at=START + 40))
    assert heard == [key, key]


def test_a_token_is_replaced_and_forgotten() -> None:
    folded = Folded()
    for token in ("one", "two"):
        folded.token(token)
        assert folded.tokens.credentials(("w1", "c1"), "youtube").access_token == token
    folded.token(None)
    assert folded.tokens.credentials(("w1", "c1"), "youtube").access_token is None
    assert folded.tokens.updated_at(("w1", "c1")) is None


@pytest.mark.parametrize(
    ("message_key", "value"),
    [(b"w1/c1", b"nonsense"), (b"w1/c1", b""), (b"\xff/c1", b"\0\0\0\0\1"), (None, None), (b"w1", None)],
)
def test_a_malformed_event_is_passed_over(message_key: bytes | None, value: bytes | None) -> None:
    folded = Folded()
    folded.channel(channel())
    folded.post(post(target()))
    for topic in TOPICS:
        folded.catalog.fold(topic, message_key, value, START)
    assert folded.due() == ["t1"]


def test_what_is_too_old_is_let_go() -> None:
    folded = Folded()
    folded.channel(channel())
    folded.post(post(target(), published_at=START - 90 * MILLIS_PER_DAY + MILLIS_PER_HOUR))
    assert len(folded.catalog.entries("w1", "p1")) == 1
    assert folded.due(START + MILLIS_PER_DAY) == []
    assert folded.catalog.entries("w1", "p1") == ()
