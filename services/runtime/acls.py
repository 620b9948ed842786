"""Rights in Kafka: gives principals theirs, and finds what the own principal lacks.

Comes in: the rights that `schemas.kafka_rights` derives. Goes out: ACLs in Kafka, or one line for each missing right.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from confluent_kafka import KafkaError, KafkaException, Producer, TopicCollection
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialAlteration,
    UserScramCredentialUpsertion,
)

from schemas.kafka_rights import Names, Right
from services.runtime.kafka import confluent_options
from services.runtime.settings import KafkaSettings

_TIMEOUT_SECONDS = 15
_ANSWER_SECONDS = 5.0
# Kafka's least.
_ITERATIONS = 4096
_OPERATIONS = {
    "Read": AclOperation.READ,
    "Write": AclOperation.WRITE,
    "Describe": AclOperation.DESCRIBE,
    "Create": AclOperation.CREATE,
    "DescribeConfigs": AclOperation.DESCRIBE_CONFIGS,
    "AlterConfigs": AclOperation.ALTER_CONFIGS,
}
_TYPES = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional-id": ResourceType.TRANSACTIONAL_ID,
}
_REFUSED = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)
# A topic that its asker may not describe answers like a topic that is not there.
_HIDDEN = frozenset({*_REFUSED, KafkaError.UNKNOWN_TOPIC_OR_PART})


class AclsSettings(KafkaSettings):
    """Settings of `tidemark topics --acls`: the groups that the services are told to use."""

    aggregator_group: str = Names().aggregator_group
    poller_group: str = Names().poller_group
    notifier_group: str = Names().notifier_group


class AclsError(RuntimeError):
    """The ACLs can't be set; the message says why and what to do."""


def installation(settings: KafkaSettings) -> Names:
    """The names under which an installation's services meet, from whichever settings hold them."""
    default = Names()
    return Names(
        settings.topic_prefix,
        getattr(settings, "aggregator_group", default.aggregator_group),
        getattr(settings, "poller_group", default.poller_group),
        getattr(settings, "notifier_group", default.notifier_group),
    )


def grant(settings: KafkaSettings, rights: Mapping[str, Sequence[Right]]) -> Iterator[str]:
    """Create the ACLs; ACLs that are there already are left as they are, and none is removed.

    Args:
        rights: by principal, such as `User:tidemark-poller`.

    Yields:
        one line for each principal.

    Raises:
        AclsError: Kafka can't be reached, has no authorizer, or refuses this principal (which needs Alter on the
            cluster).
    """
    admin = AdminClient({**confluent_options(settings), "socket.timeout.ms": 10_000, "log_level": 0})
    for principal, held in rights.items():
        bindings = [_binding(right, principal, verb) for right in held for verb in right.operations]
        try:
            for made in admin.create_acls(bindings, request_timeout=_TIMEOUT_SECONDS).values():
                made.result()
        except KafkaException as error:
            raise AclsError(
                f"the ACLs of {principal} can't be created: {error.args[0].str()}; the user of"
                " TIDEMARK_KAFKA_SASL_USERNAME needs Alter on the cluster, and the brokers an authorizer"
            ) from None
        yield f"{principal}: {len(bindings)} ACLs"


def users_there(settings: KafkaSettings, users: Sequence[str]) -> frozenset[str]:
    """Those of the users that have a password of SCRAM.

    Raises:
        AclsError: Kafka can't be reached, or refuses this principal (which needs Describe on the cluster).
    """
    admin = AdminClient({**confluent_options(settings), "socket.timeout.ms": 10_000, "log_level": 0})
    found = set()
    try:
        described = admin.describe_user_scram_credentials(list(users), request_timeout=_TIMEOUT_SECONDS)
        assert isinstance(described, dict), "of named users each has an answer of its own"
        for user, asked in described.items():
            try:
                if asked.result().scram_credential_infos:
                    found.add(user)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.RESOURCE_NOT_FOUND:
                    raise
    except KafkaException as error:
        raise AclsError(f"Kafka's users can't be looked up: {_why_not(error)}") from None
    return frozenset(found)


