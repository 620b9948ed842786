"""Apache Kafka in KRaft combined mode: one broker for `tidemark up`, or a cluster of three for failure tests.

Comes in: a folder and ports. Goes out: `server.properties`, a formatted log folder, and the command to run.
Nothing here starts the broker itself, and nothing listens beyond 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import base64
import shutil
import subprocess
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from infra.embedded import artifacts
from infra.embedded.errors import DataDirError
from infra.embedded.jvm import archive_options, java_command, make_empty
from infra.embedded.processes import tied

HOST = "127.0.0.1"
MAX_MESSAGE_BYTES = 8 * 1024 * 1024
# A value may have the full size; the batch's framing, its key and its headers come on top.
MAX_BATCH_BYTES = MAX_MESSAGE_BYTES + 64 * 1024
# The broker takes heap for a request as soon as the request's length is known, MAX_MESSAGE_BYTES and more for each
# connection. With 256 MiB a few producers of large messages drove the broker out of memory. The JVM takes memory up to
# this limit only when needed.
MAX_HEAP_MEBIBYTES = 512
FORMAT_HEAP_MEBIBYTES = 64
FORMAT_TIMEOUT_SECONDS = 60
FORMATTED_MARKER = "formatted"
METADATA_TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True)
class Broker:
    """One broker and controller of an embedded cluster.

    Attributes:
        folder: holds all state of this broker, which survives restarts, also after SIGKILL.
        voters: every controller of the cluster, `id@host:port`.
    """

    node_id: int
    folder: Path
    port: int
    controller_port: int
    voters: tuple[str, ...]
    cluster_id: str

    @property
    def bootstrap(self) -> str:
        """Address for clients, `host:port`."""
        return f"{HOST}:{self.port}"

    @property
    def properties_path(self) -> Path:
        """Path of the generated `server.properties`."""
        return self.folder / "server.properties"

    @property
    def temporary_path(self) -> Path:
        """Folder for files that the broker's libraries unpack; emptied before each start."""
        return self.folder / "tmp"

    def properties(self) -> dict[str, str]:
        """The broker's settings; replication follows the size of the cluster."""
        brokers = len(self.voters)
        in_sync = 2 if brokers >= 3 else 1
        return {
            "process.roles": "broker,controller",
            "node.id": str(self.node_id),
            "controller.quorum.voters": ",".join(self.voters),
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://{HOST}:{self.port},CONTROLLER://{HOST}:{self.controller_port}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap}",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": str(self.folder / "log"),
            "auto.create.topics.enable": "false",
            # Messages of 8 MiB, in each setting that limits them.
            "message.max.bytes": str(MAX_BATCH_BYTES),
            "replica.fetch.max.bytes": str(MAX_BATCH_BYTES),
            "replica.fetch.response.max.bytes": str(2 * MAX_BATCH_BYTES),
            "socket.request.max.bytes": str(100 * 1024 * 1024),
            # Internal topics: small, so that the first consumer and the first transaction are quick.
            "default.replication.factor": str(brokers),
            "min.insync.replicas": str(in_sync),
            "offsets.topic.replication.factor": str(brokers),
            "offsets.topic.num.partitions": "8",
            "transaction.state.log.replication.factor": str(brokers),
            "transaction.state.log.min.isr": str(in_sync),
            "transaction.state.log.num.partitions": "8",
            "share.coordinator.state.topic.replication.factor": str(brokers),
            "share.coordinator.state.topic.min.isr": str(in_sync),
            "share.coordinator.state.topic.num.partitions": "1",
            # Groups settle at once, and a dead member is noticed within its own session of 6 s or less.
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "1000",
            # A restarted broker is taken back as soon as its old session has run out.
            "broker.heartbeat.interval.ms": "500",
            "broker.session.timeout.ms": "3000" if brokers == 1 else "6000",
            # Compaction that shows on small data: an active segment is never compacted, so roll it hourly.
            "log.segment.bytes": str(64 * 1024 * 1024),
            "log.roll.ms": str(60 * 60 * 1000),
            "log.index.size.max.bytes": str(1024 * 1024),
            "log.cleaner.threads": "1",
            "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
            # Two cores are shared with every other service.
            "num.network.threads": "2",
            "num.io.threads": "4",
            "background.threads": "2",
            "num.recovery.threads.per.data.dir": "2",
        }

    def prepare(self) -> None:
        """Write the settings, and format the log folder the first time; fetches Kafka when it is not cached.

        Raises:
            ArtifactError: Kafka cannot be fetched.
            DataDirError: the folder cannot be written or formatted.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            make_empty(self.temporary_path)
            lines = [f"{key}={value}" for key, value in self.properties().items()]
            text = "\n".join(lines) + "\n"
            # Written only when the text has changed: on a full disk a rewrite would leave the file empty.
            if not self.properties_path.exists() or self.properties_path.read_text(encoding="utf-8") != text:
                # It may hold a password.
                self.properties_path.touch(mode=0o600)
                self.properties_path.write_text(text, encoding="utf-8")
            if not (self.folder / FORMATTED_MARKER).exists():
                self._format()
        except OSError as error:
            raise DataDirError(f"cannot write {self.folder} ({error.strerror}): choose another --data-dir") from error

    def command(self) -> list[str]:
        """The command that runs the broker in the foreground, logging to stderr."""
        main = ["kafka.Kafka", str(self.properties_path)]
        return java_command(MAX_HEAP_MEBIBYTES, self.temporary_path, *_classes(), *_logging("info"), *main)

    async def is_ready(self) -> bool:
        """As `answers`, without blocking the event loop."""
        return await asyncio.to_thread(self.answers)

    def answers(self) -> bool:
        """Whether this broker answers a metadata request and counts itself as alive; blocks for at most 2 s."""
        admin = AdminClient({**self.client_options(), "log_level": 0, "socket.timeout.ms": 2000})
        try:
            return self.node_id in admin.list_topics(timeout=METADATA_TIMEOUT_SECONDS).brokers
        except KafkaException:
            return False

    def client_options(self) -> dict[str, Any]:
        """Options of a client that may do everything."""
        return {"bootstrap.servers": self.bootstrap}

    def format_arguments(self) -> list[str]:
        """What the formatting of the log folder is told besides; never on a command line, where everybody reads it."""
        return []

    def _format(self) -> None:
        # Without the marker no broker has ever run here, so an earlier attempt's files hold no messages.
        shutil.rmtree(self.folder / "log", ignore_errors=True)
        arguments = self.temporary_path / "format-arguments"
        arguments.touch(mode=0o600)
        told = ["format", "-t", self.cluster_id, "-c", str(self.properties_path), *self.format_arguments()]
        arguments.write_text("\n".join(told), encoding="utf-8")
        tool = ["kafka.tools.StorageTool", f"@{arguments}"]
        command = java_command(FORMAT_HEAP_MEBIBYTES, self.temporary_path, *_classes(), *_logging("warn"), *tool)
        result = subprocess.run(  # noqa: S603 - a fixed command, no shell
            tied(command),
            capture_output=True,
            text=True,
            timeout=FORMAT_TIMEOUT_SECONDS,
            check=False,
        )
        arguments.unlink()
        if result.returncode != 0:
            detail = (result.stderr or result.stdout).strip().splitlines()
            raise DataDirError(
                f"Kafka cannot format {self.folder / 'log'}: {detail[-1] if detail else 'no reason given'}"
            )
        (self.folder / FORMATTED_MARKER).touch()


def single_broker(folder: Path, port: int, controller_port: int) -> Broker:
    """The one broker of `tidemark up`."""
    return cluster(folder, [(port, controller_port)])[0]


def cluster(folder: Path, ports: Sequence[tuple[int, int]]) -> list[Broker]:
    """Brokers of one cluster, one per (client port, controller port); three or more keep two in-sync replicas.

    The cluster id is made once and kept in `folder`; the same ports must be given for a folder that was used.
    """
    voters = tuple(f"{node_id}@{HOST}:{controller}" for node_id, (_, controller) in enumerate(ports, start=1))
    cluster_id = _cluster_id(folder)
    single = len(ports) == 1
    return [
        Broker(node_id, folder if single else folder / f"broker-{node_id}", port, controller, voters, cluster_id)
        for node_id, (port, controller) in enumerate(ports, start=1)
    ]


def _cluster_id(folder: Path) -> str:
    path = folder / "cluster.id"
    try:
        if path.exists() and (kept := path.read_text(encoding="utf-8").strip()):
            return kept
        folder.mkdir(parents=True, exist_ok=True)
        fresh = "-"
        while fresh.startswith("-"):  # Kafka's own generator avoids such an id too: a tool would take it for an option
            fresh = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        path.write_text(fresh + "\n", encoding="utf-8")
    except OSError as error:
        raise DataDirError(f"cannot write {path} ({error.strerror}): choose another --data-dir") from error
    return fresh


def _classes() -> list[str]:
    folder = artifacts.ensure(artifacts.KAFKA)[artifacts.KAFKA]
    return [*archive_options(folder), "-cp", f"{folder}/*"]


def _logging(level: str) -> list[str]:
    prefix = "-Dorg.slf4j.simpleLogger"
    return [
        f"{prefix}.defaultLogLevel=warn",
        f"{prefix}.showDateTime=true",
        f"{prefix}.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
        f"{prefix}.showThreadName=false",
        f"{prefix}.log.kafka.server={level}",
        # Prints every setting at each start, 300 lines.
        f"{prefix}.log.kafka.server.KafkaConfig=warn",
    ]
