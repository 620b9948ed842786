"""docs/deployment.md run as it stands, block by block in one shell, from a cluster without users to the first number.

The cluster is `tidemark up --secure` without services, and without the users that it else makes: TLS on every engine,
SASL and an authorizer in Kafka, and the administrator's users alone. The sandbox answers in Bluesky's place.
"""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import httpx
import psutil
import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from infra.embedded.ports import free_ports
from tests.support.closed import listening
from tests.support.documents import Block, Shell, blocks
from tests.support.tidemark import Tidemark, kafka_options
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
PAGE = blocks(TEXT)
ADDRESSES = "umask 077"
CHANNEL = "BLUESKY="
CLUSTER = "tidemark up --secure"
# The sandbox's own account.
HANDLE, DID = "account.sandbox.test", "did:plc:sandboxsandboxsandboxsan"
# Each block that is not run, by its first line, and what shows that it is right.
ELSEWHERE = {
    CLUSTER: "the fixture `cluster`",
    "docker build ": "tests/unit/infra/test_docker.py; there is no container engine here",
    "export NAMESPACE=": "tests/unit/infra/test_deployment_page.py, test_helm.py; there is no Kubernetes here",
    "umask 022": "tests/unit/infra/test_deployment_page.py, test_systemd.py; systemd does not run here",
}
# What the text promises of a block, by a line of it: everything that its output has to show.
PROMISED = {
    "tidemark topics --acls": [
        r"(?m)^tidemark-poller: secrets/kafka/poller$", r"(?m)^User:tidemark-aggregator: \d+ ACLs$",
        r"(?m)^tidemark_query_api: secrets/clickhouse/query-api$", r"(?m)^tidemark_migrate: \d+ grants$",
    ],
    "sh secrets/as topics": [r"(?m)^platform\.raw: created", r"(?m)^0001_create_active_generations: applied"],
    "com.atproto.server.createSession": [r'"status":"active"'],
    "tidemark keys create": [r'(?m)^"followers": ?\d+$'],
}  # fmt: skip
SERVICES = ("aggregator", "poller", "notifier", "query-api")
# What `tidemark up` needs to be started, from the repository.
NEEDED = ("Makefile", "infra", "pyproject.toml", "requirements.lock")


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tidemark]:
    """The engines, as the page starts them, and the sandbox."""
    if request.config.getoption("--engines") != "embedded":
        pytest.skip("runs `tidemark up`, which has engines of its own: --engines=embedded only")
    (block,) = (block for block in PAGE if block.text.startswith(CLUSTER))
    options = block.text.replace("\\\n", " ").split()[2:]
    assert options[-2:] == ["--ready-file", "ready.json"]
    folder = tmp_path_factory.mktemp("cluster")
    running = Tidemark(folder, data=".tidemark")
    command = [sys.executable, "-m", "services.cli", "up", *options, "--ports", "auto"]
    running.start_by(command, folder=folder)
    yield running
    running.stop()


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Path]:
    """A folder like the repository's root; the services that the page's blocks leave running are stopped."""
    for name in NEEDED:
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".venv").symlink_to(Path(sys.prefix))
    yield tmp_path
    for pid in _pids(tmp_path):
        if psutil.pid_exists(pid):
            os.kill(pid, signal.SIGKILL)


def _pids(folder: Path) -> list[int]:
    path = folder / "secrets" / "pids"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def _with_own_values(block: Block, cluster: Tidemark, api: str) -> Block:
    """The first block, and the block with the channel, as their reader edits them; any other block as it is."""
    ready = cluster.ready
    passwords = json.loads((cluster.data / "secure" / "passwords.json").read_text())
    values = {
        ADDRESSES: {
            r"(?<=KAFKA_BOOTSTRAP=)\S+": ready["kafka"],
            r"(?<=TIDEMARK_SCHEMA_REGISTRY_URL=)\S+": ready["schema_registry"],
            r"(?<=TIDEMARK_QUERY_API_URL=)\S+": api,
            r"(?<=KAFKA_ADMIN=)\S+": "tidemark-setup",
            r"(?m)^the password of that user$": passwords["kafka"]["setup"],
            r"(?m)^https://default:.*$": ready["clickhouse"],
        },
        CHANNEL: {r"(?<=BLUESKY=)\S+": ready["sandbox"], r"you\.bsky\.social": HANDLE},
    }
    text = block.text
    for beginning, own in values.items():
        if text.startswith(beginning):
            for before, after in own.items():
                text, replaced = re.subn(before, after, text)
                assert replaced == 1, before
    return Block(block.language, text, block.line)


