"""What a browser sees, and that a slash at the end of an address changes nothing."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from typing import Any

import pytest
from typer.main import get_command

from services import cli
from services.query_api.apis import all_apis
from services.query_api.dialects import all_dialects
from services.query_api.serving.openapi import openapi
from tests.support.query_api import ADMIN_KEY, fake_api

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
DESCRIBED = openapi(all_apis())
ADDRESSES = sorted(
    (method.upper(), path) for path, held in DESCRIBED["paths"].items() for method in held
) + [("GET", path) for path in ("/docs", "/openapi.json", "/healthz", "/readyz", "/metrics", "/nothing")]  # fmt: skip


@pytest.mark.parametrize(
    ("accept", "is_page"),
    [
        (BROWSER, True),
        ("text/html", True),
        ("text/html;q=0.9, application/json;q=0.5", True),
        ("*/*", False),
        ("", False),
        ("application/json", False),
        ("application/json, text/html;q=0.9", False),
        ("application/json, text/html", False),
        ("text/html;q=0", False),
        ("text/html;q=no", False),
        ("text/plain", False),
    ],
)
async def test_browsers_get_a_page_and_programs_json(accept: str, is_page: bool) -> None:
    reply = await fake_api().client.get("/", headers={"accept": accept})
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("text/html" if is_page else "application/json")
    assert reply.headers["vary"] == "accept"


async def test_both_tell_the_same_addresses() -> None:
    client = fake_api().client
    told = (await client.get("/", headers={"accept": "application/json"})).json()
    page = (await client.get("/", headers={"accept": BROWSER})).text
    assert told["origin"] == "http://api"
    paths = [path for product in told["products"] for path in product["paths"]]
    assert len(told["products"]) == 5
    assert sorted(paths) == sorted(read.path for dialect in all_dialects() for read in dialect.endpoints)
    for text in (*paths, told["origin"], told["openapi"], told["documentation"], told["tidemark"], told["admin"]):
        assert text in page
    assert told["keys"]["command"] in page
    for link in re.findall(r'href="(/[^"#]*)', page):
        assert (await client.get(link)).status_code == 200


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_a_page_runs_nothing_and_loads_nothing(path: str) -> None:
    reply = await fake_api().client.get(path, headers={"accept": BROWSER})
    policy = dict(part.strip().split(" ", 1) for part in reply.headers["content-security-policy"].split(";"))
    assert (policy["default-src"], policy["frame-ancestors"]) == ("'none'", "'none'")
    (style,) = re.findall("<style>(.*?)</style>", reply.text)
    assert policy["style-src"] == f"'sha256-{b64encode(sha256(style.encode()).digest()).decode()}'"
    assert not re.search(r"<script|<link|<img|@import|url\(|\bstyle=|\son\w+=", reply.text)
    assert '<meta name="viewport"' in reply.text
    assert "color-scheme:light dark" in reply.text


@pytest.mark.parametrize("host", ['a"><b>x', "a b", "evil/path", "x" * 300])
async def test_a_host_that_is_none_is_not_shown(host: str) -> None:
    for accept in ("text/html", "application/json"):
        reply = await fake_api().client.get("/", headers={"host": host, "accept": accept})
        assert host not in reply.text
        assert "<b>x" not in reply.text


@pytest.mark.parametrize(("method", "path"), ADDRESSES)
async def test_a_slash_at_the_end_changes_nothing(method: str, path: str) -> None:
    api = fake_api()
    asked = re.sub(r"\{\w+\}", "p1", path)
    read = api.add_key("w1", "good")
    for key in ({}, read, {"authorization": f"Bearer {ADMIN_KEY}"}):
        plain, slashed = [
            await api.client.request(method, address, headers=key, content=b"{}") for address in (asked, asked + "/")
        ]
        assert not slashed.is_redirect
        assert slashed.status_code == plain.status_code
        if path != "/metrics" and plain.status_code != 201:
            assert slashed.content == plain.content
        twice = await api.client.request(method, asked + "//", headers=key, content=b"{}")
        assert twice.status_code == 404


async def test_a_slash_that_belongs_to_a_name_stays_there() -> None:
    api = fake_api()
    reply = await api.client.get("/tidemark/v1/posts/p1%2F", headers=api.add_key("w1", "good"))
    assert (reply.status_code, api.read_model.asked) == (404, [])


async def test_the_command_that_makes_a_key_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMARK_ADMIN_KEY", ADMIN_KEY)
    told = (await fake_api().client.get("/")).json()
    program, group, name, *arguments = told["keys"]["command"].split()
    command: Any = get_command(cli.app)
    assert (program, told["keys"]["operation"]) == ("tidemark", "createKey")
    made = command.commands[group].commands[name].make_context(name, arguments)
    assert made.params["workspace"] == "demo"
