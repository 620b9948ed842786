"""Clients of server-sent events that are cut off in the middle resume without a gap, and are told nothing twice.

Between the client and the server stands a proxy that breaks connections off after some bytes, within any event.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.integration.query_api.test_stream_readers import STREAM, served
from tests.support.foreign import built, need
from tests.support.stores import until
from tests.unit.query_api.tidemark.changes.api import Subscribed, subscribed

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

CUTS = 5
STEPS = 25
# An event has some 2,200 bytes, so that most connections break off within their second to fourth event.
BYTES = (2_300, 8_000)


class Told(NamedTuple):
    """What a client told of an event."""

    type: str
    cursor: str
    change: Any


class Cutter:
    """Stands between clients and a server; the first connections break off in the middle."""

    def __init__(self, port: int, chance: random.Random) -> None:
        self._port = port
        self._chance = chance
        self.heads: list[str] = []
        """Of each connection's request, in lower case."""
        self.cut = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        upstream, to_server = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head.decode().lower())
            to_server.write(head)
            left = self._chance.randint(*BYTES) if len(self.heads) <= CUTS else sys.maxsize
            while left and (chunk := await upstream.read(min(left, 65_536))):
                writer.write(chunk)
                await writer.drain()
                left -= len(chunk)
            self.cut += not left
        except (ConnectionError, asyncio.IncompleteReadError):
            # The client has gone.
            pass
        finally:
            for side in (writer, to_server):
                side.close()


@asynccontextmanager
async def cut_off(api: Subscribed) -> AsyncIterator[tuple[str, Cutter]]:
    """The address of a stream whose connections break off."""
    async with served(api) as (_, port):
        cutter = Cutter(port, random.Random(7))
        proxy = await asyncio.start_server(cutter, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}{STREAM}", cutter
        finally:
            proxy.close()


def lines_of(output: Path) -> list[Told]:
    """What a client told by lines of JSON; a line that is not whole does not count yet."""
    whole = output.read_text().rpartition("\n")[0].splitlines() if output.exists() else []
    return [Told(told["type"], told["id"], told["change"]) for told in map(json.loads, whole)]


def events_of(output: Path) -> list[Told]:
    """What curl wrote: the events that came whole, of several connections one after the other."""
    text = output.read_text() if output.exists() else ""
    found = []
    # Whoever resumes forgets the event that did not end.
    for connection in text.split(NEXT):
        for block in connection.split("\n\n")[:-1]:
            fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
            found.append(Told(fields["event"], fields["id"], json.loads(fields["data"])))
    return found


NEXT = "--- another connection\n"
# curl does not resume; a shell does that for it, by the id of the last event that ended.
CURL = """
while :; do
  last=$(awk '/^id: /{id=$2} /^$/{if (id) whole=id} /--- another connection$/{id=""} END{print whole}' "$OUT")
  curl -sN -H "x-api-key: $KEY" ${last:+-H "Last-Event-ID: $last"} "$ADDRESS" >> "$OUT"
  echo '--- another connection' >> "$OUT"
done
"""
HTTPX = """
import json, os, httpx
from httpx_sse import connect_sse
last, address = "", os.environ["ADDRESS"]
while True:
    headers = {"x-api-key": os.environ["KEY"], **({"last-event-id": last} if last else {})}
    try:
        with httpx.Client(timeout=60) as client, connect_sse(client, "GET", address, headers=headers) as source:
            for event in source.iter_sse():
                last = event.id
                print(json.dumps({"type": event.event, "id": event.id, "change": json.loads(event.data)}), flush=True)
    except httpx.TransportError:
        pass
"""
TYPED = """
import json, os
from tidemark_client import Tidemark
with Tidemark(os.environ["ADDRESS"].partition("/tidemark/")[0], os.environ["KEY"]) as tidemark:
    for change in tidemark.stream():
        shown = {"type": change.type, "id": change.cursor, "change": change.model_dump(mode="json")}
        print(json.dumps(shown), flush=True)
"""


