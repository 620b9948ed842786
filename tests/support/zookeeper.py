"""Apache ZooKeeper on 127.0.0.1, for what replicated tables of ClickHouse need of it."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.embedded import artifacts
from infra.embedded.errors import ArtifactError
from infra.embedded.jvm import java_command
from infra.embedded.maven import resolve
from infra.embedded.ports import free_ports
from infra.embedded.processes import tied
from tests.support.waiting import wait_until

# The metrics that ZooKeeper itself needs are not among its run-time dependencies.
_REQUESTED = (
    "org.apache.zookeeper:zookeeper:3.9.4",
    "io.dropwizard.metrics:metrics-core:4.1.12.1",
    "org.xerial.snappy:snappy-java:1.1.10.5",
    "org.slf4j:slf4j-simple:2.0.17",
)
_HEAP_MEBIBYTES = 128


@contextmanager
def zookeeper(folder: Path) -> Iterator[int]:
    """One server, and its port; skips the test where it can't be fetched."""
    kept = artifacts.cache_dir() / "tests"
    kept.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        jars = [str(path) for _, path in resolve(_REQUESTED, kept)]
    except (ArtifactError, OSError, RuntimeError) as error:
        pytest.skip(f"Apache ZooKeeper can't be fetched: {error}")
    (port,) = free_ports(1)
    (folder / "data").mkdir()
    configuration = folder / "zoo.cfg"
    configuration.write_text(
        f"tickTime=500\ndataDir={folder / 'data'}\nclientPort={port}\nclientPortAddress=127.0.0.1\n"
        "admin.enableServer=false\n4lw.commands.whitelist=ruok\n"
    )
    main = "org.apache.zookeeper.server.ZooKeeperServerMain"
    command = java_command(_HEAP_MEBIBYTES, folder, "-cp", ":".join(jars), main, str(configuration))
    with (folder / "zookeeper.log").open("wb") as log:
        process = subprocess.Popen(tied(command), stdout=log, stderr=log)
    try:
        wait_until(lambda: _is_ok(port) or process.poll() is not None, 60, "ZooKeeper answers")
        assert process.poll() is None, (folder / "zookeeper.log").read_text(errors="replace")[-2000:]
        yield port
    finally:
        process.terminate()
        process.wait(20)


def _is_ok(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 2) as connection:
            connection.sendall(b"ruok")
            return connection.recv(4) == b"imok"
    except OSError:
        return False
