"""The pages' files: their headers, how they are kept, and what a document may load."""

from __future__ import annotations

import json
import re
from gzip import compress
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from infra.pages import vendor
from services.query_api.pages.files import files, version
from tests.support.query_api import ADMIN_KEY, fake_api

DOCUMENTS = ("/app", "/ops")
OPERATIONS = Path(__file__).parents[4] / "docs" / "operations.md"
MOST_COMPRESSED_BYTES = 250_000


def policy(reply: httpx.Response) -> dict[str, list[str]]:
    """The directives of the content security policy."""
    parts = [part.split() for part in reply.headers["content-security-policy"].split(";")]
    return {name: values for name, *values in parts}


@pytest.fixture
def client() -> httpx.AsyncClient:
    return fake_api().client


@pytest.mark.parametrize("path", [*DOCUMENTS, f"/static/{version()}/app.js", f"/static/{version()}/vendor/preact.js"])
async def test_every_file_is_closed_to_other_origins(client: httpx.AsyncClient, path: str) -> None:
    reply = await client.get(path)
    assert reply.status_code == 200
    held = policy(reply)
    assert held["default-src"] == ["'none'"]
    for name in ("script-src", "style-src", "connect-src", "img-src"):
        assert held[name] == ["'self'"], name
    assert held["frame-ancestors"] == held["base-uri"] == held["form-action"] == ["'none'"]
    assert reply.headers["x-frame-options"] == "DENY"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("path", DOCUMENTS)
async def test_a_document_has_no_script_and_no_style_of_its_own(client: httpx.AsyncClient, path: str) -> None:
    text = (await client.get(path)).text
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", text)
    assert re.findall(r"<script([^>]*)>(.*?)</script>", text, re.DOTALL) == [
        (f' type="module" src="/static/{version()}{path}.js"', "")
    ]
    for address in re.findall(r'(?:src|href)="([^"]+)"', text):
        loaded = await client.get(address)
        assert loaded.status_code == 200, address


@pytest.mark.parametrize("path", DOCUMENTS)
async def test_a_document_names_every_script_that_it_comes_to_need(client: httpx.AsyncClient, path: str) -> None:
    root = f"/static/{version()}"
    named = re.findall(r'<link rel="modulepreload" href="([^"]+)">', (await client.get(path)).text)
    needed, seen = [f"{root}{path}.js"], set()
    while needed:
        address = needed.pop()
        seen.add(address)
        for imported in re.findall(r'\bfrom ?"(\./[^"]+)"', (await client.get(address)).text):
            other = str(httpx.URL(address).join(imported))
            needed += [other] if other not in seen else []
    assert sorted(named) == sorted(seen - {f"{root}{path}.js"})
    assert len(named) > 5


@pytest.mark.parametrize("path", DOCUMENTS)
async def test_a_document_is_asked_for_again_and_its_files_are_kept(client: httpx.AsyncClient, path: str) -> None:
    reply = await client.get(path)
    assert reply.headers["cache-control"] == "no-cache"
    again = await client.get(path, headers={"if-none-match": reply.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["content-security-policy"] == reply.headers["content-security-policy"]
    script = await client.get(f"/static/{version()}{path}.js")
    assert script.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    assert script.headers["content-encoding"] == "gzip"
    # Nothing is of one caller, so nothing varies by a key.
    assert script.headers["vary"] == "accept-encoding"


@pytest.mark.parametrize(
    "path",
    [
        "/static/0000000000000000/app.js",
        f"/static/{version()}/nothing.js",
        f"/static/{version()}/app.html",
        f"/static/{version()}/vendor/vendored.json",
        f"/static/{version()}/vendor/LICENSES.txt",
        f"/static/{version()}/../files.py",
        f"/static/{version()}/%2e%2e/files.py",
        f"/static/{version()}/..%2ffiles.py",
    ],
)
async def test_nothing_else_is_served(client: httpx.AsyncClient, path: str) -> None:
    reply = await client.get(path)
    assert reply.status_code in (404, 422)
    assert reply.headers["content-type"] == "application/problem+json"


async def test_pages_need_no_key_and_take_no_other_method(client: httpx.AsyncClient) -> None:
    for path in DOCUMENTS:
        assert (await client.head(path)).status_code == 200
        assert (await client.post(path)).status_code == 405


def test_the_first_thing_to_do_has_its_section() -> None:
    text = files()["ops.js"].decode().partition("function first(")[2].partition("function Verdict(")[0]
    named = re.findall(r'", "([^"]+)"(?:, "[a-z-]+")?\]', text)
    assert len(named) == text.count("return [")
    headings = re.findall(r"^#+ (.+)$", OPERATIONS.read_text(encoding="utf-8"), re.MULTILINE)
    assert not set(named) - set(headings)


def test_the_files_are_few() -> None:
    sizes = {name: len(compress(content)) for name, content in files().items()}
    assert sum(sizes.values()) < MOST_COMPRESSED_BYTES, sizes


def test_scripts_import_their_own_files_only() -> None:
    for name, content in files().items():
        if not name.endswith(".js"):
            continue
        text = content.decode()
        for address in re.findall(r"""(?:\bfrom|\bimport)\s*\(?["']([^"',\s][^"']*)["']""", text):
            folder = name.rpartition("/")[0]
            assert address.startswith("./"), (name, address)
            assert f"{folder}/{address[2:]}".lstrip("/") in files(), (name, address)
        if "/" not in name:
            assert not re.search(
                r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text
            ), name
            assert not re.search(r"localStorage|document\.cookie", text), name
            assert not re.search(r"""["'`]https?://""", text), name


def test_libraries_are_what_npm_locked() -> None:
    listed = json.loads((vendor.VENDOR / vendor.LIST).read_text())
    locked = vendor.packages()
    assert set(listed) == set(vendor.FILES) == {name.removeprefix("vendor/") for name in files() if "vendor/" in name}
    licences = (vendor.VENDOR / "LICENSES.txt").read_text()
    for name, held in listed.items():
        package = locked[held["package"]]
        assert {key: held[key] for key in package} == package
        assert held["sha256"] == sha256((vendor.VENDOR / name).read_bytes()).hexdigest()
        assert f"{held['package']} {held['version']} ({held['license']})" in licences
    assert all(package["integrity"].startswith("sha512-") for package in locked.values())


async def test_the_front_page_leads_to_the_pages(client: httpx.AsyncClient) -> None:
    page = (await client.get("/", headers={"accept": "text/html"})).text
    told = (await client.get("/", headers={"accept": "application/json"})).json()
    assert 'href="/app"' in page
    assert 'href="/ops"' in page
    assert (told["dashboard"], told["operators"]) == DOCUMENTS


async def test_operators_read_the_status_and_the_waiting_accounts(client: httpx.AsyncClient) -> None:
    admin = {"authorization": f"Bearer {ADMIN_KEY}"}
    for path in ("/admin/v1/status", "/admin/v1/accounts"):
        assert (await client.get(path)).status_code == 401
        reply = await client.get(path, headers=admin)
        assert reply.status_code == 200
        assert reply.headers["cache-control"] == "no-store"
