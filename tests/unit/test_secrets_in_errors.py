"""No error, line or log repeats a secret, also where the secret itself can't be sent: every place that takes one."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import quote

import pytest

from services.aggregator.backup.raw_rows import RawRows
from services.cli import main
from services.configuration import SERVICES
from services.mcp.__main__ import main as mcp
from services.platforms import all_platforms
from services.platforms.abilities import RefreshCall
from services.platforms.base import Call
from services.poller.asking.fetch import Fetcher
from services.poller.requests.check_command import TOKEN_VARIABLE, Wanted
from services.poller.requests.check_command import run as check
from services.poller.settings import PlatformSettings
from services.runtime import neighbours
from services.runtime.kafka import confluent_options
from services.runtime.migrations import connect
from services.runtime.registry import Registry
from services.runtime.registry_ids import restore_ids
from services.runtime.secrets import TokenCipher
from services.runtime.settings import (
    ClickHouseSettings,
    KafkaSettings,
    RegistrySettings,
    SecretKeysSettings,
    secret_names,
)
from tidemark_client import Tidemark, TidemarkAdmin

SECRET = "Qz7secret"
# By how a secret is spoilt: a file's line end, a line within, a space, letters outside ASCII, a control character.
SPOILT = {
    "line end": f"{SECRET}\n",
    "line": f"{SECRET}\nx",
    "space": f"{SECRET} x",
    "umlaut": f"{SECRET}\u00fc",
    "control": f"{SECRET}\x01",
    "whole": SECRET,
    "bracket": f"{SECRET}[",
}
Take = Callable[[str, int], object]
"""Uses a secret against a server at a port of this machine."""


def _clickhouse(secret: str, port: int) -> ClickHouseSettings:
    return ClickHouseSettings(clickhouse_url=f"http://user:{secret}@127.0.0.1:{port}/database")


def _registry(secret: str, port: int) -> RegistrySettings:
    return RegistrySettings(schema_registry_url=f"http://user:{secret}@127.0.0.1:{port}")


def _kafka(secret: str, port: int) -> KafkaSettings:
    return KafkaSettings(
        kafka_bootstrap=f"127.0.0.1:{port}",
        kafka_security_protocol="SASL_PLAINTEXT",
        kafka_sasl_mechanism="PLAIN",
        kafka_sasl_username="user",
        kafka_sasl_password=secret,
    )


def _call(headers: dict[str, str], port: int, call: Call | RefreshCall | None = None) -> object:
    async def ask() -> object:
        fetcher = Fetcher({"x": f"http://127.0.0.1:{port}"}, timeout_seconds=5)
        try:
            return await fetcher.fetch("x", call or Call("identity", "GET", "/me"), "", headers)
        finally:
            await fetcher.close()

    return asyncio.run(ask())


def _refresh(secret: str, port: int) -> object:
    async def ask() -> object:
        fetcher = Fetcher({"x": f"http://127.0.0.1:{port}"}, timeout_seconds=5)
        call = RefreshCall("POST", "/token", form=(("client_secret", secret),), headers={"authorization": secret})
        try:
            return await fetcher.fetch_grant("x", call, "")
        finally:
            await fetcher.close()

    return asyncio.run(ask())


def _command(*arguments: str) -> Take:
    def take(secret: str, port: int) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("services.configuration.check_environment", list)
            patch.setenv("TIDEMARK_ADMIN_KEY", secret.replace("\0", ""))
            patch.setattr("sys.argv", ["tidemark", *arguments, "--api", f"http://127.0.0.1:{port}"])
            main()

    return take


def _mcp(secret: str, port: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIDEMARK_API_KEY", secret)
        patch.setenv("TIDEMARK_QUERY_API_URL", f"http://127.0.0.1:{port}")
        mcp()


def _check(secret: str, port: int) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(TOKEN_VARIABLE, secret)
        patch.setenv("TIDEMARK_THREADS_BASE_URL", f"http://127.0.0.1:{port}")
        return check(Wanted("threads", "1", None, ("2",)))


def _authorized(secret: str, port: int) -> None:
    for platform in all_platforms().values():
        try:
            _call(platform.authorize(secret), port)
        except Exception:  # looked at below, with its cause
            _note()


def _note() -> None:
    """Print what an error says where somebody shows it whole."""
    logging.getLogger("test").error("shown", exc_info=True)


PLACES: dict[str, dict[str, Take]] = {
    "CLICKHOUSE_URL": {
        "probe": lambda secret, port: neighbours.ask_clickhouse(_clickhouse(secret, port)),
        "quoted probe": lambda secret, port: neighbours.ask_clickhouse(_clickhouse(quote(secret), port)),
        "quoted rights": lambda secret, port: neighbours.ask_grants(_clickhouse(quote(secret), port), "audit"),
        "connection": lambda secret, port: connect(_clickhouse(quote(secret), port), None),
        "rows": lambda secret, port: RawRows(_clickhouse(quote(secret), port)),
    },
    "SCHEMA_REGISTRY_URL": {
        "probe": lambda secret, port: neighbours.ask_registry(_registry(secret, port)),
        "quoted probe": lambda secret, port: neighbours.ask_registry(_registry(quote(secret), port)),
        "reader": lambda secret, port: Registry(_registry(quote(secret), port), _kafka("x", port)).versions("a"),
        "ids": lambda secret, port: restore_ids(_registry(quote(secret), port), {"a": []}, print),
    },
    "KAFKA_SASL_PASSWORD": {"options": lambda secret, port: confluent_options(_kafka(secret, port)) and None},
    "SECRET_KEYS": {
        "cipher": lambda secret, _: TokenCipher(SecretKeysSettings(secret_keys=secret).secret_keys) and None,
    },
    "ADMIN_KEY": {
        "create": _command("keys", "create", "acme"),
        "list": _command("keys", "list", "acme"),
        "revoke": _command("keys", "revoke", "acme", "k"),
        "delete": _command("catalog", "delete", "acme", "--post", "p"),
        "apply": _command("catalog", "apply", "/dev/null"),
        "client": lambda secret, port: TidemarkAdmin(f"http://127.0.0.1:{port}", secret).make_key("acme"),
    },
    "API_KEY": {
        "mcp": _mcp,
        "client": lambda secret, port: Tidemark(f"http://127.0.0.1:{port}", secret).capabilities(),
    },
    "CHECK_TOKEN": {"check": _check},
    "CLIENT_SECRET": {"refresh": _refresh},
    "APP_TOKEN": {
        "header": lambda secret, port: _call({"authorization": f"Bearer {secret}"}, port),
        "platforms": _authorized,
        "query": lambda secret, port: _call({}, port, Call("identity", "GET", "/me", (("access_token", secret),))),
    },
}
"""By the setting that holds the secret, the places that use it."""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Of a server that answers everything with a page of its own, which no client understands."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"[]")

        do_POST = do_DELETE = do_PUT = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Tests are quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def test_every_setting_that_holds_a_secret_is_tried() -> None:
    held = {name for settings in SERVICES.values() for name in secret_names(settings, "")}
    assert {name.upper() for name in held | secret_names(PlatformSettings, "")} | {"CHECK_TOKEN"} == set(PLACES)


@pytest.mark.parametrize("spoilt", SPOILT)
@pytest.mark.parametrize(("setting", "place"), [(name, place) for name, places in PLACES.items() for place in places])
def test_no_error_repeats_the_secret(
    setting: str,
    place: str,
    spoilt: str,
    port: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("services.poller.requests.check_command.configure_logging", lambda *_: None)
    caplog.set_level(logging.DEBUG)
    for noisy in ("httpx", "httpcore"):
        # As in every service: at lower levels these libraries log whole requests.
        caplog.set_level(logging.WARNING, noisy)
    shown, is_unexplained = "", False
    try:
        shown = repr(PLACES[setting][place](SPOILT[spoilt], port))
    except (Exception, SystemExit) as error:
        shown = "".join(traceback.format_exception_only(error)) + repr(error)
        if not isinstance(error, SystemExit):
            chain = "".join(traceback.format_exception(error))
            shown += "".join(line for line in chain.splitlines(keepends=True) if not line.startswith("    "))
            is_unexplained = isinstance(error, UnicodeError | AttributeError | TypeError)
    printed = capfd.readouterr()
    assert SECRET not in f"{shown}{printed.out}{printed.err}{caplog.text}"
    assert "Traceback" not in printed.err
    assert not is_unexplained, shown
