"""The rights that `tidemark topics --acls` prints, on a broker that enforces them: enough, and none too many."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.embedded.ports import free_ports
from infra.sandbox.ids import make_id
from schemas.events import ChannelTokens
from schemas.kafka_rights import SERVICES, Right, kafka_rights
from services.notifier.settings import NotifierSettings
from services.poller.settings import PollerSettings
from services.runtime.acls import AclsSettings, installation
from services.runtime.clock import iso_millis
from services.runtime.neighbours import ask_rights
from services.runtime.secrets import TokenCipher, TokenPair
from services.runtime.topics import TopicsSettings, ensure_topics
from tests.support.backend import Backend, now_ms
from tests.support.engines import EmbeddedEngines, in_database
from tests.support.pollers import SECRET_KEY
from tests.support.properties import some_of
from tests.support.secured_kafka import SecuredKafka
from tests.support.waiting import wait_until

ADMIN_KEY = "admin-key-of-the-rights-tests"
PREFIX = "secured."
WORKSPACE = "w-rights"
NAMES = replace(installation(AclsSettings(kafka_bootstrap="k:9092")), prefix=PREFIX)


class _OnSecuredKafka:
    """The run's engines with another Kafka, as a super user."""

    def __init__(self, engines: EmbeddedEngines, kafka_bootstrap: str) -> None:
        self.kafka_bootstrap = kafka_bootstrap
        self.schema_registry_url = engines.schema_registry_url
        self.clickhouse_url = engines.clickhouse_url
        self.clickhouse_analyst_url = engines.clickhouse_analyst_url

    def close(self) -> None:
        """The run closes its engines."""


@pytest.fixture(scope="module")
def secured(engines: object) -> SecuredKafka:
    if not isinstance(engines, EmbeddedEngines):
        pytest.skip("starts a broker of its own: runs with --engines=embedded only")
    return SecuredKafka(engines)


@pytest.fixture(scope="module")
def installed(
    engines: EmbeddedEngines, secured: SecuredKafka, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Backend]:
    """Topics and tables, made by a super user, and every service's and command's user with its rights."""
    backend = Backend(
        _OnSecuredKafka(engines, secured.plain_bootstrap),
        PREFIX,
        in_database(engines.clickhouse_url, "secured"),
        tmp_path_factory.mktemp("secured"),
    )
    roles = (*SERVICES, "topics", "audit", "rebuild", "dead-letters", "redrive", "catalog-export", "status",
             "secrets-reencrypt")  # fmt: skip
    secured.set_rights({f"tidemark-{role}": kafka_rights(role, NAMES) for role in roles})
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def aggregator(installed: Backend, secured: SecuredKafka) -> Backend:
    """The installation with an aggregator that has its rights alone."""
    installed.start_aggregator(environment=secured.settings_of("tidemark-aggregator"))
    return installed


def environment(backend: Backend, secured: SecuredKafka, role: str, **more: str) -> dict[str, str]:
    return {**os.environ, **backend.environment, **secured.settings_of(f"tidemark-{role}"), **more}


def command(backend: Backend, secured: SecuredKafka, role: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "services.cli", *arguments], env=environment(backend, secured, role),
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def less(rights: Sequence[Right]) -> Iterator[tuple[Right, list[Right]]]:
    """Each single operation, and the rights without it. Of a group named by a prefix nothing can be asked."""
    for at, right in enumerate(rights):
        if right.resource == "group" and (right.is_prefix or right.operations == ("Describe",)):
            continue
        for verb in right.operations:
            if verb == "Describe":
                continue  # implied by the others
            rest = tuple(other for other in right.operations if other != verb)
            kept = [replace(right, operations=rest)] if rest else []
            yield replace(right, operations=(verb,)), [*rights[:at], *kept, *rights[at + 1 :]]


@pytest.mark.parametrize("share", [pytest.param(1, marks=pytest.mark.long), 6])
@pytest.mark.parametrize("role", ["poller", "aggregator", "query-api", "notifier"])
def test_each_right_that_is_missing_is_named(installed: Backend, secured: SecuredKafka, role: str, share: int) -> None:
    user = f"less-{role}"
    told = {name.removeprefix("TIDEMARK_").lower(): value for name, value in secured.settings_of(user).items()}
    settings = AclsSettings.model_validate({**told, "topic_prefix": PREFIX})
    rights = kafka_rights(role, NAMES)
    secured.set_rights({user: rights})
    wait_until(lambda: ask_rights(settings, role) is None, 10, lambda: f"nothing lacks: {ask_rights(settings, role)}")
    for lacking, kept in some_of(less(rights), share):
        secured.set_rights({user: kept})
        line = wait_until(lambda: ask_rights(settings, role), 10, f"{lacking} is missed")
        assert line is not None
        verb = lacking.operations[0]
        shown = f"{lacking.name}*" if lacking.is_prefix else lacking.name
        assert f"{lacking.resource} {shown}" in line, line
        assert verb in line
        assert user in line
        assert line.count(" on ") == 1, f"only {lacking} is missing: {line}"


