"""The broker of `tidemark up --secure`: SASL_SSL with SCRAM for every client, and an authorizer that denies by default.

Broker and controller are one process; the broker shows its certificate to the controller, whose port takes nobody else.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.embedded.kafka import HOST, Broker, single_broker
from infra.embedded.secured import BROKER, MECHANISM, SETUP, Secured, kafka_user

_LOGIN = "org.apache.kafka.common.security.scram.ScramLoginModule"


@dataclass(frozen=True)
class SecureBroker(Broker):
    """A broker on which nobody may do anything but the users that were given rights.

    Attributes:
        keys: PEM file of the broker's key and certificate.
        authorities: PEM file of the authority that signs all certificates.
        setup_password: of the user that makes the other users.
    """

    keys: Path = Path()
    authorities: Path = Path()
    setup_password: str = ""

    def properties(self) -> dict[str, str]:
        plain = super().properties()
        setup = kafka_user(SETUP)
        tls = {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self.keys),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.authorities),
        }
        return {
            **plain,
            **tls,
            "listeners": f"SASL_SSL://{self.bootstrap},CONTROLLER://{HOST}:{self.controller_port}",
            "advertised.listeners": f"SASL_SSL://{self.bootstrap}",
            "listener.security.protocol.map": "CONTROLLER:SSL,SASL_SSL:SASL_SSL",
            "inter.broker.listener.name": "SASL_SSL",
            "listener.name.controller.ssl.client.auth": "required",
            # A certificate's user is its common name.
            "listener.name.controller.ssl.principal.mapping.rules": "RULE:^CN=([^,]+).*$/$1/",
            "ssl.principal.mapping.rules": "RULE:^CN=([^,]+).*$/$1/",
            "sasl.enabled.mechanisms": MECHANISM,
            "sasl.mechanism.inter.broker.protocol": MECHANISM,
            f"listener.name.sasl_ssl.{MECHANISM.lower()}.sasl.jaas.config": (
                f'{_LOGIN} required username="{setup}" password="{self.setup_password}";'
            ),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "false",
            "super.users": f"User:{BROKER};User:{setup}",
        }

    def client_options(self) -> dict[str, Any]:
        return {
            **super().client_options(),
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": MECHANISM,
            "sasl.username": kafka_user(SETUP),
            "sasl.password": self.setup_password,
            "ssl.ca.location": str(self.authorities),
        }

    def format_arguments(self) -> list[str]:
        return ["--add-scram", f"{MECHANISM}=[name={kafka_user(SETUP)},password={self.setup_password}]"]


def secure_broker(folder: Path, port: int, controller_port: int, secured: Secured) -> SecureBroker:
    """The one broker of `tidemark up --secure`."""
    plain = single_broker(folder, port, controller_port)
    return SecureBroker(
        plain.node_id,
        plain.folder,
        plain.port,
        plain.controller_port,
        plain.voters,
        plain.cluster_id,
        secured.broker.both,
        secured.authority.certificate,
        secured.passwords.kafka[SETUP],
    )