def test_every_block_is_run_or_named() -> None:
    assert {block.language for block in PAGE} == {"sh"}, "run blocks of another language, too"
    for beginning in (ADDRESSES, CHANNEL, *ELSEWHERE):
        assert sum(block.text.startswith(beginning) for block in PAGE) == 1, beginning
    for line in PROMISED:
        assert sum(line in block.text for block in PAGE) == 1, line


def test_a_newcomer_reads_the_first_number(
    cluster: Tidemark, copy: Path, record_property: Callable[[str, object], None]
) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TIDEMARK_")}
    environment["TIDEMARK_BLUESKY_BASE_URL"] = cluster.ready["sandbox"]
    environment["no_proxy"] = "127.0.0.1,localhost"
    (copy / "ca.crt").write_bytes(Path(cluster.ready["ca_file"]).read_bytes())
    begun_at = time.monotonic()
    api, shown = f"http://127.0.0.1:{free_ports(1)[0]}", ""
    with Shell(copy, environment, seconds=180) as shell:
        for block in PAGE:
            if block.text.startswith(tuple(ELSEWHERE)):
                continue
            code, output = shell.run(_with_own_values(block, cluster, api))
            where = f"docs/deployment.md, line {block.line}"
            logs = "" if code == 0 else _ends_of_logs(copy)
            assert code == 0, f"{where}: exit code {code}\n{output[-3000:]}\n{logs}"
            for line, patterns in PROMISED.items():
                for pattern in patterns if line in block.text else ():
                    assert re.search(pattern, output), f"{where}: no {pattern}\n{output[:6000]}"
            shown = output
        seconds = time.monotonic() - begun_at
        record_property("seconds_to_the_first_number", round(seconds, 1))
        print(f"the first number after {seconds:.0f} s")
        _is_the_platforms_number(cluster, shown)
        _services_know_their_own_secrets(copy)
        _secrets_are_their_owners(copy)
        _nothing_listens_that_was_not_asked_for(copy, api)
        (stop,) = re.findall(r"^`(kill .*)` stops them", TEXT, re.MULTILINE)
        pids = _pids(copy)
        assert shell.run(Block("sh", stop, 0)).code == 0
        # The shell is their parent and has not asked for them yet.
        wait_until(lambda: not any(_runs(pid) for pid in pids), 40, lambda: _ends_of_logs(copy))
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{api}/healthz", trust_env=False)


@pytest.fixture
def administrator(cluster: Tidemark) -> dict[str, str]:
    """The settings of step 3."""
    passwords = json.loads((cluster.data / "secure" / "passwords.json").read_text())
    ca_file = cluster.ready["ca_file"]
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("TIDEMARK_")},
        "TIDEMARK_KAFKA_BOOTSTRAP": cluster.ready["kafka"],
        "TIDEMARK_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "TIDEMARK_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
        "TIDEMARK_KAFKA_SSL_CAFILE": ca_file,
        "TIDEMARK_KAFKA_SASL_USERNAME": "tidemark-setup",
        "TIDEMARK_KAFKA_SASL_PASSWORD": passwords["kafka"]["setup"],
        "TIDEMARK_CLICKHOUSE_URL": cluster.ready["clickhouse"],
        "TIDEMARK_CLICKHOUSE_SSL_CAFILE": ca_file,
    }