def test_a_service_with_one_right_less_ends_with_a_line_that_names_it(
    installed: Backend, secured: SecuredKafka
) -> None:
    rights = kafka_rights("aggregator", NAMES)
    secured.set_rights({"weak-aggregator": [right for right in rights if right.name != f"{PREFIX}rollups.posts"]})
    told = {**os.environ, **installed.environment, **secured.settings_of("weak-aggregator")}
    ended = subprocess.run(
        [sys.executable, "-m", "services.aggregator"], env=told, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 2
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("tidemark:")]
    assert f"Read and Write on topic {PREFIX}rollups.posts" in line


def test_every_service_does_its_work_with_its_rights_alone(
    aggregator: Backend, secured: SecuredKafka, tmp_path: Path
) -> None:
    installed = aggregator
    processes: list[subprocess.Popen[bytes]] = []
    try:
        api = _start_query_api(installed, secured, tmp_path, processes)
        _start_poller(installed, secured, tmp_path, processes)
        _start_notifier(installed, secured, tmp_path, processes)
        external_id = make_id("bluesky", now_ms() - 3_600_000, 1)
        target = {"target_id": "t1", "channel_id": "c1", "status": "published", "external_id": external_id}
        post = {"status": "published", "published_at": iso_millis(now_ms() - 3_600_000), "targets": [target]}
        channel = {
            "platform": "bluesky",
            "external_id": "did:plc:c1",
            "username": "c1",
            "access_token": "sandbox-of-the-rights-tests",
        }
        for path, body in (("channels/c1", channel), ("posts/p1", post)):
            _admin("PUT", f"{api}/admin/v1/workspaces/{WORKSPACE}/{path}", body)
        wait_until(
            lambda: installed.rows("SELECT likes FROM post_totals WHERE post_id = 'p1' AND likes IS NOT NULL"),
            60,
            lambda: f"polled and folded: {installed.log_tail()} {(tmp_path / 'poller.log').read_text()[-3000:]}",
        )
        wait_until(lambda: f"{WORKSPACE}/p1" in installed.latest("rollups.posts"), 20, "the rollup is published")
        made = _admin("POST", f"{api}/admin/v1/workspaces/{WORKSPACE}/keys", {"scopes": ["analytics:read"]})
        reply = httpx.get(
            f"{api}/tidemark/v1/posts/p1", headers={"authorization": f"Bearer {made['key']}"}, timeout=20
        ).raise_for_status()
        assert reply.json()["id"] == "p1"
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(30)


@pytest.mark.long
def test_every_command_does_its_work_with_its_rights_alone(aggregator: Backend, secured: SecuredKafka) -> None:
    installed = aggregator
    installed.put_channel(WORKSPACE, "c2")
    assert command(installed, secured, "topics", "topics").returncode == 0
    audited = command(installed, secured, "audit", "audit", "--grace-seconds", "0")
    assert audited.returncode == 0, audited.stdout + audited.stderr
    exported = command(installed, secured, "catalog-export", "catalog", "export")
    assert '"w-rights"' in exported.stdout, exported.stderr
    installed.publish("platform.raw", WORKSPACE.encode(), WORKSPACE, b"no Avro")
    installed.settle()
    listed = command(installed, secured, "dead-letters", "dead-letters", "list")
    assert "malformed_event" in listed.stdout, listed.stderr
    redriven = command(installed, secured, "redrive", "dead-letters", "redrive", "--every-reason")
    assert redriven.returncode == 0, redriven.stderr
    refused = command(installed, secured, "dead-letters", "dead-letters", "redrive", "--every-reason")
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert f"tidemark-dead-letters lacks Write on topic {PREFIX}platform.raw" in line
    rebuilt = command(installed, secured, "rebuild", "rebuild")
    assert rebuilt.returncode == 0, rebuilt.stdout + rebuilt.stderr


