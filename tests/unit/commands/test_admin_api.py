"""Commands that ask the admin API say "done" only where the admin API itself has done it."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from typer.main import get_command

from services.cli import main

KEY = "admin-key-of-the-tests"
HTML = b"<html>hello</html>"
KEYS_CREATE, KEYS_LIST, KEYS_REVOKE = (
    ("keys", "create", "acme"),
    ("keys", "list", "acme"),
    ("keys", "revoke", "acme", "k"),
)
DELETE_CHANNEL = ("catalog", "delete", "acme", "--channel", "c1")
ASKING = [KEYS_CREATE, KEYS_LIST, KEYS_REVOKE, DELETE_CHANNEL, ("catalog", "apply", "lines")]
# Making all commands anew takes 40 ms of each call.
COMMAND = functools.cache(get_command)
HELD = {"workspace_id": "acme", "channels": [], "keys": []}


class Server:
    """Answers requests by method and path; what is not told is answered with `otherwise`.

    Attributes:
        asked: method, path and key of each request.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.told: dict[tuple[str, str], tuple[int, bytes]] = {}
        self.otherwise: tuple[int, bytes, dict[str, str]] = (404, HTML, {})
        self.origin = ""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    held = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            held.asked.append((self.command, self.path, self.headers.get("Authorization", "")))
            status, body, *more = held.told.get((self.command, self.path), held.otherwise)
            self.send_response(status)
            headers = more[0] if more and isinstance(more[0], dict) else {}
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_DELETE = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Tests are quiet."""

    # Reading every setting of every service takes a third of a second.
    monkeypatch.setattr("services.configuration.check_environment", list)
    monkeypatch.setattr("typer.main.get_command", COMMAND)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lines").write_text('{"type": "post", "workspace_id": "acme", "id": "p", "targets": []}\n')
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    held.origin = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("TIDEMARK_QUERY_API_URL", held.origin)
    monkeypatch.setenv("TIDEMARK_ADMIN_KEY", KEY)
    try:
        yield held
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["tidemark", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize("arguments", ASKING, ids=" ".join)
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_names_the_origin_to_give(
    arguments: tuple[str, ...],
    status: int,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server.otherwise = (status, HTML, {"Location": "https://tidemark.example/admin/v1/x"})
    assert run(monkeypatch, *arguments) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert f"answered {status} (Location https://tidemark.example/admin/v1/x)" in shown.err
    assert "--api https://tidemark.example" in shown.err
    assert shown.err.count("\n") == 1


@pytest.mark.parametrize("place", ["/admin/v1/x/", "//[::1", "javascript:1", "https://a:b@tidemark.example/"])
def test_a_redirect_without_another_origin_says_what_to_check(
    place: str, server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.otherwise = (308, b"", {"Location": place})
    assert run(monkeypatch, *KEYS_REVOKE) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "--api" in line
    assert "a:b@" not in line.partition("--api")[2]


@pytest.mark.parametrize("arguments", ASKING, ids=" ".join)
@pytest.mark.parametrize(
    ("status", "body"),
    [(200, HTML), (200, b""), (200, b"[]"), (200, b"{}"), (200, b"null"), (201, b"{}"), (202, b""), (206, HTML)],
)
def test_an_answer_of_another_server_is_no_success(
    arguments: tuple[str, ...],
    status: int,
    body: bytes,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server.otherwise = (status, body, {})
    assert run(monkeypatch, *arguments) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert f"answered {status}" in shown.err
    assert "--api" in shown.err
    assert shown.err.count("\n") == 1


@pytest.mark.parametrize("body", [HTML, b"[1]", b"7", b'{"message": 7}', b'{"message": "x"}', b"\xff"])
def test_an_error_of_another_server_is_one_line(
    body: bytes, server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.otherwise = (502, body, {})
    assert run(monkeypatch, *KEYS_CREATE) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "answered 502 Bad Gateway" in line


def test_an_error_of_the_admin_api_is_said_in_its_own_words(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {"code": "not_found", "message": f"Not found.\x1b[2J\nBearer {KEY}"}
    server.otherwise = (404, json.dumps(said).encode(), {})
    assert run(monkeypatch, *KEYS_REVOKE) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("answered 404: Not found.?[2J?Bearer ...")


def test_what_the_admin_api_did_is_said(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    key = {"id": "key_1", "scopes": ["analytics:read"], "style": "tidemark", "created_at": "2026-06-28T09:14:22Z"}
    workspace = "/admin/v1/workspaces/acme"
    held = {**HELD, "channels": [{"channel_id": "c1", "platform": "x", "status": "active"}], "keys": [key]}
    server.told = {
        ("GET", workspace): (200, json.dumps(held).encode()),
        ("POST", f"{workspace}/keys"): (201, json.dumps({"id": "key_1", "key": "tm_x", "scopes": []}).encode()),
        ("DELETE", f"{workspace}/keys/k"): (204, b""),
        ("DELETE", f"{workspace}/channels/c1"): (204, b""),
        ("POST", "/admin/v1/catalog"): (200, b'{"accepted": 0, "rejected": [{"line": 1, "error": "no"}]}'),
    }
    assert [run(monkeypatch, *arguments) for arguments in ASKING] == [0, 0, 0, 0, 1]
    assert capsys.readouterr().out.splitlines() == [
        "key_1\ttm_x",
        "key_1\t2026-06-28T09:14:22Z\ttidemark\tanalytics:read",
        "revoked k",
        "deleted c1",
        "accepted 0, rejected 1",
    ]
    assert {key for _, _, key in server.asked} == {f"Bearer {KEY}"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("keys", "revoke", "acme", "{}"),
        ("keys", "revoke", "{}", "k"),
        ("keys", "create", "{}"),
        ("keys", "list", "{}"),
        ("catalog", "delete", "{}", "--post", "p"),
        ("catalog", "delete", "acme", "--channel", "{}"),
        ("catalog", "delete", "acme", "--channel", "c1", "--post", "{}"),
    ],
    ids=" ".join,
)
def test_an_argument_stays_one_segment_of_its_path(
    arguments: tuple[str, ...], server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for wrong in ("../channels/c1", "a/b", "", "a b", "k?x=1", "k#x", "%2e%2e", "k\n", "ü", "a" * 129, "..\\x", ";"):
        assert run(monkeypatch, *[part.format(wrong) for part in arguments]) == 2, wrong
        (line,) = capsys.readouterr().err.splitlines()
        assert "is no id: 1-128 characters" in line
    assert server.asked == []
    server.otherwise = (204, b"", {})
    for dots in (".", ".."):
        run(monkeypatch, *[part.format(dots) for part in arguments])
    paths = [path.split("/") for _, path, _ in server.asked]
    assert any("%2E%2E" in path for path in paths)
    assert not any({".", "..", ""} & set(path[1:]) for path in paths)


def test_lines_of_the_catalog_name_no_other_path(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    strange = ["../x", "a/b", 7, None, ["w"], {"w": 1}, ""]
    posts: list[dict[str, object]] = [
        {"type": "post", "workspace_id": one, "targets": [{"channel_id": "c"}]} for one in strange
    ]
    wrong: list[object] = [7, [1], "ab", [{}], None]
    posts += [{"type": "post", "workspace_id": "acme", "targets": targets} for targets in wrong]
    posts += [
        {"type": "post", "workspace_id": "acme", "targets": [{"channel_id": one}, {"channel_id": "c"}]}
        for one in strange
    ]
    lines = [json.dumps(post) for post in posts] + ["[]", "7", "null", "{", "[" * 100_000]
    (tmp_path / "lines").write_text("\n".join(lines))
    server.told = {
        ("POST", "/admin/v1/catalog"): (200, b'{"accepted": 0, "rejected": []}'),
        ("GET", "/admin/v1/workspaces/acme"): (200, json.dumps(HELD).encode()),
    }
    assert run(monkeypatch, "catalog", "apply", "lines") == 0
    assert [path for _, path, _ in server.asked] == ["/admin/v1/catalog", "/admin/v1/workspaces/acme"]
    (line,) = capsys.readouterr().err.splitlines()
    assert "names the channel c, " in line


@pytest.mark.parametrize(
    "api",
    [
        "http://[::1", "http://h:99999", "http://h:x", "h:8080", "ftp://h", "http://", "http://h/?a=1", "http://h x",
        "http://h\n.x", "http://ü", "http://user:pass-word@h", "http://h#pass-word", "http://us:pass-/word@h",
    ],
)  # fmt: skip
def test_an_address_that_is_none_is_one_line(
    api: str, server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *KEYS_REVOKE, "--api", api) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--api" in line
    assert "TIDEMARK_QUERY_API_URL" in line
    assert "pass-" not in line


@pytest.mark.parametrize("ending", ["\n", "\r\n", " ", "\t"])
def test_white_space_around_the_key_is_no_part_of_it(
    ending: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.otherwise = (204, b"", {})
    monkeypatch.setenv("TIDEMARK_ADMIN_KEY", KEY + ending)
    assert run(monkeypatch, *KEYS_REVOKE) == 0
    assert server.asked[0][2] == f"Bearer {KEY}"


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "SSL_CERT_FILE"])
@pytest.mark.parametrize("value", ["http://user:pass-word@[::1", "nonsense://user:pass-word@h", "/missing/pass-word"])
def test_a_proxy_that_can_not_be_used_is_one_line(
    name: str, value: str, server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.otherwise = (204, b"", {})
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("NO_PROXY", "")
    code = run(monkeypatch, *KEYS_REVOKE)
    shown = capsys.readouterr()
    assert (code, shown.err.count("\n")) in ((0, 0), (1, 1))
    assert "pass-word" not in shown.err
