"""Connection options, keys and partitions, which all Kafka clients of the project share.

Holds no client: the modules that own a client pass these options to it.
"""

from __future__ import annotations

import asyncio
import gzip
import sys
from functools import lru_cache
from typing import Any

from aiokafka.partitioner import murmur2
from aiokafka.record import default_records

from services.runtime.fetching import guard_fetching
from services.runtime.logging import get_logger
from services.runtime.settings import MESSAGE_MAX_BYTES, KafkaSettings

log = get_logger(__name__)
_GZIP_LEVEL = 1


@lru_cache(maxsize=65_536)
def partition_of(workspace_id: str, partitions: int) -> int:
    """A tenant's partition: the Java client's default (murmur2) for the tenant's id.

    All messages of a tenant go to this partition, whatever their key, so that its channels and posts meet in one task.
    """
    return int(murmur2(workspace_id.encode()) & 0x7FFFFFFF) % partitions


def key(*parts: str) -> bytes:
    """A message key: the parts joined by slashes, UTF-8."""
    return "/".join(parts).encode()


def split_key(message_key: bytes) -> tuple[str, str]:
    """`workspace_id` and the rest of a `workspace_id/id` key; ids hold no slash."""
    workspace_id, _, rest = message_key.decode().partition("/")
    return workspace_id, rest


def aiokafka_options(settings: KafkaSettings) -> dict[str, Any]:
    """Connection options for aiokafka's consumer, producer and admin client.

    Calling this guards all aiokafka consumers of this process against messages that could end them (`fetching`).
    """
    guard_fetching()
    options: dict[str, Any] = {
        "bootstrap_servers": settings.kafka_bootstrap.split(","),
        "security_protocol": settings.kafka_security_protocol,
    }
    if settings.kafka_sasl_mechanism:
        options["sasl_mechanism"] = settings.kafka_sasl_mechanism
        options["sasl_plain_username"] = settings.kafka_sasl_username
        options["sasl_plain_password"] = (
            settings.kafka_sasl_password.get_secret_value() if settings.kafka_sasl_password else None
        )
    if "SSL" in settings.kafka_security_protocol:
        options["ssl_context"] = settings.kafka_tls.context()
    return options


def aiokafka_producer_options(settings: KafkaSettings) -> dict[str, Any]:
    """Options of an aiokafka producer whose confirmed messages are durable and whose retries double no message."""
    _compress_quickly()
    return {
        **aiokafka_options(settings),
        "enable_idempotence": True,
        "acks": "all",
        "max_request_size": MESSAGE_MAX_BYTES,
        # The only codec that every Kafka client reads without further packages. Source: decision 0020.
        "compression_type": "gzip",
    }


def _gzip_quickly(payload: Any, compresslevel: int | None = None) -> bytes:
    return gzip.compress(payload, _GZIP_LEVEL, mtime=0)


def _compress_quickly() -> None:
    """Make aiokafka compress at a quick level of gzip.

    aiokafka's own level 9 takes seven times as long for a sixth fewer bytes, and there is no setting for the level.
    """
    default_records.gzip_encode = _gzip_quickly
    compiled = sys.modules.get("aiokafka.record._crecords.default_records")
    if compiled is not None:
        compiled.gzip_encode = _gzip_quickly  # type: ignore[attr-defined]  # of a module found by name


def confluent_options(settings: KafkaSettings) -> dict[str, Any]:
    """Connection options for confluent-kafka's clients."""
    options: dict[str, Any] = {
        "bootstrap.servers": settings.kafka_bootstrap,
        "security.protocol": settings.kafka_security_protocol,
    }
    if settings.kafka_sasl_mechanism:
        options["sasl.mechanism"] = settings.kafka_sasl_mechanism
        options["sasl.username"] = settings.kafka_sasl_username
        if settings.kafka_sasl_password:
            options["sasl.password"] = settings.kafka_sasl_password.get_secret_value()
    tls = settings.kafka_tls
    files = {"ssl.ca.location": tls.cafile, "ssl.certificate.location": tls.certfile, "ssl.key.location": tls.keyfile}
    if "SSL" in settings.kafka_security_protocol:
        options |= {name: path for name, path in files.items() if path}
        if tls.certfile and not tls.keyfile:
            options["ssl.key.location"] = tls.certfile
    return options


async def stop_clients(*clients: Any) -> None:
    """Stop aiokafka clients, whatever state they are in.

    While a broker goes away, `stop` may raise the error of the client's own task, even a CancelledError. In a `finally`
    that error would end the caller's task, which has to connect again.
    """
    for outcome in await asyncio.gather(*(client.stop() for client in clients), return_exceptions=True):
        if isinstance(outcome, BaseException):
            log.info("a Kafka client did not stop cleanly", error=repr(outcome))
