"""Whatever goes wrong within a request, its client gets an error in ClickHouse's form, and the log no secret."""

from __future__ import annotations

import base64
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import Request
from starlette.testclient import TestClient

from infra.embedded.clickhouse.app import Server
from infra.embedded.clickhouse.errors import ServerError
from infra.embedded.clickhouse.request import credentials
from infra.embedded.clickhouse.sessions import named

SECRET = "pa55-of-a-statement"


def reply_to(error: Exception, path: Path) -> Any:
    server = Server(
        SimpleNamespace(version="1", timezone="UTC"),  # type: ignore[arg-type]
        SimpleNamespace(authenticate=lambda given: _fail(error)),  # type: ignore[arg-type]
        {},
        spool=path,
        default_database="d",
        insert_bytes=1,
        guard=SimpleNamespace(),  # type: ignore[arg-type]
    )
    return TestClient(server.app()).post("/", content=f"SELECT '{SECRET}'")


def _fail(error: Exception) -> None:
    try:
        dict[str, str]()[SECRET]
    except KeyError:
        raise error  # noqa: B904


def test_an_unexpected_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        reply = reply_to(ValueError(SECRET), tmp_path)
    assert (reply.status_code, reply.headers["X-ClickHouse-Exception-Code"]) == (500, "1001")
    assert reply.text.startswith("Code: 1001. DB::Exception: ")
    assert "(STD_EXCEPTION) (version 1)" in reply.text
    assert SECRET not in reply.text + caplog.text
    # The line that failed, and the error that came before.
    assert "ValueError" in caplog.text
    assert "after KeyError" in caplog.text
    assert "in _fail" in caplog.text
    assert f"{Path(__file__).name}:" in caplog.text


def test_recursion_without_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    reply = reply_to(RecursionError(SECRET), tmp_path)
    assert reply.headers["X-ClickHouse-Exception-Code"] == "306"
    assert "(TOO_DEEP_RECURSION)" in reply.text
    assert SECRET not in reply.text + caplog.text


@pytest.mark.parametrize("value", ["é", "\xff\xff\xff\xff", "=", "a", base64.b64encode(b"\xff:\xff").decode()])
def test_credentials_that_are_no_base64(value: str) -> None:
    headers = [(b"authorization", b"Basic " + value.encode("latin-1"))]
    given = credentials(Request({"type": "http", "query_string": b"", "headers": headers}))
    assert (given.user, given.password) == ("", "")


@pytest.mark.parametrize("value", ["9" * 5000, "0" * 5000 + "1", "-1", "1.5", "²", "3601"])
def test_a_session_timeout_that_is_no_number_of_seconds(value: str) -> None:
    with pytest.raises(ServerError) as caught:
        named({"session_id": "s", "session_timeout": value})
    assert caught.value.code == 374
