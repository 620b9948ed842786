"""The body of `tidemark secrets reencrypt`: the topics of secrets in Kafka, read and written anew.

Apart from the command's declaration, so that no other command loads Kafka's clients.
"""

# ruff: noqa: T201 - a command line prints

from __future__ import annotations

from collections.abc import Iterator, Mapping

from confluent_kafka import KafkaError, Producer
from confluent_kafka import Message as Sent

from schemas.topic_names import TOKENS, WEBHOOKS
from services.aggregator.reading import Message
from services.aggregator.topic_reader import TopicReader, TopicUnreadable
from services.commands.reencryption import Renewing, TokensRenewing, WebhooksRenewing, reencrypt
from services.commands.usable import usable
from services.runtime import revisions
from services.runtime.kafka import confluent_options
from services.runtime.registry import Registry, RegistryUnavailable
from services.runtime.sealing import WebhookCipher
from services.runtime.secrets import SecretsError, TokenCipher
from services.runtime.settings import KafkaSettings, RegistrySettings, SecretKeysSettings, exit_with

ROLE = "secrets-reencrypt"
_SHOWN = 5
_FLUSH_SECONDS = 60.0


class SecretsSettings(KafkaSettings, RegistrySettings, SecretKeysSettings):
    """Settings of `tidemark secrets`, from the environment (`TIDEMARK_*`)."""


class NotWritten(RuntimeError):
    """Kafka refused or did not confirm a message; the error's message says why."""


class KafkaTopic:
    """A compacted topic in Kafka, for `reencrypt`.

    Args:
        topic: full name.
    """

    def __init__(self, settings: KafkaSettings, reader: TopicReader, topic: str) -> None:
        self._reader = reader
        self._topic = topic
        self._producer = Producer(
            {**confluent_options(settings), "enable.idempotence": True, "acks": "all", "log_level": 0}
        )

    def partitions(self) -> list[int]:
        return self._reader.partitions(self._topic)

    def bounds(self, partition: int) -> tuple[int, int]:
        return self._reader.bounds(self._topic, partition)

    def read(self, partition: int, start: int, end: int) -> Iterator[Message]:
        return self._reader.read(self._topic, partition, start, end)

    def write(self, partition: int, messages: Mapping[bytes, bytes | None], read_to: int) -> dict[bytes, int]:
        offsets: dict[bytes, int] = {}
        failures: list[str] = []

        def delivered(error: KafkaError | None, sent: Sent) -> None:
            key, offset = sent.key(), sent.offset()
            if error is not None or key is None or offset is None:
                failures.append(error.str() if error is not None else "no offset")
            else:
                offsets[key if isinstance(key, bytes) else key.encode()] = offset

        for key, value in messages.items():
            self._producer.produce(
                self._topic, value, key, partition, on_delivery=delivered, headers=[revisions.read_to(read_to)]
            )
        if self._producer.flush(_FLUSH_SECONDS) or failures:
            why = failures[0] if failures else "no confirmation in time"
            raise NotWritten(f"{self._topic} can't be written ({why}); run the command again, repeating is safe")
        return offsets


def run() -> int:
    """Encrypt each topic's secrets anew, and print the progress.

    Returns the exit code: 1 when a secret is left that no key opens.
    """
    settings = usable(SecretsSettings, role=ROLE)
    try:
        cipher, sealer = TokenCipher(settings.secret_keys), WebhookCipher(settings.secret_keys)
    except SecretsError as error:
        exit_with(str(error))
    if settings.unbound_tokens == "keep":
        exit_with("TIDEMARK_UNBOUND_TOKENS is keep: version 0.1.0 could not read what this command writes")
    registry = Registry(settings, settings)
    unopened = 0
    try:
        of_topics: dict[str, Renewing] = {
            TOKENS: TokensRenewing(registry.codec(TOKENS), cipher),
            WEBHOOKS: WebhooksRenewing(registry.codec(WEBHOOKS), sealer),
        }
        with TopicReader(settings) as reader:
            for name, renewing in of_topics.items():
                topic = KafkaTopic(settings, reader, settings.topic(name))
                done = reencrypt(name, topic, renewing, _tell)
                print(f"{name}: {done.renewed} encrypted anew, {done.current} were already", flush=True)
                for key in done.unopened[:_SHOWN]:
                    print(f"{name}: no key of TIDEMARK_SECRET_KEYS opens {key}; put its tokens or secret again")
                if len(done.unopened) > _SHOWN:
                    print(f"{name}: and {len(done.unopened) - _SHOWN} more that no key opens")
                unopened += len(done.unopened)
    except (RegistryUnavailable, TopicUnreadable, NotWritten) as error:
        exit_with(str(error), 1)
    if unopened:
        return 1
    print("nothing is left of the older keys: they can be taken out of TIDEMARK_SECRET_KEYS, and services restarted")
    return 0


def _tell(what: str, done: int, count: int) -> None:
    print(f"{what}: {done} of {count}", flush=True)
