"""The hostile hour: poison, a hostile analyst, hoarders and strangers at once, and four tenants who must not notice.

Beside the attack four tenants publish and read. Every figure that they are shown was true at most 5 s ago; the 99th
percentile of their reads is under 250 ms. Nothing restarts, memory stays within its bounds, and no file, address or
secret is reached. TIDEMARK_TEST_SEED repeats a run. TIDEMARK_TEST_HOSTILE_SECONDS is the length of the long form: 1200
by default, since `make test-long` has an hour for everything; 3600 is the hostile hour itself.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.e2e.test_model import differences as differences_from_model
from tests.support.brute_force import World
from tests.support.hostile import canaries
from tests.support.hostile.analyst import HEAVY
from tests.support.hostile.report import log_lines, table
from tests.support.hostile.scenario import FILE_MARK, TOKEN_MARK, Scenario
from tests.support.hostile.traffic import Seen, Traffic, quantile
from tests.support.hostile.watcher import Watcher
from tests.support.tidemark import RawPublisher, Tidemark
from tests.support.waiting import wait_until

SEED = int(os.environ.get("TIDEMARK_TEST_SEED") or secrets.randbelow(10**6))
# Each attacker takes its kinds of attack in turn. The heavy ones are the slowest: at the short form's strength a round
# takes 72 s.
SHORT_SECONDS = 120
# In `make test` another process of tests has one of the two cores: half of what two carry. The long form runs alone.
SHORT_STRENGTH = 0.5
LONG_STRENGTH = 1.5
LONG_SECONDS = int(os.environ.get("TIDEMARK_TEST_HOSTILE_SECONDS") or 1200)
QUIET_SECONDS = 10
ROLES = ("producer", "analyst", "hoarders", "strangers")
MIB = 1024 * 1024
# The engine's own limit for statements is 1.5 GiB; the rest is the process and its libraries.
MOST_BYTES = {"aggregator": 1200 * MIB, "query_api": 500 * MIB, "clickhouse": 2048 * MIB}
P99_SECONDS = 0.25
# The aim is P99_SECONDS, and the long form judges by it. On two cores, shared with the attackers, 1.0 to 2.3 s were
# measured where each read was several queries, whose analysis alone takes the engine 6 to 35 ms (0021 has the profile,
# 0036 what most reads do instead; the table shows each run's figures by product). This bound tells a slow product from
# one that is held up.
SHORT_P99_SECONDS = 4.0
LATE_SECONDS = 5.0
# The long form runs alone, and nothing in it may be later. Beside another process of tests on the same two cores single
# figures took 5.8 to 7.4 s, three in a thousand of one run. These bounds tell a pipeline that is held up from one that
# shares its cores.
SHORT_LATEST_SECONDS = 20.0
SHORT_LATE_SHARE = 0.05
COMMAND_SECONDS = 120.0
# A command that takes longer fails the run, and is left to go on for so long, so that the report tells how slow it is.
COMMAND_PATIENCE_SECONDS = 300.0
# What an attacker has to have sent in a minute, at the least: one that the system or the machine starves is no attack.
# At rest it is 20 to 100 times as much. Held answers, bombs and forms are few by their nature and are not counted.
LEAST_EACH_MINUTE = {"producer": 60, "analyst": 20, "hoarders": 30, "strangers": 100}
NOT_COUNTED = frozenset({"endless, unread", *HEAVY})
HOARDED_POSTS = 200
HOARDED_EVENTS = 40


class Bounds(NamedTuple):
    """What tenants may see of an attack, beyond what they see without one.

    Attributes:
        late_share: of all figures, those that may be later than LATE_SECONDS.
    """

    p99_seconds: float
    latest_seconds: float
    late_share: float


@pytest.fixture(scope="module")
def attacked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tidemark]:
    """A `tidemark up` of this file's own: what is done to it stays here."""
    if request.config.getoption("--engines") != "embedded":
        pytest.skip("attacks `tidemark up`, which has engines of its own: --engines=embedded only")
    running = Tidemark(tmp_path_factory.mktemp("hostile"))
    running.start()
    yield running
    running.stop()


