"""Tables of a cluster as far as the embedded engine goes: its engine, the migrations' tables, a real ZooKeeper.

Shown: each table of the migrations is made as a replica, blocks that are sent again are stored once (also by another
replica, by a token or by their content), a quorum that is not there refuses, and a reader that asks for sequential
consistency does not read behind what a quorum confirmed.

Not shown, since the embedded engine opens no port for other replicas: that a replica fetches parts of another one, that
an insert of a quorum of two returns, statements ON CLUSTER as they are carried out, and mutations on two replicas.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from services.runtime.migrations import migrations
from tests.support.engine_process import run_statements
from tests.support.zookeeper import zookeeper

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]
_IN_DATABASE = ("CREATE DATABASE IF NOT EXISTS t", "USE t")
_CONFIG = """<clickhouse><zookeeper><node><host>127.0.0.1</host><port>{port}</port></node>
<session_timeout_ms>5000</session_timeout_ms></zookeeper>
<macros><shard>1</shard><replica>{replica}</replica></macros>
<default_replica_path>/clickhouse/tables/{{database}}/{{table}}</default_replica_path>
<default_replica_name>{{replica}}</default_replica_name>
<logger><level>none</level></logger></clickhouse>"""


class Replica:
    """One server's data; each call is a process that opens it, and ends."""

    def __init__(self, folder: Path, port: int, name: str) -> None:
        self._data = folder / name
        self._config = folder / f"{name}.xml"
        self._config.write_text(_CONFIG.format(port=port, replica=name))

    def run(self, *statements: str) -> list[tuple[str, str]]:
        """Run statements; returns the error or "", and the answer, of each."""
        return run_statements(self._data, self._config, [*_IN_DATABASE, *statements], 240)[len(_IN_DATABASE) :]

    def answers(self, *statements: str) -> list[str]:
        """Run statements; returns their answers."""
        said = self.run(*statements)
        assert not any(error for error, _ in said), [error for error, _ in said if error]
        return [answer for _, answer in said]


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with zookeeper(tmp_path_factory.mktemp("zookeeper")) as found:
        yield found


def _local(statements: Sequence[str]) -> list[str]:
    """As each server of the cluster carries them out."""
    return [re.sub(r" ON CLUSTER `main`", "", statement) for statement in statements]


@pytest.fixture(scope="module")
def replicas(port: int, tmp_path_factory: pytest.TempPathFactory) -> tuple[Replica, Replica]:
    folder = tmp_path_factory.mktemp("replicas")
    made = Replica(folder, port, "r1"), Replica(folder, port, "r2")
    statements = [statement for migration in migrations() for statement in _local(migration.statements("main"))]
    for replica in made:
        replica.answers(*statements)
    return made


def test_every_table_of_the_migrations_is_a_replica(replicas: tuple[Replica, Replica]) -> None:
    query = "SELECT name, engine FROM system.tables WHERE database = 't' AND engine LIKE '%MergeTree' ORDER BY name"
    for replica in replicas:
        (found,) = replica.answers(query)
        engines = dict(line.split("\t") for line in found.splitlines())
        assert "raw_events_store" in engines
        assert all(engine.startswith("Replicated") for engine in engines.values()), engines
    (read_only,) = replicas[0].answers("SELECT count() FROM system.replicas WHERE is_readonly")
    assert read_only == "0"


CLAIM = "INSERT INTO partition_claims {settings} VALUES ({partition}, {epoch}, 'a', '2026-12-01 00:00:00')"


def test_a_block_that_is_sent_again_is_stored_once(replicas: tuple[Replica, Replica]) -> None:
    one, other = replicas
    token = "SETTINGS insert_deduplication_token = 'block-1'"
    said = one.answers(
        CLAIM.format(settings=token, partition=1, epoch=1),
        CLAIM.format(settings=token, partition=1, epoch=1),
        "SELECT count() FROM partition_claims WHERE partition = 1",
    )
    assert said[-1] == "1"
    # Another replica knows of it by ZooKeeper alone: it takes the block for stored, and waits for its part.
    before = other.answers(
        "SELECT count() FROM system.parts WHERE database = 't' AND table = 'partition_claims' AND active"
    )
    other.answers(CLAIM.format(settings=token, partition=1, epoch=1))
    after = other.answers(
        "SELECT count() FROM system.parts WHERE database = 't' AND table = 'partition_claims' AND active"
    )
    assert before == after, "nothing of its own"


def test_an_insert_that_a_quorum_has_to_confirm_is_refused_without_it(replicas: tuple[Replica, Replica]) -> None:
    quorum = "SETTINGS insert_quorum = 2, insert_quorum_timeout = 2000, insert_quorum_parallel = 0"
    ((error, _),) = replicas[0].run(CLAIM.format(settings=quorum, partition=2, epoch=1))
    assert "TOO_FEW_LIVE_REPLICAS" in error or "UNKNOWN_STATUS_OF_INSERT" in error, error


def test_a_consistent_read_is_refused_where_what_a_quorum_confirmed_is_lacking(
    replicas: tuple[Replica, Replica],
) -> None:
    one, other = replicas
    quorum = "SETTINGS insert_quorum = 'auto', insert_quorum_parallel = 0, insert_quorum_timeout = 2000"
    count = "SELECT count() FROM partition_claims WHERE partition = 3"
    consistent = f"{count} SETTINGS select_sequential_consistency = 1"
    # A quorum of one replica, as on a cluster of one: what it confirmed is read.
    said = one.answers(CLAIM.format(settings="SETTINGS insert_quorum = 1", partition=3, epoch=1), consistent)
    assert said[-1] == "1"
    # Of two replicas most are two: the insert is refused, or nobody can say what became of it.
    ((error, _),) = one.run(CLAIM.format(settings=quorum, partition=3, epoch=2))
    assert error
    # The other one lacks the part of the first. It answers by itself with what it has, and consistently not at all.
    assert other.answers(count) == ["0"]
    ((refused, answer),) = other.run(consistent)
    assert "REPLICA_IS_NOT_IN_QUORUM" in refused or answer == "0", (refused, answer)