def test_users_of_kafka_are_made_once_and_refused_without_their_file(
    cluster: Tidemark, administrator: dict[str, str], tmp_path: Path
) -> None:
    made = tmp_path / "kafka" / "notifier"
    command = ["topics", "--acls", "--apply", "--service", "notifier", "--principal-prefix", "again-"]
    command += ["--users", str(made.parent)]

    def opens() -> bool:
        options = {**kafka_options(cluster.ready), "sasl.username": "again-notifier", "log_level": 0}
        try:
            AdminClient({**options, "sasl.password": made.read_text().strip()}).list_topics(timeout=5)
        except KafkaException:
            return False
        return True

    assert _run(command, administrator).returncode == 0
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert opens()
    made.write_text("a password of the reader's own\n")
    assert _run(command, administrator).returncode == 0
    assert opens()
    made.unlink()
    refused = _run(command, administrator)
    assert refused.returncode == 1
    assert f"the user again-notifier is there already, but {made} is not: put its password there" in refused.stderr
    assert not made.exists()


def test_users_of_clickhouse_are_made_once_and_refused_without_their_file(
    cluster: Tidemark, administrator: dict[str, str], tmp_path: Path
) -> None:
    made = tmp_path / "clickhouse" / "query-api"
    command = ["migrate", "--grants", "--apply", "--service", "query-api", "--user-prefix", "again_"]
    command += ["--users", str(made.parent)]

    def status() -> int:
        url = httpx.URL(made.read_text().strip())
        assert url.path == "/tidemark"
        place, query = url.copy_with(path="/", userinfo=b""), {"query": "SELECT 1"}
        told = (url.username, url.password)
        return httpx.get(place, params=query, auth=told, verify=cluster.trusted(), trust_env=False).status_code

    assert _run(command, administrator).returncode == 0
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert status() == 200
    made.write_text(made.read_text().replace("again_query_api:", "again_query_api:another-"))
    assert status() != 200
    assert _run(command, administrator).returncode == 0
    assert status() == 200
    made.unlink()
    refused = _run(command, administrator)
    assert refused.returncode == 1
    assert f"the user again_query_api is there already, but {made} is not: put its address there" in refused.stderr
    assert not made.exists()


def _run(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "services.cli", *command],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def _is_the_platforms_number(cluster: Tidemark, output: str) -> None:
    (followers,) = re.findall(r'(?m)^"followers": ?(\d+)$', output)
    served = cluster.sandbox("served", platform="bluesky", external_id=DID, metric="followersCount")["served"]
    assert int(followers) in {one["fields"]["followersCount"] for one in served}, served


def _services_know_their_own_secrets(copy: Path) -> None:
    """Each runs with its own users, and no secret is in its environment or on its command line."""
    files = [path for path in (copy / "secrets").rglob("*") if path.is_file()]
    secrets = [path.read_text().strip() for path in files if path.parent.name in ("kafka", "clickhouse")]
    secrets += [(copy / "secrets" / name).read_text().strip() for name in ("admin-key", "secret-keys")]
    assert len(secrets) > 20
    for service, pid in zip(SERVICES, _pids(copy), strict=True):
        process = psutil.Process(pid)
        told: Mapping[str, str] = process.environ()
        assert told["TIDEMARK_KAFKA_SASL_USERNAME"] == f"tidemark-{service}"
        assert process.cmdline()[-1] == f"services.{service.replace('-', '_')}"
        known = "\n".join((*told.values(), *process.cmdline()))
        assert not [secret for secret in secrets if secret in known]


def _secrets_are_their_owners(copy: Path) -> None:
    for path in (copy / "secrets", *(copy / "secrets").rglob("*")):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path
    assert not list((copy / "secrets").glob("admin-kafka")) + list((copy / "secrets").glob("admin-clickhouse"))


def _nothing_listens_that_was_not_asked_for(copy: Path, api: str) -> None:
    """The query API where the reader wants it, and one port of each service for operators, on this machine alone."""
    heard = listening(zip(SERVICES, _pids(copy), strict=True))
    assert {address for _, address in heard.values()} == {"127.0.0.1"}
    assert heard[int(api.rpartition(":")[2])][0] == "query-api"
    names = [name for name, _ in heard.values()]
    assert sorted(names) == sorted((*SERVICES, "query-api"))


def _runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _ends_of_logs(folder: Path) -> str:
    logs = sorted((folder / "secrets").glob("*.log"))
    return "\n".join(f"{path.name}: {path.read_text(errors='replace')[-1500:]}" for path in logs)