@pytest.mark.timeout(900)
def test_two_hostile_minutes(attacked: Tidemark) -> None:
    bounds = Bounds(SHORT_P99_SECONDS, SHORT_LATEST_SECONDS, SHORT_LATE_SHARE)
    _attack(attacked, SHORT_SECONDS, strength=SHORT_STRENGTH, bounds=bounds)


@pytest.mark.long
@pytest.mark.timeout(LONG_SECONDS + 1200)
def test_a_hostile_hour(attacked: Tidemark) -> None:
    _attack(attacked, LONG_SECONDS, strength=LONG_STRENGTH, bounds=Bounds(P99_SECONDS, LATE_SECONDS, 0.0))


def _attack(tidemark: Tidemark, seconds: float, strength: float, bounds: Bounds) -> None:
    folder = tidemark.folder / secrets.token_hex(4)
    folder.mkdir()
    outside = folder / "outside"
    canaries.lay_out(outside, tidemark.folder / "data")
    before = canaries.objects(tidemark.ready)
    traffic = Traffic(tidemark, SEED)
    traffic.register()
    hoarder, hoarder_key = _hoarder(tidemark)
    with canaries.Listener() as listener, Watcher(tidemark) as watcher:
        scenario = Scenario(
            folder=str(folder),
            seed=SEED,
            seconds=seconds,
            strength=strength,
            ready=tidemark.ready,
            outside=str(outside),
            data_dir=str(tidemark.folder / "data"),
            listener_port=listener.port,
            tenants=traffic.workspaces,
            hoarder=hoarder,
            hoarder_key=hoarder_key,
            table_functions=_names(tidemark, "table_functions"),
            functions=_names(tidemark, "functions"),
        )
        with traffic:
            time.sleep(QUIET_SECONDS)  # a span that is measured, not a wait for something
            quiet = traffic.take()
            codes = _run_attackers(scenario.write(), seconds)
            attacked = traffic.take()
        reports = {role: _report(folder, role) for role in ROLES}
        failures = [f"{role} ended with {code}: {_report_log(folder, role)}" for role, code in codes.items() if code]
        failures += _judge_attack(reports, seconds)
        failures += _judge_traffic(quiet, attacked, bounds)
        failures += [f"{role}: {breach}" for role, told in reports.items() for breach in told["breaches"][:5]]
        failures += _judge_afterwards(tidemark, traffic)
    failures += watcher.changes
    failures += [
        f"{name} took {watcher.peaks.get(name, 0) // MIB} MiB, more than {most // MIB}"
        for name, most in MOST_BYTES.items()
        if watcher.peaks.get(name, 0) > most
    ]
    failures += [f"a connection was opened: {heard!r}" for heard in listener.heard[:5]]
    failures += _judge_secrets(tidemark, outside, before)
    failures += _judge_commands(tidemark)
    print(table(SEED, seconds, quiet, attacked, reports, watcher))
    print(log_lines(tidemark.folder / "data" / "logs"))
    assert not failures, f"seed {SEED}:\n" + "\n".join(failures)


