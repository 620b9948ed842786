"""At SIGHUP secrets and certificates are read again, and what can't be read leaves everything as it was."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.embedded.authority import Authority
from services.query_api.serving.auth import AdminKey
from services.query_api.settings import QueryApiSettings
from services.runtime import tls
from services.runtime.reloading import Reloading
from services.runtime.secrets import TokenCipher, TokenPair
from services.runtime.settings import KafkaSettings
from services.runtime.tls import TlsFiles

OWNER = ("w", "c")
OLD, NEW = "an-old-key-of-sixteen-characters", "a-new-key-of-sixteen-characters"


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Path]:
    """A file for each secret of the query API, named by the environment."""
    for name in [name for name in os.environ if name.startswith("TIDEMARK_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TIDEMARK_KAFKA_BOOTSTRAP", "127.0.0.1:9092")
    monkeypatch.setenv("TIDEMARK_SCHEMA_REGISTRY_URL", "http://127.0.0.1:8081")
    held = {
        "ADMIN_KEY": "admin-key-one",
        "SECRET_KEYS": OLD,
        "KAFKA_SASL_PASSWORD": "kafka-one",
        "CLICKHOUSE_URL": "http://u:one@127.0.0.1:1/d",
    }
    for name, value in held.items():
        (tmp_path / name).write_text(value)
        monkeypatch.setenv(f"TIDEMARK_{name}_FILE", str(tmp_path / name))
    return {name: tmp_path / name for name in held}


async def test_a_signal_brings_new_secrets_to_all_who_hold_the_settings(files: dict[str, Path]) -> None:
    settings = QueryApiSettings.load()
    cipher, reloading, seen = TokenCipher(settings.secret_keys), Reloading(settings), asyncio.Event()
    reloading.then(lambda: cipher.rekey(settings.secret_keys))
    reloading.then(seen.set)
    reloading.at_signal()
    before = cipher.encrypt(TokenPair("t", None), OWNER)
    files["SECRET_KEYS"].write_text(f"{NEW},{OLD}\n")
    files["CLICKHOUSE_URL"].write_text("http://u:two@127.0.0.1:1/d")
    files["KAFKA_SASL_PASSWORD"].write_text("kafka-two")
    os.kill(os.getpid(), signal.SIGHUP)
    await asyncio.wait_for(seen.wait(), 10)
    asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)
    assert settings.clickhouse_connection()["password"] == "two"
    assert settings.kafka_sasl_password is not None
    assert settings.kafka_sasl_password.get_secret_value() == "kafka-two"
    assert not cipher.is_newest(before, OWNER)
    assert cipher.decrypt(before, OWNER) == TokenPair("t", None)
    assert TokenCipher([NEW]).is_newest(cipher.encrypt(TokenPair("t", None), OWNER), OWNER)


def test_what_cant_be_read_changes_nothing(files: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    settings = QueryApiSettings.load()
    reloading, taken = Reloading(settings), list[str]()
    reloading.then(lambda: taken.append("called"))
    files["ADMIN_KEY"].write_text("admin-key-two")
    files["SECRET_KEYS"].unlink()
    reloading.now()
    assert settings.admin_key is not None
    assert settings.admin_key.get_secret_value() == "admin-key-one"
    assert not taken
    assert "TIDEMARK_SECRET_KEYS_FILE" in (said := "".join(capsys.readouterr()))
    assert "admin-key-two" not in said


def test_a_key_that_is_too_short_leaves_the_keys_and_the_other_secrets_go_on(files: dict[str, Path]) -> None:
    settings = QueryApiSettings.load()
    cipher, admin_key = TokenCipher(settings.secret_keys), AdminKey("admin-key-one")
    reloading = Reloading(settings)
    reloading.then(lambda: cipher.rekey(settings.secret_keys))
    reloading.then(lambda: admin_key.rekey(settings.admin_key.get_secret_value() if settings.admin_key else None))
    files["SECRET_KEYS"].write_text("short")
    files["ADMIN_KEY"].write_text("admin-key-two")
    reloading.now()
    assert TokenCipher([OLD]).is_newest(cipher.encrypt(TokenPair("t", None), OWNER), OWNER)
    admin_key.check([(b"authorization", b"Bearer admin-key-two")])


@contextmanager
def asking_for_certificates(authority: Authority) -> Iterator[tuple[int, list[str]]]:
    """A server that asks every client for its certificate; its port, and the serial numbers that it saw."""
    server = authority.issue("server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.certificate, server.key)
    context.load_verify_locations(authority.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    seen: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                try:
                    with context.wrap_socket(connection, server_side=True) as secured:
                        seen.append(str((secured.getpeercert() or {})["serialNumber"]))
                        secured.sendall(b"ok")
                except OSError:
                    seen.append("refused")

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1], seen
        listener.shutdown(socket.SHUT_RDWR)


def connect(context: ssl.SSLContext, port: int) -> bytes:
    with (
        socket.create_connection(("127.0.0.1", port), 10) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
    ):
        return secured.recv(2)


def test_a_client_shows_its_certificate_and_a_renewed_one_after_the_signal(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    client = authority.issue("client")
    files = TlsFiles(str(authority.certificate), str(client.certificate), str(client.key))
    with asking_for_certificates(authority) as (port, seen):
        context = files.context()
        assert connect(context, port) == b"ok"
        for path in (client.certificate, client.key, client.both):
            path.unlink()
        authority.issue("client")
        # Until the signal the client is who it was.
        assert connect(context, port) == b"ok"
        assert tls.renew() == []
        assert connect(context, port) == b"ok"
        assert seen[0] == seen[1] != seen[2]
        client.certificate.write_text("damaged")
        (problem,) = tls.renew()
        assert str(client.certificate) in problem
        assert connect(context, port) == b"ok"
        # Without a certificate the server hangs up.
        with pytest.raises(OSError):
            assert connect(TlsFiles(str(authority.certificate)).context(), port) == b"ok"


def test_kafkas_contexts_are_renewed(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    settings = KafkaSettings.model_validate(
        {
            "kafka_bootstrap": "127.0.0.1:1",
            "kafka_security_protocol": "SSL",
            "kafka_ssl_cafile": str(authority.certificate),
        }
    )
    held = settings.kafka_tls.context()
    assert held in tls._in_use
    del held
