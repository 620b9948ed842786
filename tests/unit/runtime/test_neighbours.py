"""Each way in which a neighbour can't be used is one line that names the setting to look at."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from services.runtime import neighbours
from services.runtime.neighbours import ask_clickhouse, ask_grants, ask_kafka, ask_registry, problems
from services.runtime.settings import ClickHouseSettings, KafkaSettings, RegistrySettings


def judging(judge: Callable[[str], str]) -> AbstractContextManager[str]:
    """`host:port` of a server that answers each request by its body."""
    return answering(200, judge)


@contextmanager
def answering(status: int, answer: str | Callable[[str], str], headers: dict[str, str] | None = None) -> Iterator[str]:
    """`host:port` of a server that answers everything alike, or by the request's body."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            body = answer if isinstance(answer, str) else answer(asked)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Tests are quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    # A server looks so often whether it shall end, and is waited for.
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def silent() -> Iterator[str]:
    """`host:port` that accepts connections and never answers, as a frozen engine does."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "ANSWER_SECONDS", 1.0)


def clickhouse(address: str) -> ClickHouseSettings:
    return ClickHouseSettings(clickhouse_url=f"http://default:s3cr3t@{address}/tidemark")


def registry(address: str) -> RegistrySettings:
    return RegistrySettings(schema_registry_url=f"http://someone:s3cr3t@{address}/wrong/path")


@pytest.mark.parametrize(
    ("status", "body", "headers", "words", "is_refusal"),
    [
        (401, "", {"X-ClickHouse-Exception-Code": "516"}, "refuses the user default or its password", True),
        (403, "", {"X-ClickHouse-Exception-Code": "194"}, "refuses the user default or its password", True),
        (500, "", {"X-ClickHouse-Exception-Code": "241"}, "its error 241", False),
        (404, "not here", {}, "is no ClickHouse HTTP interface", True),
        (200, "hello", {}, "is no ClickHouse HTTP interface", True),
    ],
)
def test_clickhouse_that_answers_otherwise(
    status: int, body: str, headers: dict[str, str], words: str, is_refusal: bool
) -> None:
    with answering(status, body, headers) as address:
        problem = ask_clickhouse(clickhouse(address))
    assert problem is not None
    assert words in problem.text
    assert "s3cr3t" not in problem.text
    assert problem.is_refusal is is_refusal


@pytest.mark.parametrize(
    ("status", "body", "words", "is_refusal"),
    [
        (401, "", "refuses the user", True),
        (404, "", "is no Confluent-compatible registry", True),
        (200, "<html>", "is no Confluent-compatible registry", True),
        (503, "", "answers 503", False),
    ],
)
def test_a_registry_that_answers_otherwise(status: int, body: str, words: str, is_refusal: bool) -> None:
    with answering(status, body) as address:
        problem = ask_registry(registry(address))
    assert problem is not None
    assert words in problem.text
    assert "TIDEMARK_SCHEMA_REGISTRY_URL" in problem.text or status == 503
    assert "s3cr3t" not in problem.text
    assert problem.is_refusal is is_refusal


def test_a_grant_that_is_missing_is_named() -> None:
    """The server answers 0 to the whole, and to what is lacking."""
    with judging(lambda asked: "0" if "post_totals_store" in asked else "1") as address:
        line = ask_grants(clickhouse(address), "query-api")
    assert line is not None
    assert "user default lacks SELECT ON tidemark.post_totals_store;" in line
    assert "s3cr3t" not in line
    assert "--service query-api" in line


@pytest.mark.parametrize("answer", ["1", "Code: 62. DB::Exception: Syntax error"])
def test_nothing_is_missing_where_all_is_granted_or_the_server_does_not_tell(answer: str) -> None:
    with judging(lambda _: answer) as address:
        assert ask_grants(clickhouse(address), "aggregator") is None
        assert ask_grants(clickhouse(address), "poller") is None, "the poller uses no ClickHouse"


def test_the_neighbours_that_settings_name_are_told() -> None:
    assert neighbours.names(clickhouse("http://127.0.0.1:1")) == ["ClickHouse"]
    assert neighbours.names(KafkaSettings(kafka_bootstrap="127.0.0.1:1")) == ["Kafka"]


def test_neighbours_that_are_well_are_no_problem() -> None:
    with answering(200, "1\n") as address:
        assert ask_clickhouse(clickhouse(address)) is None
    with answering(200, "[]") as address:
        assert ask_registry(registry(address)) is None


def test_frozen_neighbours_are_named_in_bounded_time() -> None:
    class All(KafkaSettings, RegistrySettings, ClickHouseSettings):
        pass

    with silent() as address:
        found = problems(
            All(
                kafka_bootstrap=address,
                schema_registry_url=f"http://{address}",
                clickhouse_url=f"http://{address}",
            )
        )
    texts = "\n".join(problem.text for problem in found)
    assert len(found) == 3
    for name in ("Kafka", "the schema registry", "ClickHouse"):
        assert name in texts
    assert not any(problem.is_refusal for problem in found)


def test_an_absent_broker_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    problem = ask_kafka(KafkaSettings(kafka_bootstrap=f"127.0.0.1:{port}"))
    assert problem is not None
    assert f"127.0.0.1:{port}" in problem.text
    assert "TIDEMARK_KAFKA_BOOTSTRAP" in problem.text