def make_users(settings: KafkaSettings, passwords: Mapping[str, str], mechanism: str = "SCRAM-SHA-512") -> None:
    """Make users who log in by SCRAM, or give them these passwords.

    Args:
        mechanism: SCRAM-SHA-256 or SCRAM-SHA-512.

    Raises:
        AclsError: Kafka can't be reached, or refuses this principal (which needs Alter on the cluster).
    """
    admin = AdminClient({**confluent_options(settings), "socket.timeout.ms": 10_000, "log_level": 0})
    credentials = ScramCredentialInfo(ScramMechanism[mechanism.replace("-", "_")], _ITERATIONS)
    changes: list[UserScramCredentialAlteration] = [
        UserScramCredentialUpsertion(user, credentials, password.encode()) for user, password in passwords.items()
    ]
    try:
        for made in admin.alter_user_scram_credentials(changes, request_timeout=_TIMEOUT_SECONDS).values():
            made.result()
    except KafkaException as error:
        raise AclsError(f"Kafka's users can't be made: {_why_not(error)}") from None


def _why_not(error: KafkaException) -> str:
    return f"{error.args[0].str()}; the user of TIDEMARK_KAFKA_SASL_USERNAME needs Describe and Alter on the cluster"


def _binding(right: Right, principal: str, verb: str) -> AclBinding:
    return AclBinding(
        _TYPES[right.resource],
        right.name,
        ResourcePatternType.PREFIXED if right.is_prefix else ResourcePatternType.LITERAL,
        principal,
        "*",
        _OPERATIONS[verb],
        AclPermissionType.ALLOW,
    )


def missing_rights(settings: KafkaSettings, rights: Iterable[Right]) -> list[Right]:
    """Ask Kafka which of the needed rights the own principal lacks.

    Returns:
        only the operations that are lacking, by resource; [] as well where Kafka does not answer, since the caller then
        waits for Kafka. Of groups that are named by a prefix nothing is asked.
    """
    needed = list(rights)
    admin = AdminClient({**confluent_options(settings), "socket.timeout.ms": 5_000, "log_level": 0})
    try:
        found = [*_lacking_on_topics(admin, needed), *_lacking_on_groups(admin, needed)]
    except KafkaException:
        return []
    return found + [right for right in needed if right.resource == "transactional-id" and _is_refused(settings, right)]


def _lacking_on_topics(admin: AdminClient, needed: Sequence[Right]) -> Iterator[Right]:
    by_name = {right.name: right for right in needed if right.resource == "topic"}
    if not by_name:
        return
    described = admin.describe_topics(
        TopicCollection(list(by_name)), include_authorized_operations=True, request_timeout=_ANSWER_SECONDS
    )
    for name, right in by_name.items():
        try:
            yield from _less(right, described[name].result().authorized_operations)
        except KafkaException as error:
            if error.args[0].code() not in _HIDDEN:
                raise
            yield right


def _lacking_on_groups(admin: AdminClient, needed: Sequence[Right]) -> Iterator[Right]:
    by_name = {right.name: right for right in needed if right.resource == "group" and not right.is_prefix}
    if not by_name:
        return
    described = admin.describe_consumer_groups(
        list(by_name), include_authorized_operations=True, request_timeout=_ANSWER_SECONDS
    )
    for name, right in by_name.items():
        try:
            yield from _less(right, described[name].result().authorized_operations)
        except KafkaException as error:
            code = error.args[0].code()
            if code in _REFUSED:
                yield right
            elif code != KafkaError.GROUP_ID_NOT_FOUND:
                raise


def _less(right: Right, allowed: Iterable[AclOperation] | None) -> Iterator[Right]:
    """The right's operations that are not allowed; nothing where the broker does not tell."""
    if allowed is None:
        return
    held = set(allowed)
    lacking = tuple(verb for verb in right.operations if _OPERATIONS[verb] not in held)
    if lacking:
        yield Right(right.resource, right.name, lacking, right.is_prefix)


def _is_refused(settings: KafkaSettings, right: Right) -> bool:
    """Whether a transactional id is refused: only its use shows that. The id used belongs to no partition."""
    producer = Producer({**confluent_options(settings), "transactional.id": f"{right.name}rights", "log_level": 0})
    try:
        producer.init_transactions(_ANSWER_SECONDS)
    except KafkaException as error:
        return bool(error.args[0].code() in _REFUSED)
    return False
