"""Creates and verifies the topics and their registered schemas, from the files in `schemas/`.

A deploy step (`tidemark topics`): no service creates topics or registers schemas by itself.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from schemas.codec import schema_text
from schemas.topic_specs import TopicSpec, topic_specs
from services.runtime.brokers import BrokersUnavailable
from services.runtime.kafka import confluent_options
from services.runtime.settings import KafkaSettings, RegistrySettings
from services.runtime.wording import counted

_TIMEOUT_SECONDS = 30
_NOT_FOUND = 404


class TopicsError(RuntimeError):
    """A topic or schema can't be made, or differs from its file; the message names it and says what to do."""


class TopicsSettings(KafkaSettings, RegistrySettings):
    """Settings of `tidemark topics`, from the environment (`TIDEMARK_*`)."""


def ensure_topics(kafka: KafkaSettings, registry: RegistrySettings) -> Iterator[str]:
    """Create missing topics and verify existing ones; safe to run twice, and by two processes at once.

    Yields:
        One line for each topic, which tells the operator what was done.

    Raises:
        TopicsError: Kafka or the registry can't be reached, a topic has another number of partitions or another
            clean-up policy, or a schema is not compatible.
    """
    admin = AdminClient({**confluent_options(kafka), "socket.timeout.ms": 10_000, "log_level": 0})
    schemas_by_topic = SchemaRegistryClient(registry.schema_registry_options(15))
    existing = _existing_partitions(admin, kafka)
    # Of all topics before any schema is registered: the ids of a registry that was lost are given to nothing else.
    for spec in topic_specs():
        full = kafka.topic(spec.name)
        if full in existing:
            _require_schemas(admin, schemas_by_topic, full, existing[full])
    for spec in topic_specs():
        full = kafka.topic(spec.name)
        made = full not in existing and _create(admin, full, spec, kafka.topic_partitions)
        if full in existing and existing[full] != kafka.topic_partitions:
            raise TopicsError(
                f"topic {full} has {counted(existing[full], 'partition')}, but TIDEMARK_TOPIC_PARTITIONS is "
                f"{kafka.topic_partitions}; the number can't change once topics exist, since it decides each tenant's "
                "partition: set TIDEMARK_TOPIC_PARTITIONS back"
            )
        changed = [] if made else _align_config(admin, full, spec)
        version = _register(schemas_by_topic, full, spec)
        what = "created" if made else f"updated {', '.join(changed)}" if changed else "verified"
        yield f"{full}: {what}, {counted(kafka.topic_partitions, 'partition')}, schema version {version}"


def incarnation(kafka: KafkaSettings, topics: Iterable[str]) -> str:
    """Names the cluster and topics (names without prefix) as they are now: a topic made anew has another name.

    Raises:
        BrokersUnavailable: no answer, or a topic is not there.
    """
    admin = AdminClient({**confluent_options(kafka), "socket.timeout.ms": 10_000, "log_level": 0})
    names = [kafka.topic(topic) for topic in topics]
    try:
        cluster = admin.describe_cluster(request_timeout=_TIMEOUT_SECONDS).result().cluster_id
        described = admin.describe_topics(TopicCollection(names), request_timeout=_TIMEOUT_SECONDS)
        ids = [described[name].result().topic_id for name in names]
    except KafkaException as error:
        raise BrokersUnavailable(f"the topics can't be looked up: {error.args[0].str()}") from None
    return " ".join([str(cluster), *(f"{name}={id_}" for name, id_ in zip(names, ids, strict=True))])


def living_members(kafka: KafkaSettings, group: str) -> list[str]:
    """The processes that are members of a group (name without prefix) now, by their names.

    Raises:
        BrokersUnavailable: Kafka does not answer.
    """
    admin = AdminClient({**confluent_options(kafka), "socket.timeout.ms": 10_000, "log_level": 0})
    full = f"{kafka.topic_prefix}{group}"
    try:
        found = admin.describe_consumer_groups([full], request_timeout=_TIMEOUT_SECONDS)[full].result()
    except KafkaException as error:
        if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
            return []
        raise BrokersUnavailable(f"the group {full} can't be looked up: {error.args[0].str()}") from None
    return sorted(str(member.group_instance_id or member.client_id) for member in found.members)


def _existing_partitions(admin: AdminClient, kafka: KafkaSettings) -> dict[str, int]:
    try:
        metadata = admin.list_topics(timeout=_TIMEOUT_SECONDS)
    except KafkaException as error:
        raise TopicsError(
            f"Kafka can't be reached at {kafka.kafka_bootstrap} ({error.args[0].str()}); check TIDEMARK_KAFKA_BOOTSTRAP"
        ) from None
    return {name: len(topic.partitions) for name, topic in metadata.topics.items()}


