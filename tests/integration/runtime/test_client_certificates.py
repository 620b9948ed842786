"""Client certificates (mTLS) for Kafka and ClickHouse, against listeners that let nobody in without one."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import clickhouse_connect
import pytest

from infra.embedded.kafka import Broker, single_broker
from infra.embedded.ports import free_ports
from services.runtime.brokers import BrokersUnavailable
from services.runtime.kafka_brokers import KafkaBrokers
from services.runtime.neighbours import ask_clickhouse, ask_kafka
from services.runtime.settings import ClickHouseSettings, KafkaSettings
from tests.support.certificates import Certificates, make_certificates
from tests.support.engines import EmbeddedEngines


@dataclass(frozen=True)
class AskingBroker(Broker):
    """A broker with a second listener, which asks each client for its certificate."""

    asking_port: int = 0
    keys: Path = Path()
    authorities: Path = Path()

    def properties(self) -> dict[str, str]:
        plain = super().properties()
        listener = f"ASKING://127.0.0.1:{self.asking_port}"
        return {
            **plain,
            "listeners": f"{plain['listeners']},{listener}",
            "advertised.listeners": f"{plain['advertised.listeners']},{listener}",
            "listener.security.protocol.map": f"{plain['listener.security.protocol.map']},ASKING:SSL",
            "listener.name.asking.ssl.client.auth": "required",
            "listener.name.asking.ssl.keystore.type": "PEM",
            "listener.name.asking.ssl.keystore.location": str(self.keys),
            "listener.name.asking.ssl.truststore.type": "PEM",
            "listener.name.asking.ssl.truststore.location": str(self.authorities),
        }


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def files_of(name: str, held: Certificates) -> dict[str, str]:
    return {
        f"{name}_ssl_cafile": str(held.authority),
        f"{name}_ssl_certfile": str(held.client),
        f"{name}_ssl_keyfile": str(held.client_key),
    }


@pytest.mark.long
async def test_kafka_lets_a_client_in_by_its_certificate(engines: object, certificates: Certificates) -> None:
    if not isinstance(engines, EmbeddedEngines):
        pytest.skip("starts a broker of its own: runs with --engines=embedded only")
    port, controller, asking = free_ports(3)
    plain = single_broker(Path(engines.folder / "asking-kafka"), port, controller)
    broker = AskingBroker(
        plain.node_id, plain.folder, port, controller, plain.voters, plain.cluster_id, asking,
        certificates.server.with_suffix(".pem"), certificates.authority,
    )  # fmt: skip
    broker.prepare()
    engines.start("asking-kafka", broker.command(), broker.answers)
    told = {"kafka_bootstrap": f"127.0.0.1:{asking}", "kafka_security_protocol": "SSL"}
    known = KafkaSettings.model_validate({**told, **files_of("kafka", certificates)})
    assert ask_kafka(known) is None
    assert await KafkaBrokers(known).partition_counts(["none"]) == {"none": 0}
    stranger = KafkaSettings.model_validate({**told, "kafka_ssl_cafile": str(certificates.authority)})
    assert ask_kafka(stranger) is not None
    with pytest.raises(BrokersUnavailable):
        await KafkaBrokers(stranger).partition_counts(["none"])


@contextmanager
def asking_proxy(held: Certificates, behind: tuple[str, int]) -> Iterator[int]:
    """A port that asks each client for its certificate, and then passes bytes on to an address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(held.server, held.server_key)
    context.load_verify_locations(held.authority)
    context.verify_mode = ssl.CERT_REQUIRED

    def pass_on(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while content := source.recv(65536):
                target.sendall(content)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def serve(accepted: socket.socket) -> None:
        with (
            suppress(OSError),
            context.wrap_socket(accepted, server_side=True) as client,
            socket.create_connection(behind) as server,
        ):
            back = threading.Thread(target=pass_on, args=(server, client), daemon=True)
            back.start()
            pass_on(client, server)
            back.join(10)

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


async def test_clickhouse_lets_a_client_in_by_its_certificate(engines: object, certificates: Certificates) -> None:
    if not isinstance(engines, EmbeddedEngines):
        pytest.skip("needs the engine's own address: runs with --engines=embedded only")
    plain = ClickHouseSettings.model_validate({"clickhouse_url": engines.clickhouse_url}).clickhouse_connection()
    with asking_proxy(certificates, (plain["host"], plain["port"])) as port:
        told = {"clickhouse_url": f"https://{plain['username']}:{plain['password']}@127.0.0.1:{port}/default"}
        known = ClickHouseSettings.model_validate({**told, **files_of("clickhouse", certificates)})
        assert ask_clickhouse(known) is None
        client = clickhouse_connect.get_client(**known.clickhouse_connection())
        assert client.query("SELECT 42").result_rows == [(42,)]
        client.close()
        asynchronous = await clickhouse_connect.get_async_client(**known.clickhouse_connection())
        assert (await asynchronous.query("SELECT 42")).result_rows == [(42,)]
        await asynchronous.close()
        stranger = ClickHouseSettings.model_validate({**told, "clickhouse_ssl_cafile": str(certificates.authority)})
        problem = ask_clickhouse(stranger)
        assert problem is not None
        assert plain["password"] not in problem.text
