"""What an attack would touch if it could: canary files, paths, a listener; and the search for secrets afterwards."""

from __future__ import annotations

import json
import secrets
import socket
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import chdb
import httpx
from confluent_kafka import Consumer, KafkaError, TopicPartition

from tests.support.hostile.scenario import FILE_MARK, PATH_MARK, TOKEN_MARK
from tests.support.live_files import below

# Strangers may write it, so it holds what they wrote.
OPEN_TOPIC = "platform.raw"
READ_SECONDS = 60.0


class Listener:
    """A port on 127.0.0.1 that nobody may connect to; counts who did, as long as the context lasts."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(0.5)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._accept)
        self.heard: list[bytes] = []

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._socket.getsockname()[1])

    def __enter__(self) -> Listener:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(5)
        self._socket.close()

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                connection, _ = self._socket.accept()
            except TimeoutError:
                continue
            with connection:
                connection.settimeout(0.2)
                try:
                    self.heard.append(connection.recv(200))
                except OSError:
                    self.heard.append(b"")


def lay_out(outside: Path, data_dir: Path) -> None:
    """Put canary files outside and inside the data folder."""
    outside.mkdir()
    for path in (
        outside / "canary.csv",
        outside / "canary.txt",
        data_dir / "canary.csv",
        data_dir / "clickhouse" / "canary",
    ):
        path.write_text(f"{FILE_MARK}{secrets.token_hex(8)}\n")


def canary_paths(folders: Iterable[Path]) -> list[str]:
    """Paths of the attack that came to exist: anywhere in these folders, or where a relative path may lead."""
    package, here = Path(chdb.__file__).parent, Path.cwd()
    found = {str(path) for folder in (*folders, package) for path in below(folder) if PATH_MARK in path.name}
    shallow = (here, *here.parents, package.parent, Path.home(), Path(tempfile.gettempdir()))
    return sorted(found | {str(path) for folder in shallow for path in folder.glob(f"*{PATH_MARK}*")})


def secrets_in_files(folder: Path, forbidden: list[bytes]) -> Iterator[str]:
    """Files of a folder that hold a secret."""
    for path in sorted(below(folder)):
        if path.is_file():
            content = path.read_bytes()
            for secret in forbidden:
                if secret in content:
                    at = content.index(secret)
                    yield f"{path.name} holds {content[max(0, at - 80) : at + 40]!r}"


def secrets_in_topics(ready: dict[str, Any], marks: list[bytes]) -> Iterator[str]:
    """Topics that hold a canary in clear: a message's key, value or header of any topic but the open one."""
    consumer = Consumer(
        {
            "bootstrap.servers": ready["kafka"],
            "group.id": f"canaries-{secrets.token_hex(4)}",
            "enable.auto.commit": False,
            "fetch.message.max.bytes": 20_000_000,
            # Also what was aborted or never ended: it can be read.
            "isolation.level": "read_uncommitted",
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 20,
            "log_level": 0,
        }
    )
    try:
        topics = consumer.list_topics(timeout=20).topics
        for topic, known in topics.items():
            if topic in (OPEN_TOPIC, "__consumer_offsets", "__transaction_state"):
                continue
            for partition in known.partitions:
                yield from _leaks(consumer, TopicPartition(topic, partition, 0), marks)
    finally:
        consumer.close()


def _leaks(consumer: Consumer, place: TopicPartition, marks: list[bytes]) -> Iterator[str]:
    consumer.assign([place])
    told = 0
    deadline = time.monotonic() + READ_SECONDS
    while time.monotonic() < deadline:
        # A call waits for all 500 or for its time, also where the end is there: a second for each of fifty partitions.
        for message in consumer.consume(500, 0.05):
            error = message.error()
            if error is not None and error.code() == KafkaError._PARTITION_EOF:
                return
            if error is not None:
                continue
            # As the client prints them: names and values, canaries unchanged.
            headers = repr(message.headers()).encode()
            content = (message.key() or b"") + b" " + (message.value() or b"") + b" " + headers
            for mark in marks:
                if mark in content and told < 5:
                    told += 1
                    at = content.index(mark)
                    yield f"{place.topic} {message.offset()} holds {content[max(0, at - 100) : at + 40]!r}"
    yield f"{place.topic} {place.partition} could not be read to its end"


def secrets_in_tables(ready: dict[str, Any], marks: Iterable[str] = (TOKEN_MARK, FILE_MARK)) -> Iterator[str]:
    """Tables of every database that hold a canary, by column."""
    columns = ask(
        ready,
        "SELECT database, table, name FROM system.columns WHERE database NOT IN ('system', 'INFORMATION_SCHEMA', "
        "'information_schema') AND (type LIKE '%String%') FORMAT JSONCompactEachRow",
    )
    for line in columns.splitlines():
        database, table, name = json.loads(line)
        where = " OR ".join(f"position(toString(`{name}`), '{mark}') > 0" for mark in marks)
        found = ask(ready, f"SELECT count(), any(toString(`{name}`)) FROM `{database}`.`{table}` WHERE {where}")
        if not found.startswith("0\t"):
            yield f"{database}.{table}.{name} holds {found[:300]!r}"


def objects(ready: dict[str, Any]) -> str:
    """Everything in ClickHouse that a statement could have made or dropped."""
    return ask(
        ready,
        "SELECT database, name FROM system.tables WHERE database != 'system' UNION ALL SELECT 'function', name FROM "
        "system.functions WHERE origin != 'System' UNION ALL SELECT 'user', name FROM system.users UNION ALL "
        "SELECT 'role', name FROM system.roles UNION ALL SELECT 'database', name FROM system.databases ORDER BY 1, 2",
    )


def ask(ready: dict[str, Any], statement: str) -> str:
    """One statement as the read-write user; the text of its answer."""
    url = httpx.URL(ready["clickhouse"])
    reply = httpx.post(
        url.copy_with(path="/", userinfo=b""),
        params={"database": url.path.strip("/")},
        content=statement.encode(),
        auth=(url.username, url.password),
        timeout=60,
        trust_env=False,
    )
    assert reply.is_success, reply.text
    return reply.text
