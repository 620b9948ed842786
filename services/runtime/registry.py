"""Reads schemas by id and ids by topic from a Confluent-compatible registry, and makes codecs with them.

`tidemark topics`, a deploy step, registers the newest schemas, and a restore those of its backup; no service does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from schemas.codec import Codec, RawCodec, RecordCodec, codec, schema_text
from schemas.encoder import Encode, wire_encoder
from schemas.topic_names import RAW
from schemas.writers import SchemasAway
from services.runtime.logging import get_logger
from services.runtime.settings import KafkaSettings, RegistrySettings

# Confluent's code for "schema not found".
_SCHEMA_NOT_FOUND = 40403
# How registries refuse an id that they would never give. Any other status means that the registry can't answer now.
_NO_ID = frozenset({400, 404, 422})
_RETRY_SECONDS = 1.0
_VERSIONS_MAX = 100

_log = get_logger(__name__)
Made = TypeVar("Made")


class RegistryUnavailable(SchemasAway):
    """The registry did not answer, or lacks the newest schema; run `tidemark topics`, or try again."""


@dataclass(frozen=True, slots=True)
class Registered:
    """One version of a subject's schema, as the registry holds it."""

    version: int
    id: int
    text: str


class Registry:
    """Makes codecs for topics, with the registry's schema ids."""

    def __init__(self, registry: RegistrySettings, kafka: KafkaSettings) -> None:
        self._registry = registry
        self._options = registry.schema_registry_options(10)
        self._connected = SchemaRegistryClient(self._options)
        self._kafka = kafka
        self._ids: dict[tuple[str, int], int] = {}

    @property
    def _client(self) -> SchemaRegistryClient:
        # The address holds the password, which a reload may have changed.
        options = self._registry.schema_registry_options(10)
        if options != self._options:
            self._options, self._connected = options, SchemaRegistryClient(options)
        return self._connected

    def schema_id(self, topic: str) -> int:
        """The registry's id of the newest schema of a topic (name without prefix).

        Raises:
            RegistryUnavailable: the registry does not answer, or the schema is not registered.
        """
        from confluent_kafka.schema_registry import Schema

        subject = f"{self._kafka.topic(topic)}-value"
        try:
            found = self._client.lookup_schema(subject, Schema(schema_text(topic), "AVRO"))
        except SchemaRegistryError as error:
            raise RegistryUnavailable(
                f"the newest schema of {subject} is not registered ({error.error_message}); run `tidemark topics`"
            ) from None
        except Exception as error:  # the client lets its HTTP library's errors through
            raise RegistryUnavailable(f"the schema registry can't be reached: {error}") from None
        if found.schema_id is None:
            raise RegistryUnavailable(f"the registry gave no id for {subject}")
        return int(found.schema_id)

    def registered(self, topic: str, text: str) -> int:
        """The registry's id of a schema of a topic (name without prefix), which is registered if it is new.

        Raises:
            RegistryUnavailable: the registry does not answer, or refuses the schema.
        """
        from confluent_kafka.schema_registry import Schema

        try:
            return int(self._client.register_schema(f"{self._kafka.topic(topic)}-value", Schema(text, "AVRO")))
        except SchemaRegistryError as error:
            raise RegistryUnavailable(f"a schema of {topic} can't be registered: {error.error_message}") from None
        except Exception as error:  # the client lets its HTTP library's errors through
            raise RegistryUnavailable(f"the schema registry can't be reached: {error}") from None

    def versions(self, topic: str) -> list[Registered]:
        """Every version of a topic's schema (name without prefix), ascending; [] when none is registered.

        Raises:
            RegistryUnavailable: the registry does not answer.
        """
        subject = f"{self._kafka.topic(topic)}-value"
        numbers = self._found(partial(self._client.get_versions, subject)) or []
        found = [self._found(partial(self._client.get_version, subject, number)) for number in numbers]
        held = [
            Registered(int(one.version or 0), int(one.schema_id or 0), one.schema.schema_str or "")
            for one in found
            if one is not None
        ]
        return sorted(held, key=lambda one: one.version)

    def ids(self, topic: str) -> frozenset[int]:
        """The ids of a topic's schema (name without prefix), in one request where no version is new.

        Of more than 100 versions only the newest: whoever registers versions must not make everybody's start longer.

        Raises:
            RegistryUnavailable: the registry does not answer.
        """
        subject = f"{self._kafka.topic(topic)}-value"
        numbers = sorted(self._found(partial(self._client.get_versions, subject)) or [])[-_VERSIONS_MAX:]
        for number in numbers:
            if (subject, number) not in self._ids:
                version = self._found(partial(self._client.get_version, subject, number))
                if version is not None:
                    self._ids[subject, number] = int(version.schema_id or 0)
        return frozenset(self._ids[subject, number] for number in numbers if (subject, number) in self._ids)

    def _found(self, call: Callable[[], Made], refusals: Collection[int] = (404,)) -> Made | None:
        """What the registry answers; None where it has no such thing.

        Args:
            refusals: the statuses of an answer that say so.

        Raises:
            RegistryUnavailable: the registry does not answer.
        """
        try:
            return call()
        except SchemaRegistryError as error:
            if error.http_status_code in refusals or error.error_code == _SCHEMA_NOT_FOUND:
                return None
            raise RegistryUnavailable(f"the schema registry can't answer: {error.error_message}") from None
        except Exception as error:  # the client lets its HTTP library's errors through
            raise RegistryUnavailable(f"the schema registry can't be reached: {error}") from None

    def fetch_schema(self, schema_id: int) -> str:
        """The Avro schema with an id, as JSON text.

        Raises:
            KeyError: the registry has no schema with this id, or the schema is not Avro.
            RegistryUnavailable: the registry does not answer.
        """
        found = self._found(partial(self._client.get_schema, schema_id), _NO_ID)
        if found is None:
            raise KeyError(f"the registry doesn't know schema {schema_id}")
        if found.schema_str is None:
            raise KeyError(f"the registry has no text of schema {schema_id}")
        if found.schema_type not in (None, "AVRO"):
            raise KeyError(f"it is a {found.schema_type} schema, not Avro")
        return found.schema_str

    def codec(self, topic: str) -> Codec[Any]:
        """A codec of a topic with typed events, which can encode and decode.

        It has every version of the topic's schema at hand, so that the registry is asked again only for ids that were
        invented or registered later.

        Raises:
            RegistryUnavailable: the registry does not answer, or lacks the newest schema.
        """
        own = self.schema_id(topic)
        made = codec(
            topic,
            schema_id=own,
            fetch_schema=self.fetch_schema,
            list_ids=partial(self.ids, topic),
        )
        made.load({own, *self.ids(topic)})
        return made

    def raw_codec(self) -> RawCodec:
        """The codec of `platform.raw`, which can encode and decode."""
        made = self.codec(RAW)
        assert isinstance(made, RawCodec)
        return made

    def record_codec(self, topic: str) -> RecordCodec:
        """A codec of a topic that is written as plain records; see `codec`."""
        own = self.schema_id(topic)
        made = RecordCodec(
            topic,
            schema_id=own,
            fetch_schema=self.fetch_schema,
            list_ids=partial(self.ids, topic),
        )
        made.load({own, *self.ids(topic)})
        return made

    def encoder(self, topic: str, run: Sequence[str] = ()) -> Encode:
        """A fast encoder of a topic's values from positional fields, for topics written in bulk.

        Args:
            run: see `schemas.encoder.compile_encoder`.
        """
        return wire_encoder(schema_text(topic), self.schema_id(topic), run)


async def once_registered(make: Callable[[], Made]) -> Made:
    """What is made in a thread with schemas of the registry; tried again until the registry has them all."""
    while True:
        try:
            return await asyncio.to_thread(make)
        except RegistryUnavailable as error:
            _log.warning("schemas are missing; trying again", error=str(error))
            await asyncio.sleep(_RETRY_SECONDS)
