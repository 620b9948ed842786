"""The embedded broker with SASL (SCRAM) and an authorizer: who has no ACL may do nothing.

A second listener without SASL, whose users are super users, is for the test's own clients.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from confluent_kafka.admin import (
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from infra.embedded.kafka import HOST, Broker, single_broker
from infra.embedded.ports import free_ports
from schemas.kafka_rights import Right
from services.runtime.acls import grant
from services.runtime.settings import KafkaSettings
from tests.support.engines import EmbeddedEngines
from tests.support.waiting import wait_until

MECHANISM = "SCRAM-SHA-256"


@dataclass(frozen=True)
class SecuredBroker(Broker):
    """A broker whose listener `SASL` lets a user do what the user's ACLs allow."""

    sasl_port: int = 0

    def properties(self) -> dict[str, str]:
        plain = super().properties()
        sasl = f"SASL://{HOST}:{self.sasl_port}"
        return {
            **plain,
            "listeners": f"{plain['listeners']},{sasl}",
            "advertised.listeners": f"{plain['advertised.listeners']},{sasl}",
            "listener.security.protocol.map": f"{plain['listener.security.protocol.map']},SASL:SASL_PLAINTEXT",
            "sasl.enabled.mechanisms": MECHANISM,
            "listener.name.sasl.sasl.enabled.mechanisms": MECHANISM,
            "listener.name.sasl.scram-sha-256.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "false",
            "super.users": "User:ANONYMOUS",
        }


class SecuredKafka:
    """The broker, running, with users and their rights."""

    def __init__(self, engines: EmbeddedEngines) -> None:
        port, controller_port, sasl_port = free_ports(3)
        plain = single_broker(Path(engines.folder / "secured-kafka"), port, controller_port)
        self._broker = SecuredBroker(
            plain.node_id, plain.folder, plain.port, plain.controller_port, plain.voters, plain.cluster_id, sasl_port
        )
        self._broker.prepare()
        engines.start("secured-kafka", self._broker.command(), self._broker.answers)
        self._admin = AdminClient({"bootstrap.servers": self.plain_bootstrap, "log_level": 0})
        self._passwords: dict[str, str] = {}

    @property
    def plain_bootstrap(self) -> str:
        """Of the listener whose users may do everything."""
        return self._broker.bootstrap

    @property
    def sasl_bootstrap(self) -> str:
        """Of the listener whose users have names."""
        return f"{HOST}:{self._broker.sasl_port}"

    def settings_of(self, user: str) -> dict[str, str]:
        """The settings of a service that connects as a user; the user is made when first asked for."""
        if user not in self._passwords:
            self._passwords[user] = secrets.token_hex(12)
            change = UserScramCredentialUpsertion(
                user, ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096), self._passwords[user].encode()
            )
            for made in self._admin.alter_user_scram_credentials([change]).values():
                made.result(20)
        return {
            "TIDEMARK_KAFKA_BOOTSTRAP": self.sasl_bootstrap,
            "TIDEMARK_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            "TIDEMARK_KAFKA_SASL_MECHANISM": MECHANISM,
            "TIDEMARK_KAFKA_SASL_USERNAME": user,
            "TIDEMARK_KAFKA_SASL_PASSWORD": self._passwords[user],
        }

    def set_rights(self, rights: Mapping[str, Sequence[Right]]) -> None:
        """Give users exactly these rights, by the product's own code, and wait until the broker holds them."""
        for user in rights:
            for removed in self._admin.delete_acls([_all_of(user)]).values():
                removed.result(20)
        settings = KafkaSettings(kafka_bootstrap=self.plain_bootstrap)
        list(grant(settings, {f"User:{user}": held for user, held in rights.items()}))
        for user, held in rights.items():
            wanted = sum(len(right.operations) for right in held)
            wait_until(partial(self._holds, user, wanted), 20, f"the ACLs of {user}")

    def _holds(self, user: str, count: int) -> bool:
        return len(self._admin.describe_acls(_all_of(user)).result(20)) == count


def _all_of(user: str) -> AclBindingFilter:
    anything: Any = None
    return AclBindingFilter(
        ResourceType.ANY,
        anything,
        ResourcePatternType.ANY,
        f"User:{user}",
        anything,
        AclOperation.ANY,
        AclPermissionType.ANY,
    )
