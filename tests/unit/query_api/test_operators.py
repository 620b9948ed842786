"""The operators' door: ready when the origin says so, metrics without a key, on a port of its own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest

from services.query_api.operators import OperatorsDoor


class Origin(BaseHTTPRequestHandler):
    """Says what the API would."""

    answer = (503, b"the keys are not read yet\n")

    def do_GET(self) -> None:
        status, body = self.answer if self.path == "/readyz" else (404, b"")
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def origin() -> Iterator[HTTPServer]:
    server = HTTPServer(("127.0.0.1", 0), Origin)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_the_door_says_what_the_origin_says_and_shows_metrics(
    origin: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = OperatorsDoor("127.0.0.1", 0, ("127.0.0.1", origin.server_port))
    with httpx.Client(base_url=f"http://127.0.0.1:{door.start()}", trust_env=False) as client:
        missing = client.get("/readyz")
        assert (missing.status_code, missing.text) == (503, "the keys are not read yet\n")
        monkeypatch.setattr(Origin, "answer", (200, b"ready\n"))
        assert client.get("/readyz").text == "ready\n"
        assert "tidemark_query_api_request_seconds" in client.get("/metrics").text
        assert client.get("/healthz").status_code == 200


def test_an_origin_that_is_away_is_not_ready() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        door = OperatorsDoor("127.0.0.1", 0, ("127.0.0.1", taken.getsockname()[1]))
        reply = httpx.get(f"http://127.0.0.1:{door.start()}/readyz", trust_env=False)
    assert (reply.status_code, reply.text) == (503, "the API does not answer (ConnectionRefusedError)\n")


def test_a_port_that_is_taken_is_said(origin: HTTPServer) -> None:
    with pytest.raises(OSError, match=r"."):
        OperatorsDoor("127.0.0.1", origin.server_port, ("127.0.0.1", 1)).start()