def curl(_: Path) -> list[str]:
    """curl, which the shell starts again."""
    need("curl", "awk")
    return ["sh", "-c", CURL]


def event_source(folder: Path) -> list[str]:
    """EventSource of npm."""
    client = built(folder, "eventsource", ("node", "npm"), ["npm", "install", "--no-audit", "--no-fund"])
    return ["sh", "-c", f'exec node {client / "follow.js"} "$ADDRESS" "$KEY" >> "$OUT"']


def go(folder: Path) -> list[str]:
    """A client in Go."""
    client = built(
        folder,
        "gosse",
        ("go",),
        ["go", "get", "github.com/tmaxmax/go-sse@v0.11.0"],
        ["go", "mod", "tidy"],
        ["go", "build", "-o", "client", "."],
    )
    return ["sh", "-c", f'exec {client / "client"} "$ADDRESS" "$KEY" >> "$OUT"']


def python(program: str) -> Callable[[Path], list[str]]:
    """A program in Python."""

    def command(folder: Path) -> list[str]:
        (folder / "program.py").write_text(program)
        return ["sh", "-c", f'exec {sys.executable} {folder / "program.py"} >> "$OUT"']

    return command


@pytest.mark.parametrize(
    ("command", "read"),
    [
        pytest.param(curl, events_of, id="curl"),
        pytest.param(event_source, lines_of, id="EventSource"),
        pytest.param(go, lines_of, id="Go"),
        pytest.param(python(HTTPX), lines_of, id="httpx-sse"),
        pytest.param(python(TYPED), lines_of, id="typed-client"),
    ],
)
async def test_a_client_that_is_cut_off_resumes_without_a_gap(
    tmp_path: Path, command: Callable[[Path], list[str]], read: Callable[[Path], list[Told]]
) -> None:
    argv = await asyncio.to_thread(command, tmp_path)
    output, errors = tmp_path / "output", tmp_path / "errors"
    output.touch()
    async with subscribed(tmp_path / "store") as api:
        await api.channel()
        await api.post("steady", likes=0)
        async with cut_off(api) as (address, cutter):
            environment = {
                **os.environ, "ADDRESS": address, "KEY": "key", "OUT": str(output), "PYTHONPATH": os.getcwd()
            }  # fmt: skip
            with errors.open("wb") as log:
                client = await asyncio.create_subprocess_exec(
                    *argv, cwd=tmp_path, env=environment, stderr=log, start_new_session=True
                )
            try:
                for step in range(1, STEPS + 1):
                    await api.figures("steady", likes=step)
                    await api.post(f"p{step}", likes=step)
                    # Whoever is cut off is told more while it is away; others are told as it comes.
                    if step % 5 == 0:
                        await until(lambda: len(read(output)) >= step // 5, errors.read_text)  # noqa: B023
                await until(lambda: is_told(read(output)), lambda: f"{read(output)[-3:]} {errors.read_text()}")
            finally:
                os.killpg(client.pid, 9)
                await client.wait()
    told = read(output)
    assert cutter.cut == CUTS
    assert all("last-event-id: " in head or "cursor=" in head for head in cutter.heads[1:]), cutter.heads
    likes = [one.change["data"]["metrics"]["likes"] for one in told if one.change["id"] == "steady"]
    assert likes == sorted(set(likes)), "an older state after a newer one, or one twice"
    cursors = [one.cursor for one in told]
    assert len(set(cursors)) == len(cursors), "an event came twice"


def is_told(told: list[Told]) -> bool:
    """Whether everything has come, in the state that it has in the end."""
    held = {one.change["id"]: one.change["data"] for one in told if one.type == "post"}
    expected = {"steady": STEPS, **{f"p{step}": step for step in range(1, STEPS + 1)}}
    return {id_: data["metrics"]["likes"] for id_, data in held.items()} == expected
