"""Ciphertexts of older keys are renewed while others write, and nothing that others wrote is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from schemas.codec import codec, schema_text
from schemas.events import ChannelTokens
from schemas.notices import Webhook
from services.commands.reencryption import TokensRenewing, WebhooksRenewing, reencrypt
from services.poller.connections.tokens import TokenStore
from services.runtime.sealing import SigningSecrets, WebhookCipher
from services.runtime.secrets import TokenCipher, TokenPair

OLD, NEW = "an-old-key-of-sixteen-characters", "a-new-key-of-sixteen-characters"
TOKENS = codec("catalog.tokens", schema_id=1, fetch_schema=lambda _: schema_text("catalog.tokens"))
HOOKS = codec("catalog.webhooks", schema_id=2, fetch_schema=lambda _: schema_text("catalog.webhooks"))


@dataclass(frozen=True)
class Kept:
    offset: int
    key: bytes | None
    intact: bytes | None


class Memory:
    """One partition; `meanwhile` is what others write before the next own message."""

    def __init__(self) -> None:
        self.log: list[Kept] = []
        self.meanwhile: list[Callable[[], None]] = []

    def put(self, key: bytes, value: bytes | None) -> int:
        self.log.append(Kept(len(self.log), key, value))
        return len(self.log) - 1

    def partitions(self) -> list[int]:
        return [0]

    def bounds(self, partition: int) -> tuple[int, int]:
        return 0, len(self.log)

    def read(self, partition: int, start: int, end: int) -> Iterator[Kept]:
        yield from self.log[start:end]

    def write(self, partition: int, messages: Mapping[bytes, bytes | None], read_to: int) -> dict[bytes, int]:
        if self.meanwhile:
            self.meanwhile.pop(0)()
        return {key: self.put(key, value) for key, value in messages.items()}

    def last(self) -> dict[bytes, bytes | None]:
        return {message.key: message.intact for message in self.log if message.key is not None}


def tokens(cipher: TokenCipher, channel: str, token: str, **changed: Any) -> ChannelTokens:
    owner = ("w", channel)
    made: dict[str, Any] = {
        "workspace_id": "w",
        "channel_id": channel,
        "ciphertext": cipher.encrypt(TokenPair(token, None), owner),
        "put_fingerprint": cipher.fingerprint(token, owner) + ".-",
        "token_expires_at": None,
        "origin": "put",
        "updated_at": 5,
    }
    return ChannelTokens(**(made | changed))


def run(topic: Memory, keys: list[str]) -> Any:
    told: list[tuple[str, int, int]] = []
    done = reencrypt(
        "catalog.tokens", topic, TokensRenewing(TOKENS, TokenCipher(keys)), lambda *said: told.append(said), batch=2
    )
    return done, told


def test_every_ciphertext_opens_without_the_old_key() -> None:
    topic, old = Memory(), TokenCipher([OLD])
    for number in range(5):
        topic.put(f"w/c{number}".encode(), TOKENS.encode(tokens(old, f"c{number}", f"token-{number}")))
    topic.put(b"w/c4", None)
    done, told = run(topic, [NEW, OLD])
    assert (done.renewed, done.current, done.unopened) == (4, 0, [])
    assert told == [("catalog.tokens partition 0", 2, 4), ("catalog.tokens partition 0", 4, 4)]
    alone = TokenCipher([NEW])
    for number in range(4):
        event = TOKENS.decode(topic.last()[f"w/c{number}".encode()] or b"")
        assert alone.decrypt(event.ciphertext, ("w", f"c{number}")).access_token == f"token-{number}"
        assert (event.origin, event.updated_at) == ("bound", 5)
    assert topic.last()[b"w/c4"] is None
    again, _ = run(topic, [NEW])
    assert (again.renewed, again.current) == (0, 4)


def test_what_others_write_meanwhile_is_the_newest() -> None:
    topic, both = Memory(), TokenCipher([NEW, OLD])
    for channel in ("put", "gone", "twice"):
        topic.put(f"w/{channel}".encode(), TOKENS.encode(tokens(TokenCipher([OLD]), channel, "before")))

    def put(channel: str, token: str, cipher: TokenCipher = both) -> Callable[[], None]:
        event = TOKENS.encode(tokens(cipher, channel, token, updated_at=9))
        return lambda: (topic.put(f"w/{channel}".encode(), event), None)[1]

    def first() -> None:
        put("put", "after")()
        topic.put(b"w/gone", None)

    # While that is written once more, somebody puts again, still with the old key.
    topic.meanwhile = [first, put("put", "at last", TokenCipher([OLD]))]
    run(topic, [NEW, OLD])
    alone = TokenCipher([NEW])
    last = TOKENS.decode(topic.last()[b"w/put"] or b"")
    assert alone.decrypt(last.ciphertext, ("w", "put")).access_token == "at last"
    assert topic.last()[b"w/gone"] is None
    assert alone.is_newest(TOKENS.decode(topic.last()[b"w/twice"] or b"").ciphertext, ("w", "twice"))


def test_a_poller_takes_a_new_ciphertext_and_no_late_one() -> None:
    both, topic = TokenCipher([NEW, OLD]), Memory()
    before = tokens(TokenCipher([OLD]), "c", "before")
    topic.put(b"w/c", TOKENS.encode(before))
    run(topic, [NEW, OLD])
    renewed = TOKENS.decode(topic.last()[b"w/c"] or b"")
    store, overwritten = TokenStore(both, {}), []
    store.on_overwritten = lambda key, held: overwritten.append(held)
    store.put(("w", "c"), before)
    store.put(("w", "c"), renewed)
    assert store.sealed(("w", "c")) is renewed
    # A PUT that overtook the ciphertext stays, and is written back.
    newer = tokens(both, "c", "newer", updated_at=9)
    store.put(("w", "c"), newer)
    store.put(("w", "c"), renewed)
    assert store.sealed(("w", "c")) is newer
    assert overwritten == [newer]


def test_what_no_key_opens_is_named_and_left() -> None:
    topic = Memory()
    lost = TOKENS.encode(tokens(TokenCipher(["a-lost-key-of-sixteen-characters"]), "c", "x"))
    topic.put(b"w/c", lost)
    topic.put(b"w/strange", b"no Avro")
    done, _ = run(topic, [NEW, OLD])
    assert (done.renewed, done.unopened) == (0, ["w/c"])
    assert topic.last() == {b"w/c": lost, b"w/strange": b"no Avro"}


def test_webhooks_secrets_are_sealed_anew() -> None:
    topic, secrets = Memory(), SigningSecrets("whsec_a", "whsec_b")
    sealed = WebhookCipher([OLD]).seal(secrets, "w", "h")
    hook = Webhook("w", "h", "https://example.com", ("post.threshold",), (), "", sealed, None, True, 1, 1, 1)
    topic.put(b"w/h", HOOKS.encode(hook))
    done = reencrypt("catalog.webhooks", topic, WebhooksRenewing(HOOKS, WebhookCipher([NEW, OLD])), lambda *_: None)
    assert done.renewed == 1
    event = HOOKS.decode(topic.last()[b"w/h"] or b"")
    assert WebhookCipher([NEW]).open(event.sealed_secrets, "w", "h") == secrets
    assert event.url == hook.url
