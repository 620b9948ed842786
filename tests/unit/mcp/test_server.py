"""Tools of the Model Context Protocol, asked by the protocol's own client; replies are the API's own samples."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import orjson
import psutil
import pytest
from mcp import StdioServerParameters
from mcp.client import Client

from services.mcp.server import MOST_ROWS, build_server
from services.query_api.tidemark import tidemark_api
from tests.support.closed import listening
from tidemark_client import Tidemark

KEY = "tm_live_secret-of-the-tests"
SAMPLES = {
    re.compile(re.sub(r"\{\w+\}", "[^/]+", endpoint.path)): endpoint.sample
    for endpoint in tidemark_api().endpoints
    if endpoint.method == "GET"
}
ASKED: dict[str, dict[str, Any]] = {
    "get_post": {"post_id": "p1"},
    "get_channel": {"channel_id": "c1"},
    "get_channel_window": {"channel_id": "c1", "length": "7d"},
    "list_channels": {},
    "list_posts": {"start": "2026-06-01", "limit": 3},
    "list_top_posts": {"metric": "likes"},
    "get_series": {"subject": "channel", "subject_id": "c1", "metrics": ["likes"], "mode": "increments"},
    "get_workspace_series": {"metrics": ["likes"]},
    "get_totals": {"channel_id": "c1", "compare": True},
    "get_best_times": {"tz": "Europe/Berlin"},
    "get_decay": {"metric": "views"},
    "get_unusual": {},
    "get_explanation": {"subject": "target", "subject_id": "t1", "metric": "likes"},
    "list_capabilities": {},
}


def sample(path: str) -> Any:
    """What the API's description shows for a path."""
    return next(answer for pattern, answer in SAMPLES.items() if pattern.fullmatch(path))


def answering(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json=sample(request.url.path))


def client_of(transport: httpx.BaseTransport) -> Client:
    return Client(build_server(Tidemark("http://api", KEY, transport=transport), "1.2.3"))


async def test_every_tool_is_listed_as_reading_only() -> None:
    async with client_of(httpx.MockTransport(answering)) as client:
        tools = (await client.list_tools()).tools
    assert {tool.name for tool in tools} == set(ASKED)
    for tool in tools:
        assert tool.description
        assert tool.annotations is not None
        assert (tool.annotations.read_only_hint, tool.annotations.destructive_hint) == (True, False)


@pytest.mark.parametrize("name", sorted(ASKED))
async def test_a_tool_answers_what_the_api_answers(name: str) -> None:
    paths: list[str] = []

    def noting(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.path)
        assert request.headers["authorization"] == f"Bearer {KEY}"
        reply = sample(request.url.path)
        return httpx.Response(200, json={**reply, "next_cursor": None} if "next_cursor" in reply else reply)

    async with client_of(httpx.MockTransport(noting)) as client:
        result = await client.call_tool(name, ASKED[name])
    assert not result.is_error
    assert len(paths) == 1
    told, given = result.structured_content, sample(paths[0])
    assert told is not None
    if name.startswith("list_"):
        assert [row.get("id") for row in told["data"]] == [row.get("id") for row in given["data"]][:MOST_ROWS]
    elif name in ("get_post", "get_channel"):
        assert told["metrics"] == given["metrics"]
        assert told.get("reasons") == given.get("reasons")
    else:
        assert {"points", "parts", "metrics", "cells", "ages", "falls"} & told.keys()
    assert KEY not in str(result)


OF_CHANNELS: dict[str, dict[str, Any]] = {
    "list_posts": {},
    "list_top_posts": {"metric": "likes"},
    "get_workspace_series": {"metrics": ["likes"]},
    "get_totals": {},
    "get_best_times": {},
    "get_decay": {},
    "get_unusual": {},
}


async def test_some_channels_are_asked_for() -> None:
    asked: list[str | None] = []

    def noting(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.params.get("channel_ids"))
        reply = sample(request.url.path)
        return httpx.Response(200, json={**reply, "next_cursor": None} if "next_cursor" in reply else reply)

    async with client_of(httpx.MockTransport(noting)) as client:
        for name, arguments in OF_CHANNELS.items():
            asked.clear()
            chosen = await client.call_tool(name, {**arguments, "channel_ids": ["c1", "c2"]})
            whole = await client.call_tool(name, arguments)
            refused = await client.call_tool(name, {**arguments, "channel_ids": ["c1", ""]})
            assert (chosen.is_error, whole.is_error, refused.is_error) == (False, False, True), name
            assert asked == ["c1,c2", None], name


async def test_a_list_ends_at_its_limit() -> None:
    asked: list[str] = []

    def endless(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.params["limit"])
        return httpx.Response(200, json={**sample("/tidemark/v1/posts"), "next_cursor": "more"})

    async with client_of(httpx.MockTransport(endless)) as client:
        result = await client.call_tool("list_posts", {"limit": 5})
    assert result.structured_content is not None
    assert len(result.structured_content["data"]) == 5
    assert set(asked) == {"5"}


async def test_what_the_api_refuses_is_an_error_that_says_why() -> None:
    problem = {"status": 404, "code": "not_found", "message": "Not found."}
    async with client_of(httpx.MockTransport(lambda _: httpx.Response(404, json=problem))) as client:
        result = await client.call_tool("get_post", {"post_id": "p1"})
    assert result.is_error
    assert "not_found" in str(result.content)
    assert KEY not in str(result)


async def test_a_bad_argument_asks_nothing() -> None:
    def never(request: httpx.Request) -> httpx.Response:
        raise AssertionError(request.url)

    async with client_of(httpx.MockTransport(never)) as client:
        for name, bad in (("get_post", {"post_id": ""}), ("list_posts", {"limit": MOST_ROWS + 1}), ("get_series", {})):
            assert (await client.call_tool(name, bad)).is_error


async def test_a_post_is_also_a_resource() -> None:
    async with client_of(httpx.MockTransport(answering)) as client:
        (content,) = (await client.read_resource("tidemark://posts/p1")).contents
        templates = (await client.list_resource_templates()).resource_templates
    assert orjson.loads(content.text)["id"] == sample("/tidemark/v1/posts/p1")["id"]  # type: ignore[union-attr]  # text
    assert {template.uri_template for template in templates} == {
        "tidemark://posts/{post_id}", "tidemark://channels/{channel_id}",
    }  # fmt: skip


class _Api(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        known = self.headers["authorization"] == f"Bearer {KEY}"
        body = orjson.dumps(sample(self.path.partition("?")[0]) if known else {"code": "unauthorized"})
        self.send_response(200 if known else 401)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


@contextmanager
def api() -> Iterator[str]:
    """A server of samples on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Api)
    serving = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


def started(url: str, key: str, folder: Path) -> StdioServerParameters:
    environment = {"TIDEMARK_QUERY_API_URL": url, "TIDEMARK_API_KEY": key, "PYTHONPATH": str(Path.cwd())}
    return StdioServerParameters(command=sys.executable, args=["-m", "services.mcp"], env=environment, cwd=folder)


async def test_a_host_starts_it_as_a_command(tmp_path: Path) -> None:
    with api() as url:
        async with Client(started(url, KEY, tmp_path)) as client:
            result = await client.call_tool("get_channel", {"channel_id": "c1"})
            (started_by_us,) = [
                one for one in psutil.Process().children(recursive=True) if "services.mcp" in one.cmdline()
            ]
            # It speaks on its standard streams, and nobody else reaches it.
            assert listening({"mcp": started_by_us.pid}) == {}
    assert result.structured_content is not None
    assert result.structured_content["id"] == sample("/tidemark/v1/channels/c1")["id"]