def _hoarder(tidemark: Tidemark) -> tuple[str, str]:
    """A workspace of the attackers' own, with much to read; returns it and its key."""
    workspace = f"hoarder-{SEED}-{secrets.token_hex(2)}"
    tidemark.put_channel(workspace, "h1", platform="x", external_id="1", status="disabled")
    lines = []
    for number in range(HOARDED_POSTS):
        target = {"target_id": f"ht{number}", "channel_id": "h1", "status": "published", "external_id": str(number)}
        line = {"type": "post", "workspace_id": workspace, "id": f"hp{number}", "status": "published"}
        lines.append(json.dumps({**line, "published_at": "2026-11-01T09:00:00Z", "targets": [target]}))
    tidemark.admin("POST", "/admin/v1/catalog", content="\n".join(lines).encode()).raise_for_status()
    publisher = RawPublisher(tidemark.ready)
    for number in range(HOARDED_EVENTS):
        targets = [{"target_id": f"ht{n}", "post_id": f"hp{n}", "external_id": str(n)} for n in range(100)]
        items = [{"id": str(n), "public_metrics": {"like_count": number}, "text": "x" * 4000} for n in range(100)]
        publisher.publish(
            {
                "event_id": f"{workspace}-{number}",
                "workspace_id": workspace,
                "channel_id": "h1",
                "platform": "x",
                "kind": ("POST_METRICS", "CHANNEL_METRICS")[number % 2],
                "endpoint": ("/2/tweets", "/2/users/me")[number % 2],
                "request": {},
                "targets": targets,
                "http_status": 200,
                "body": json.dumps({"data": items}).encode(),
                "captured_at": int(time.time() * 1000),
                "origin": "BACKFILL",
            }
        )
    publisher.flush()
    body = {"scopes": ["analytics:read"], "style": "tidemark"}
    made = tidemark.admin("POST", f"/admin/v1/workspaces/{workspace}/keys", body).raise_for_status()
    return workspace, str(made.json()["key"])


def _names(tidemark: Tidemark, what: str) -> list[str]:
    return canaries.ask(tidemark.ready, f"SELECT DISTINCT name FROM system.{what} ORDER BY name").split()