@pytest.mark.long
def test_secrets_are_encrypted_anew_with_the_commands_rights_alone(installed: Backend, secured: SecuredKafka) -> None:
    """Then the old key can be taken out."""
    old, new = "the-old-key-of-sixteen-characters", "the-new-key-of-sixteen-characters"
    owner = (WORKSPACE, "rotated")
    event = ChannelTokens(
        *owner, TokenCipher([old]).encrypt(TokenPair("a-token", "another"), owner), "x.-", None, "refresh", 1
    )
    key = "/".join(owner).encode()
    installed.publish("catalog.tokens", key, WORKSPACE, installed.codec("catalog.tokens").encode(event))
    installed.producer.flush(20)

    def reencrypt(keys: str) -> subprocess.CompletedProcess[str]:
        told = environment(installed, secured, "secrets-reencrypt", TIDEMARK_SECRET_KEYS=keys)
        argv = [sys.executable, "-m", "services.cli", "secrets", "reencrypt"]
        return subprocess.run(argv, env=told, capture_output=True, text=True, timeout=120, check=False)

    without = reencrypt(new)
    assert without.returncode == 1
    assert f"no key of TIDEMARK_SECRET_KEYS opens {WORKSPACE}/rotated" in without.stdout
    done = reencrypt(f"{new},{old}")
    assert "encrypted anew" in done.stdout, done.stderr
    held = installed.latest("catalog.tokens")["/".join(owner)]
    assert TokenCipher([new]).decrypt(held["ciphertext"], owner) == TokenPair("a-token", "another")
    again = reencrypt(new)
    # Other tests' tokens are of keys that this one never had.
    assert f"{WORKSPACE}/rotated" not in again.stdout
    assert "catalog.tokens: 0 encrypted anew, 1 were already" in again.stdout


def test_topics_are_made_by_their_own_user(installed: Backend, secured: SecuredKafka) -> None:
    names = replace(NAMES, prefix="fresh.")
    secured.set_rights({"fresh-topics": kafka_rights("topics", names)})
    told = _settings(
        {**installed.environment, **secured.settings_of("fresh-topics"), "TIDEMARK_TOPIC_PREFIX": "fresh."}
    )
    made = list(ensure_topics(TopicsSettings.model_validate(told), TopicsSettings.model_validate(told)))
    assert all("created" in line for line in made), made


def _settings(environment: Mapping[str, str]) -> dict[str, str]:
    known = TopicsSettings.model_fields
    named = {name.removeprefix("TIDEMARK_").lower(): value for name, value in environment.items()}
    return {name: value for name, value in named.items() if name in known}


def _admin(method: str, url: str, body: Mapping[str, object]) -> Any:
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    reply = httpx.request(method, url, json=body, headers=headers, timeout=20, trust_env=False)
    return reply.raise_for_status().json()


def _start_query_api(
    installed: Backend, secured: SecuredKafka, folder: Path, processes: list[subprocess.Popen[bytes]]
) -> str:
    port = free_ports(1)[0]
    told = environment(
        installed, secured, "query-api", TIDEMARK_ADMIN_KEY=ADMIN_KEY, TIDEMARK_SECRET_KEYS=SECRET_KEY,
        TIDEMARK_QUERY_API_PORT=str(port), TIDEMARK_STORE_DIR=str(folder / "store"),
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    _start("services.query_api", told, folder / "query-api.log", f"{url}/readyz", processes)
    return url


def _start_poller(
    installed: Backend, secured: SecuredKafka, folder: Path, processes: list[subprocess.Popen[bytes]]
) -> None:
    port, sandbox_port = free_ports(2)
    sandbox = f"http://127.0.0.1:{sandbox_port}"
    with (folder / "sandbox.log").open("wb") as output:
        argv = [sys.executable, "-m", "infra.sandbox", "--port", str(sandbox_port), "--no-limits"]
        processes.append(subprocess.Popen(argv, stdout=output, stderr=output))
    told = environment(
        installed, secured, "poller",
        TIDEMARK_SECRET_KEYS=SECRET_KEY, TIDEMARK_METRICS_PORT=str(port), TIDEMARK_BLUESKY_BASE_URL=sandbox,
    )  # fmt: skip
    assert PollerSettings.model_fields["poller_group"].default == NAMES.poller_group
    _start("services.poller", told, folder / "poller.log", f"http://127.0.0.1:{port}/readyz", processes)


def _start_notifier(
    installed: Backend, secured: SecuredKafka, folder: Path, processes: list[subprocess.Popen[bytes]]
) -> None:
    port = free_ports(1)[0]
    told = environment(installed, secured, "notifier", TIDEMARK_SECRET_KEYS=SECRET_KEY, TIDEMARK_METRICS_PORT=str(port))
    assert NotifierSettings.model_fields["notifier_group"].default == NAMES.notifier_group
    _start("services.notifier", told, folder / "notifier.log", f"http://127.0.0.1:{port}/readyz", processes)


def _start(module: str, told: dict[str, str], log: Path, ready: str, processes: list[subprocess.Popen[bytes]]) -> None:
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-m", module], env=told, stdout=output, stderr=output)
    processes.append(process)

    def is_ready() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return httpx.get(ready, trust_env=False).is_success
        except httpx.HTTPError:
            return False

    wait_until(is_ready, 60, lambda: f"{module} is ready: {log.read_text()[-3000:]}")
