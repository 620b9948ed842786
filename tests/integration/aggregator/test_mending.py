"""Whatever the audit finds, the command that it names mends: each way to be wrong, by hand, found, mended, gone."""

from __future__ import annotations

import orjson
import pytest
from typer.testing import CliRunner, Result

from services.cli import app
from services.runtime.kafka import partition_of
from tests.support.backend import PARTITIONS, Backend
from tests.support.breakages import BREAKAGES, Breakage, figures, fill
from tests.support.properties import some_of
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(600)


def _run(backend: Backend, *arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env=backend.environment)


def _audit(backend: Backend, *options: str) -> Result:
    return _run(backend, "audit", "--grace-seconds", "0.05", "--retries", "2", *options)


def _mended(backend: Backend, named: str) -> None:
    """Run the command that the audit named."""
    assert "`tidemark rebuild`" in named, named
    rebuilt = _run(backend, "rebuild", "--handover-seconds", "60")
    assert rebuilt.exit_code == 0, f"{rebuilt.output}\n{backend.log_tail()}"


def _break_and_mend(backend: Backend, tenants: dict[str, Breakage], strange: str | None = None) -> None:
    """Break each tenant in its own way, and have all of them found and mended.

    Args:
        strange: two more workspaces are made, this one and `<strange>-other`, of which strangers write on the topics.
    """
    beside = [] if strange is None else [strange, f"{strange}-other"]
    names = [*tenants, *beside]
    fill(backend, names)
    wait_until(lambda: _audit(backend).exit_code == 0, 30, lambda: _audit(backend).output)
    before = figures(backend, names)
    for name, breakage in tenants.items():
        breakage.apply(backend, name)
    if strange is not None:
        _strangers(backend, *beside)
    found = _audit(backend)
    assert (found.exit_code, found.exception.__class__) == (1, SystemExit), found.output
    lines = [line.split("\t") for line in found.stdout.splitlines()]
    seen = {name: {line[0] for line in lines if line[1] == name} for name in tenants}
    missed = {breakage.name: seen[name] for name, breakage in tenants.items() if breakage.check not in seen[name]}
    assert missed == {}
    # What does not count on the catalog's topics is no difference; on those of totals nothing else may stand.
    theirs = {line[0] for line in lines if line[1] not in tenants}
    assert theirs == (set() if strange is None else {"rollups.posts", "rollups.channels"})
    for check in {line[0] for line in lines}:
        (named,) = [line for line in found.stderr.splitlines() if line.startswith(f"audit: {check}: ")]
        assert "to mend: `tidemark rebuild`" in named
    if strange is not None:
        # Their tables are made anew of topics on which strangers wrote.
        for table in ("channels_store", "posts_store"):
            lost = f"ALTER TABLE {table} DELETE WHERE workspace_id = {{w:String}}"
            backend.clickhouse.command(lost, parameters={"w": strange}, settings={"mutations_sync": 2})
    _mended(backend, found.stderr)
    again = _audit(backend)
    assert again.exit_code == 0, again.output
    after = figures(backend, names)
    assert {what: sorted(after[what] ^ seen) for what, seen in before.items() if after[what] != seen} == {}
    exported = [orjson.loads(line) for line in _run(backend, "catalog", "export").stdout.splitlines()]
    told = {(line["workspace_id"], line["id"]) for line in exported if line["workspace_id"] in beside}
    assert told == {(name, thing) for name in beside for thing in ("c1", "c2", "p1", "p2")}


def _strangers(backend: Backend, workspace: str, other: str) -> None:
    """Records that nobody of Tidemark writes, on every compacted topic that is compared with a table."""
    home = partition_of(workspace, PARTITIONS)
    for topic, thing, told in (
        ("catalog.channels", "channel_id", f"{workspace}/c1"),
        ("catalog.posts", "post_id", f"{workspace}/p1"),
        ("rollups.posts", "post_id", f"{workspace}/p1"),
        ("rollups.channels", "channel_id", f"{workspace}/c1/7d"),
    ):
        codec, record = backend.registry.record_codec(topic), backend.latest(topic)[told]
        good = codec.encode(record)
        elsewhere = codec.encode({**record, thing: "x7"})
        rest = told.split("/", 1)[1].partition("/")
        records = [
            (b"\xff\xfe", good, home), (b"", good, home), (b"no-slash", good, home), (b"\x00'\\/x", b"", home),
            (f"{workspace}/".encode() + b"\xff", None, home), (f"{workspace}/a/b/c/d".encode(), good, home),
            (f"{workspace}/x8{rest[1]}{rest[2]}".encode(), good, home),
            (f"{workspace}/x9{rest[1]}{rest[2]}".encode(), b"\x00\xff", home),
            (f"{other}/x6{rest[1]}{rest[2]}".encode(), good, partition_of(other, PARTITIONS)),
            (f"{workspace}/x7{rest[1]}{rest[2]}".encode(), elsewhere, (home + 1) % PARTITIONS),
        ]  # fmt: skip
        for key, value, partition in records:
            backend.producer.produce(backend.settings.topic(topic), value, key, partition)
    backend.flush()


def test_every_difference_and_what_strangers_wrote_is_found_and_mended_by_the_command_that_is_named(
    backend: Backend, workspace: str
) -> None:
    """A sixth of them at once. What strangers wrote on compacted topics stops nobody, and enters no table."""
    tenants = {f"{workspace}-{number}": breakage for number, breakage in enumerate(some_of(BREAKAGES, 6))}
    _break_and_mend(backend, tenants, f"{workspace}-strange")


@pytest.mark.long
@pytest.mark.parametrize("breakage", BREAKAGES, ids=lambda breakage: breakage.name.replace(" ", "-"))
def test_a_difference_alone_is_found_and_mended(backend: Backend, workspace: str, breakage: Breakage) -> None:
    """By itself: what mends one difference must not be what another one called for."""
    _break_and_mend(backend, {workspace: breakage})
