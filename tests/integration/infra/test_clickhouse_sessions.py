"""Sessions: what one request leaves behind, the next request of the same session and user finds, and nobody else."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from clickhouse_connect import get_client

from infra.embedded.clickhouse.sessions import MOST_KEPT
from tests.integration.infra.test_clickhouse_server import PASSWORD, Process, wait_for


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    process = Process(tmp_path_factory.mktemp("clickhouse"))
    try:
        yield process.wait_until_ready()
    finally:
        if process.popen.poll() is None:
            assert process.end() == 0


def code(reply: httpx.Response) -> str | None:
    value: str | None = reply.headers.get("X-ClickHouse-Exception-Code")
    return value


def test_settings_databases_and_temporary_tables_stay(server: Process) -> None:
    for sql in (
        "SET max_block_size = 4321",
        "CREATE TEMPORARY TABLE mine (a UInt64)",
        "INSERT INTO mine VALUES (1), (2)",
        "INSERT INTO mine FORMAT CSV\n3\n",
        "USE system",
    ):
        assert server.post(sql, session_id="s1").status_code == 200, sql
    assert server.post("SELECT sum(a) FROM mine", session_id="s1").text == "6\n"
    assert (
        server.post("SELECT getSetting('max_block_size'), currentDatabase()", session_id="s1").text == "4321\tsystem\n"
    )
    with_setting = server.post("SELECT getSetting('max_threads')", session_id="s1", max_threads="1")
    assert with_setting.text == "1\n"
    assert server.post("SELECT getSetting('max_threads') = 1", session_id="s1").text == "0\n"
    assert server.post("SELECT sum(a) FROM mine", session_id="s1").text == "6\n"
    for others in ({"session_id": "s2"}, {}):
        assert code(server.post("SELECT sum(a) FROM mine", headers=None, **others)) == "60"
        assert server.post("SELECT getSetting('max_block_size') = 4321", headers=None, **others).text == "0\n"
    assert code(server.post("SELECT sum(a) FROM mine", user="analyst", session_id="s1")) == "60"
    got = httpx.get(server.url, params={"query": "SELECT 1", "session_id": "s1"}, auth=("default", PASSWORD))
    assert code(got) == "164"


def test_a_session_ends(server: Process) -> None:
    assert code(server.post("SELECT 1", session_id="absent", session_check="1")) == "372"
    server.post("CREATE TEMPORARY TABLE brief (a UInt64)", session_id="short", session_timeout="1")
    assert server.post("SELECT 1", session_id="short", session_check="1", session_timeout="1").text == "1\n"
    handles = "SELECT count() FROM brief"
    wait_for(lambda: code(server.post(handles, session_id="other")) == "60", "an error of another session")
    server.post("SET max_threads = 1", session_id="short", session_timeout="1")

    def ended() -> bool:
        reply = httpx.post(
            server.url,
            content="SELECT 1",
            params={"session_id": "short", "session_check": "1", "session_timeout": "1"},
            auth=("default", PASSWORD),
        )
        return code(reply) == "372"

    # Each look at a session is a use of it, so that it is looked at only after its time.
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(server.url, content="SELECT sleep(3)", auth=("default", PASSWORD), timeout=2.0)
    assert ended()
    server.post("CREATE TEMPORARY TABLE closed (a UInt64)", session_id="c")
    assert server.post("SELECT count() FROM closed", session_id="c", close_session="1").text == "0\n"
    assert code(server.post("SELECT count() FROM closed", session_id="c")) == "60"
    for timeout in ("0", "3601", "x", "-1"):
        assert code(server.post("SELECT 1", session_id="s", session_timeout=timeout)) == "374"


def test_sessions_are_bounded(server: Process) -> None:
    codes = [
        code(server.post("SET max_threads = 1", session_id=f"many {n}", session_timeout="600"))
        for n in range(MOST_KEPT + 1)
    ]
    assert codes[0] is None
    assert codes[-1] == "700"
    for number in range(1100):
        assert server.post("SELECT 1", session_id=f"idle {number}").status_code == 200
    # Sessions that left something stay for their time, however many others came.
    assert server.post("SELECT getSetting('max_threads')", session_id="many 0").text == "1\n"
    for number in range(MOST_KEPT + 1):
        server.post("SELECT 1", session_id=f"many {number}", close_session="1")
    assert code(server.post("SET max_threads = 1", session_id="after", close_session="1")) is None


def test_clickhouse_connect_with_its_own_sessions(server: Process) -> None:
    with get_client(host="127.0.0.1", port=server.port, username="default", password=PASSWORD) as client:
        assert client.query("SELECT 1").result_rows == [(1,)]
        assert client.query("SELECT 2").result_rows == [(2,)]