def _run_attackers(scenario: Path, seconds: float) -> dict[str, int | None]:
    """All roles side by side, each a process of its own; exit codes."""
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for role in ROLES:
            with (scenario.parent / f"{role}.log").open("wb") as log:
                argv = [sys.executable, "-m", "tests.support.hostile", role, str(scenario)]
                running[role] = subprocess.Popen(argv, stdout=log, stderr=log)
        deadline = time.monotonic() + seconds + 120
        codes: dict[str, int | None] = {}
        for role, process in running.items():
            try:
                codes[role] = process.wait(max(1.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                codes[role] = None
        return codes
    finally:
        for process in running.values():
            if process.poll() is None:
                process.kill()
                process.wait(10)


def _report(folder: Path, role: str) -> dict[str, Any]:
    path = folder / f"{role}.json"
    found: dict[str, Any] = {"sent": {}, "answers": {}, "breaches": [f"{role} wrote no report"]}
    return json.loads(path.read_text()) if path.exists() else found


def _report_log(folder: Path, role: str) -> str:
    return (folder / f"{role}.log").read_text(errors="replace")[-1500:]


def _judge_attack(reports: Mapping[str, Mapping[str, Any]], seconds: float) -> list[str]:
    """Attackers that sent next to nothing."""
    found = []
    for role, least in LEAST_EACH_MINUTE.items():
        sent = sum(count for kind, count in reports[role]["sent"].items() if kind not in NOT_COUNTED)
        if sent < least * seconds / 60:
            found.append(f"{role} sent {sent} in {seconds:g} s, less than {least} a minute: this was no attack")
    return found


def _judge_traffic(quiet: Seen, attacked: Seen, bounds: Bounds) -> list[str]:
    """Readings under attack; what the machine needs without one is allowed for."""
    found = [f"while it was quiet: {wrong}" for wrong in quiet.wrong]
    found += [f"under attack: {wrong}" for wrong in attacked.wrong]
    found += [f"reads failed while it was quiet: {what}, {count} times" for what, count in quiet.failed.items()]
    found += [f"reads failed under attack: {what}, {count} times" for what, count in attacked.failed.items()]
    p99, bound = quantile(attacked.took, 0.99), bounds.p99_seconds + quantile(quiet.took, 0.99)
    if p99 > bound:
        found.append(f"p99 of the tenants' reads was {p99 * 1000:.0f} ms, more than {bound * 1000:.0f}")
    # Half a second is the pipeline's own; what a busy machine adds to it is there without an attack as well.
    late, needed = max(attacked.late, default=0.0), max(0.0, max(quiet.late, default=0.0) - 0.5)
    bound = LATE_SECONDS + needed
    share = sum(each > bound for each in attacked.late) / max(1, len(attacked.late))
    if share > bounds.late_share or late > bounds.latest_seconds + needed:
        found.append(f"figures were up to {late:.1f} s late, {share:.1%} more than {bound:.1f} s")
    if len(attacked.took) < 100 or attacked.published < 100:
        found.append(f"only {len(attacked.took)} reads and {attacked.published} events beside the attack")
    return found


def _judge_afterwards(tidemark: Tidemark, traffic: Traffic) -> list[str]:
    """Every surface equals the model, soon after the last event."""
    found: list[str] = []
    for tenant in traffic.random_tenants:
        seen: list[str] = ["never compared"]

        def is_equal(world: World = tenant.world, seen: list[str] = seen) -> bool:
            seen[:] = differences_from_model(tidemark, world)
            return not seen

        try:
            wait_until(is_equal, 20, partial(str, seen))
        except Exception as error:
            found.append(f"{tenant.workspace} differs from the model: {error}"[:1000])
    for counting in traffic.counting_tenants:
        found += traffic.stale_reads(counting)
        query = f"SELECT count() AS n FROM latest_post_metrics WHERE workspace_id = '{counting.workspace}'"
        rows = len(counting.ACCOUNTS) + 1
        counted = canaries.ask(tidemark.ready, query).strip()
        if counted != str(rows):
            found.append(f"{counting.workspace} has {counted} measured targets, one of them polled; expected {rows}")
    return found


def _judge_secrets(tidemark: Tidemark, outside: Path, before: str) -> list[str]:
    ready, data = tidemark.ready, tidemark.folder / "data"
    found = [f"{path} came to exist" for path in canaries.canary_paths([tidemark.folder])]
    after = canaries.objects(ready)
    if after != before:
        found.append(f"objects in ClickHouse changed: {sorted(set(after.split()) ^ set(before.split()))[:10]}")
    held = json.loads((data / "secrets.json").read_text()).values()
    long = [secret.encode() for secret in held if isinstance(secret, str) and len(secret) >= 16]
    forbidden = [FILE_MARK.encode(), TOKEN_MARK.encode(), *long]
    found += canaries.secrets_in_files(data / "logs", forbidden)
    found += [f"up.log holds a secret: {secret!r}" for secret in forbidden if secret.decode() in tidemark.log()]
    found += canaries.secrets_in_topics(ready, forbidden)
    found += canaries.secrets_in_tables(ready)
    return found


def _judge_commands(tidemark: Tidemark) -> list[str]:
    """The operator's commands work on what the attack left, and show no secret of it."""
    ready = tidemark.ready
    environment = {
        **os.environ,
        "TIDEMARK_KAFKA_BOOTSTRAP": ready["kafka"],
        "TIDEMARK_SCHEMA_REGISTRY_URL": ready["schema_registry"],
        "TIDEMARK_CLICKHOUSE_URL": ready["clickhouse"],
    }
    found = []
    for command in (("audit",), ("dead-letters", "list")):
        argv = [sys.executable, "-m", "services.cli", *command]
        name, began = f"tidemark {' '.join(command)}", time.monotonic()
        try:
            done = subprocess.run(
                argv, env=environment, capture_output=True, check=False, timeout=COMMAND_PATIENCE_SECONDS
            )
        except subprocess.TimeoutExpired:
            found.append(
                f"{name} took longer than {COMMAND_PATIENCE_SECONDS:g} s, where {COMMAND_SECONDS:g} are allowed"
            )
            continue
        took = time.monotonic() - began
        print(f"{name}: {took:.1f} s")
        if took > COMMAND_SECONDS:
            found.append(f"{name} took {took:.0f} s, longer than {COMMAND_SECONDS:g}")
        said = done.stdout + done.stderr
        if done.returncode:
            found.append(f"{name} ended with {done.returncode}: {said[-1500:].decode()}")
        found += [f"{name} shows {mark}" for mark in (TOKEN_MARK, FILE_MARK) if mark.encode() in said]
    return found