def _create(admin: AdminClient, full: str, spec: TopicSpec, partitions: int) -> bool:
    """Create one topic; returns False when another process created it first."""
    new = NewTopic(full, num_partitions=partitions, replication_factor=-1, config=spec.config)
    try:
        admin.create_topics([new], request_timeout=_TIMEOUT_SECONDS)[full].result()
    except KafkaException as error:
        if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return False
        raise TopicsError(f"topic {full} can't be created: {error.args[0].str()}") from None
    _wait_for_leaders(admin, full)
    return True


def _wait_for_leaders(admin: AdminClient, full: str) -> None:
    """Wait until each partition of a fresh topic has a leader, since it answers no producer before."""
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        partitions = admin.list_topics(full, timeout=_TIMEOUT_SECONDS).topics[full].partitions.values()
        if partitions and all(partition.leader >= 0 for partition in partitions):
            return
        time.sleep(0.05)
    raise TopicsError(f"topic {full} was created but has no leader after {_TIMEOUT_SECONDS} s; look at the brokers")


def _align_config(admin: AdminClient, full: str, spec: TopicSpec) -> list[str]:
    """Set configurations that differ from the file; returns their names. Retention is left to the operator.

    Raises:
        TopicsError: the clean-up policy differs, which must not be changed here.
    """
    resource = ConfigResource(ResourceType.TOPIC, full)
    held = admin.describe_configs([resource])[resource].result(_TIMEOUT_SECONDS)
    if held["cleanup.policy"].value != spec.config["cleanup.policy"]:
        raise TopicsError(
            f"topic {full} has cleanup.policy={held['cleanup.policy'].value}, but it must be"
            f" {spec.config['cleanup.policy']}; alter the topic with your Kafka tools, or set another"
            " TIDEMARK_TOPIC_PREFIX"
        )
    different = [name for name, value in spec.config.items() if name != "retention.ms" and held[name].value != value]
    if different:
        entries = [
            ConfigEntry(name, spec.config[name], incremental_operation=AlterConfigOpType.SET) for name in different
        ]
        change = ConfigResource(ResourceType.TOPIC, full, incremental_configs=entries)
        admin.incremental_alter_configs([change])[change].result(_TIMEOUT_SECONDS)
    return different


def _require_schemas(admin: AdminClient, client: SchemaRegistryClient, full: str, partitions: int) -> None:
    """Refuse to register schemas of a topic with messages in a registry that has none: they would get other ids.

    Raises:
        TopicsError: the registry was lost, or is another one.
    """
    try:
        if client.get_versions(f"{full}-value"):
            return
    except SchemaRegistryError as error:
        if error.http_status_code != _NOT_FOUND:
            raise TopicsError(f"the schemas of {full} can't be looked up: {error.error_message}") from None
    except Exception as error:  # the client lets its HTTP library's errors through
        raise TopicsError(
            f"the schema registry can't be reached ({error}); check TIDEMARK_SCHEMA_REGISTRY_URL"
        ) from None
    places = [TopicPartition(full, number) for number in range(partitions)]
    ends: dict[int, int] = {}
    # The client's constructors of these have no types.
    for spec in (OffsetSpec.latest(), OffsetSpec.earliest()):  # type: ignore[no-untyped-call]
        for place, found in admin.list_offsets(dict.fromkeys(places, spec), request_timeout=_TIMEOUT_SECONDS).items():
            offset = found.result().offset
            ends[place.partition] = ends[place.partition] - offset if place.partition in ends else offset
    if any(ends.values()):
        raise TopicsError(
            f"{full} holds messages, and the registry has no schema of it: each message names its schema by the id "
            "that it had. Restore the ids by `tidemark backup restore FILE --lost registry` (on one machine "
            "under `tidemark up` without topics and services), or check TIDEMARK_SCHEMA_REGISTRY_URL"
        )


def _register(client: SchemaRegistryClient, full: str, spec: TopicSpec) -> int:
    subject = f"{full}-value"
    try:
        for version in spec.versions:
            client.register_schema(subject, Schema(schema_text(spec.name, version), "AVRO"))
        client.set_compatibility(subject_name=subject, level=spec.compatibility)
        return int(client.get_latest_version(subject).version or 0)
    except SchemaRegistryError as error:
        raise TopicsError(f"the schema of {full} can't be registered: {error.error_message}") from None
    except Exception as error:  # the client lets its HTTP library's errors through
        raise TopicsError(
            f"the schema registry can't be reached ({error}); check TIDEMARK_SCHEMA_REGISTRY_URL"
        ) from None
