"""One try against receivers that behave in every way, on real sockets of this machine: each failure is an outcome."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpcore
import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from schemas.notices import DeliveryStatus, WebhookDelivery
from services.notifier import signing
from services.notifier.sending import Sender
from services.runtime import addresses
from services.runtime.clock import SystemClock
from services.runtime.resolving import Resolver
from services.runtime.sealing import SigningSecrets, WebhookCipher, new_secret
from tests.support.receiver import Receiver, receiving, receiving_in_a_thread
from tests.support.webhooks import CIPHER, webhook

CLOCK = SystemClock()
SECRET, OLD = new_secret(), new_secret()


def delivery(id_: str = "msg_1", content: str = '{"channel_id":"c1"}') -> WebhookDelivery:
    now = CLOCK.now()
    return WebhookDelivery(
        "w1", "h1", id_, "account.recovered", 1_793_620_800_120, content, DeliveryStatus.PENDING, 0, now, now
    )


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


@pytest.fixture
def receiver_url() -> Iterator[str]:
    """The address of a receiver in a thread of its own, which takes everything."""
    with receiving_in_a_thread() as made:
        yield made.url("ok")


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    made = Sender(CIPHER, CLOCK, allows_private=True, seconds=0.5)
    yield made
    await made.close()


async def test_a_receiver_verifies_a_delivery_by_the_library(receiver: Receiver, sender: Sender) -> None:
    held = webhook(url=receiver.url("ok?x=1"), secrets=SigningSecrets(SECRET))
    outcome = await sender.send(held, delivery())
    assert (outcome.status, outcome.answer, outcome.error) == (200, "taken", "")
    (request,) = receiver.requests
    told = Verifier(SECRET).verify(request.body, request.headers)
    assert told == {
        "type": "account.recovered", "timestamp": "2026-11-02T12:00:00.120Z", "data": {"channel_id": "c1"},
    }  # fmt: skip
    assert request.path == "/ok?x=1"
    assert (request.headers["webhook-id"], request.headers["content-type"]) == ("msg_1", "application/json")
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    with pytest.raises(WebhookVerificationError):
        Verifier(OLD).verify(request.body, request.headers)


async def test_after_a_rotation_both_secrets_verify_until_the_overlap_ends(receiver: Receiver, sender: Sender) -> None:
    both = SigningSecrets(SECRET, OLD)
    now = CLOCK.now()
    await sender.send(webhook(url=receiver.url("ok"), secrets=both, previous_until=now + 60_000), delivery())
    await sender.send(webhook(url=receiver.url("ok"), secrets=both, previous_until=now - 1), delivery())
    during, after = receiver.requests
    for secret in (SECRET, OLD):
        Verifier(secret).verify(during.body, during.headers)
    Verifier(SECRET).verify(after.body, after.headers)
    with pytest.raises(WebhookVerificationError):
        Verifier(OLD).verify(after.body, after.headers)


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("500", 500, "status 500"),
        ("404", 404, "status 404"),
        ("410", 410, "status 410"),
        ("redirect", 302, "status 302: redirects are not followed"),
        ("hang", None, "no answer within 0.5 s"),
        ("close", None, "the connection broke before an answer: RemoteProtocolError"),
        ("reset", None, "the connection broke before an answer"),
        ("rubbish", None, "the connection broke before an answer: RemoteProtocolError"),
    ],
)
async def test_each_failure_is_an_outcome(
    receiver: Receiver, sender: Sender, path: str, status: int | None, error: str
) -> None:
    outcome = await sender.send(webhook(url=receiver.url(path)), delivery())
    assert (outcome.status, outcome.error.startswith(error)) == (status, True), outcome
    assert len(receiver.requests) == 1


async def test_a_slow_or_endless_answer_is_taken_and_only_its_beginning_is_kept(
    receiver: Receiver, sender: Sender
) -> None:
    assert (await sender.send(webhook(url=receiver.url("slow")), delivery())).error == ""
    outcome = await sender.send(webhook(url=receiver.url("big")), delivery())
    assert (outcome.status, outcome.answer, outcome.error) == (200, "x" * 256, "")


async def test_nobody_listens(sender: Sender) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    outcome = await sender.send(webhook(url=f"http://127.0.0.1:{port}/"), delivery())
    assert (outcome.status, outcome.error.startswith("no connection")) == (None, True)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "10.0.0.1", "169.254.169.254"])
async def test_private_addresses_are_not_connected_to(receiver: Receiver, host: str) -> None:
    sender = Sender(CIPHER, CLOCK, seconds=2)
    outcome = await sender.send(webhook(url=f"http://{host}:{receiver.port}/ok"), delivery())
    assert (outcome.status, outcome.error, receiver.requests) == (None, "the address is not public", [])


class Connects(httpcore.AsyncNetworkBackend):
    """Keeps what is connected to; nobody is there."""

    def __init__(self) -> None:
        self.hosts: list[str] = []

    async def connect_tcp(self, host: str, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        self.hosts.append(host)
        raise httpcore.ConnectError("not from here")


async def test_the_address_that_was_checked_is_the_one_that_is_connected_to() -> None:
    """A name may lead elsewhere at each look-up: there is one look-up a connection."""
    answers = [["93.184.215.14"], ["127.0.0.1"], ["10.0.0.1", "2606:4700::1111"], ["1.1.1.1", "10.0.0.1", "8.8.8.8"]]
    connects = Connects()
    sender = Sender(CIPHER, CLOCK, seconds=2, resolver=Resolver(lambda _: answers.pop(0)), network=connects)
    held = webhook(url="https://rebinding.example/ok")
    errors = [(await sender.send(held, delivery())).error for _ in range(4)]
    refused = "no connection: not from here"
    assert errors == [refused, "the address is not public", refused, refused]
    assert connects.hosts == ["93.184.215.14", "2606:4700::1111", "1.1.1.1", "8.8.8.8"]


def test_names_that_hang_keep_other_workspaces_deliveries_from_nothing(receiver_url: str) -> None:
    """Under the event loop of the notifier, whose own look-ups share four threads."""
    end = threading.Event()

    def look_up(host: str) -> list[str]:
        if host.startswith("slow"):
            end.wait(20)
            raise OSError("no answer")
        return ["127.0.0.1"]

    async def run() -> list[float]:
        sender = Sender(CIPHER, CLOCK, allows_private=True, seconds=3.0, resolver=Resolver(look_up))
        hanging = [
            asyncio.create_task(sender.send(webhook(f"h{n}", url=f"http://slow{n}.example/"), delivery()))
            for n in range(100)
        ]
        await asyncio.sleep(0)
        waits = []
        for number in range(3):
            began = time.monotonic()
            held = webhook(f"g{number}", "w2", url=receiver_url.replace("127.0.0.1", "good.example"))
            assert (await sender.send(held, delivery())).error == ""
            waits.append(time.monotonic() - began)
        for task in hanging:
            task.cancel()
        end.set()
        await sender.close()
        return waits

    assert max(uvloop.run(run())) < 1


async def test_secrets_that_no_key_opens_are_an_outcome(receiver: Receiver) -> None:
    sender = Sender(WebhookCipher(["another-key-of-the-tests"]), CLOCK, allows_private=True)
    outcome = await sender.send(webhook(url=receiver.url("ok")), delivery())
    assert ("TIDEMARK_SECRET_KEYS" in outcome.error, receiver.requests) == (True, [])


async def test_a_connection_is_used_again_and_one_that_the_receiver_closed_is_not(
    receiver: Receiver, sender: Sender
) -> None:
    held = webhook(url=receiver.url("ok"))
    for number in range(3):
        assert (await sender.send(held, delivery(f"msg_{number}"))).error == ""
    receiver.end()
    await asyncio.sleep(0)
    assert (await sender.send(held, delivery("msg_3"))).error == ""
    assert [request.headers["webhook-id"] for request in receiver.requests] == [f"msg_{n}" for n in range(4)]


async def test_a_certificate_is_checked_by_the_name_of_the_address_not_by_where_it_leads(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    certificate, key = self_signed("hooks.example", tmp_path)
    served, asked_for = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), []
    served.load_cert_chain(certificate, key)
    served.sni_callback = lambda _, name, __: asked_for.append(name)
    trusted = ssl.create_default_context(cafile=str(certificate))

    monkeypatch.setattr(addresses, "is_public", lambda _: True)
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=served)
    port = server.sockets[0].getsockname()[1]
    sender = Sender(CIPHER, CLOCK, seconds=3, tls=trusted, resolver=Resolver(lambda _: ["127.0.0.1"]))
    good = await sender.send(webhook(url=f"https://hooks.example:{port}/ok"), delivery())
    other = await sender.send(webhook(url=f"https://other.example:{port}/ok"), delivery())
    await sender.close()
    server.close()
    assert (good.error, asked_for) == ("", ["hooks.example", "other.example"])
    assert (other.status, other.error.startswith("no connection"), len(receiver.requests)) == (None, True, 1)
    assert receiver.requests[0].headers["host"] == f"hooks.example:{port}"


def self_signed(name: str, folder: Path) -> tuple[Path, Path]:
    """A certificate of its own authority, and its key, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


async def test_a_request_leaves_in_one_piece_and_an_early_answer_is_read() -> None:
    written: list[bytes] = []

    class Stream(httpcore.AsyncMockStream):
        async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
            written.append(buffer)
            if len(written) > 1:
                raise httpcore.WriteError  # closed after it answered

    class Receivers(httpcore.AsyncMockBackend):
        async def connect_tcp(self, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
            return Stream([b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig"])

    sender = Sender(CIPHER, CLOCK, resolver=Resolver(lambda _: ["1.1.1.1"]), network=Receivers([]))
    held = webhook(url="http://hooks.example.com/ok")
    for _ in range(2):
        assert (await sender.send(held, delivery())).status == 413
        await sender.close()
    assert [text.partition(b"\r\n\r\n")[2] for text in written] == [signing.body(delivery())] * 2
