"""The operator's users on the embedded ClickHouse, over https: made by CREATE USER and GRANT, held to their grants."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import clickhouse_connect
import httpx
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from schemas.clickhouse_rights import ROLES, grants
from services.runtime.migrations import grant_rights, migrate
from services.runtime.neighbours import ask_clickhouse, ask_grants
from services.runtime.settings import ClickHouseSettings
from tests.integration.infra.test_clickhouse_server import PASSWORD, Process
from tests.support.certificates import Certificates, make_certificates

DATABASE = "tidemark"


class Secured:
    """A server with https and users."""

    def __init__(self, folder: Path) -> None:
        self.certificates: Certificates = make_certificates(folder / "tls")
        held = self.certificates
        arguments = ["--named-users", "--certificate", str(held.server), "--key", str(held.server_key)]
        self.process = Process(folder / "data", *arguments).wait_until_ready()
        self._clients: list[Client] = []

    def settings(self, user: str, password: str) -> ClickHouseSettings:
        url = f"https://{user}:{password}@127.0.0.1:{self.process.port}/{DATABASE}"
        return ClickHouseSettings.model_validate(
            {"clickhouse_url": url, "clickhouse_ssl_cafile": str(self.certificates.authority)}
        )

    def client(self, user: str, password: str) -> Client:
        made = clickhouse_connect.get_client(
            **self.settings(user, password).clickhouse_connection(), autogenerate_session_id=False, database=DATABASE
        )
        self._clients.append(made)
        return made

    def stop(self) -> None:
        # A server that ends waits ten seconds for connections that are open.
        while self._clients:
            self._clients.pop().close()
        self.process.popen.terminate()
        self.process.popen.wait(30)

    def restart(self) -> None:
        self.stop()
        self.process.popen = self.process._start()
        self.process.wait_until_ready()


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """A server with a user for each role, with the grants that `tidemark migrate --grants` gives."""
    made = Secured(tmp_path_factory.mktemp("secured"))
    admin = made.settings("default", PASSWORD)
    by_user = {user(role): grants(role, DATABASE, user(role), None) for role in ROLES}
    client = made.client("default", PASSWORD)
    for name in by_user:
        client.command(f"CREATE USER IF NOT EXISTS {name} IDENTIFIED BY 'pw-{name}'")
    list(grant_rights(admin, by_user))
    list(migrate(made.settings(user("migrate"), f"pw-{user('migrate')}")))
    yield made
    made.stop()


def user(role: str) -> str:
    return f"tidemark_{role.replace('-', '_')}"


def test_every_role_has_the_rights_that_its_grants_say(secured: Secured) -> None:
    # The rights of `migrate` are shown by the tables: the fixture made them as this user.
    for role in set(ROLES) - {"migrate"}:
        held = secured.settings(user(role), f"pw-{user(role)}")
        assert ask_clickhouse(held) is None
        assert ask_grants(held, role) is None, role


def test_a_user_with_one_right_less_is_told_which(secured: Secured) -> None:
    admin = secured.client("default", PASSWORD)
    admin.command("CREATE USER weak_notifier IDENTIFIED WITH sha256_password BY 'it''s weak'")
    admin.command("GRANT SELECT ON tidemark.posts_store TO weak_notifier")
    line = ask_grants(secured.settings("weak_notifier", "it%27s%20weak"), "notifier")
    assert line is not None
    assert "weak_notifier lacks INSERT ON tidemark.webhook_deliveries" in line
    with pytest.raises(ClickHouseError, match=r"weak_notifier: Not enough privileges.*channels_store"):
        secured.client("weak_notifier", "it's weak").query("SELECT count() FROM channels_store")


def test_a_user_does_what_is_granted_and_nothing_else(secured: Secured) -> None:
    aggregator = secured.client(user("aggregator"), f"pw-{user('aggregator')}")
    columns = ["workspace_id", "channel_id", "platform"]
    aggregator.insert("channels_store", [["w", "c", "x"]], column_names=columns)
    assert aggregator.query("SELECT channel_id FROM channels_store WHERE workspace_id = 'w'").result_rows == [("c",)]
    for refused in (
        "SELECT count() FROM schema_migrations",
        "DROP TABLE channels_store",
        "CREATE TABLE mine (a UInt8) ENGINE = Memory",
        "SELECT * FROM file('/etc/passwd', 'CSV', 'a String')",
        "SET ROLE everything",
        "SET ROLE ALL",
        "EXECUTE AS default SELECT 1",
        "CREATE USER another IDENTIFIED BY 'x'",
        "GRANT SELECT ON tidemark.* TO tidemark_aggregator",
        "SELECT 1; SET ROLE everything",
    ):
        with pytest.raises(ClickHouseError):
            aggregator.command(refused)
    assert aggregator.query("SHOW CURRENT ROLES").result_rows[0][0] == user("aggregator")
    reader = secured.client(user("query-api"), f"pw-{user('query-api')}")
    with pytest.raises(ClickHouseError, match="Not enough privileges"):
        reader.insert("channels_store", [["w", "d", "x"]], column_names=columns)
    assert reader.query("SELECT count() FROM channels_store WHERE workspace_id = 'w'").result_rows == [(1,)]


def test_users_survive_a_restart_and_passwords_change(secured: Secured) -> None:
    admin = secured.client("default", PASSWORD)
    admin.command("CREATE USER passing IDENTIFIED BY 'first'")
    admin.command("GRANT SELECT ON tidemark.posts_store TO passing")
    admin.command("ALTER USER passing IDENTIFIED BY 'second'")
    secured.restart()
    assert secured.client("passing", "second").query("SELECT count() FROM posts_store").result_rows == [(0,)]
    assert ask_clickhouse(secured.settings("passing", "first")) is not None
    secured.client("default", PASSWORD).command("DROP USER passing")
    problem = ask_clickhouse(secured.settings("passing", "second"))
    assert problem is not None
    assert problem.is_refusal
    held = (secured.process.path / "users" / "users.json").read_text()
    assert "pw-tidemark" not in held
    assert (secured.process.path / "users" / "users.json").stat().st_mode & 0o077 == 0


def test_who_does_not_know_the_authority_gets_no_answer(secured: Secured) -> None:
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"https://127.0.0.1:{secured.process.port}/ping", timeout=10)
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://127.0.0.1:{secured.process.port}/ping", timeout=10)
