"""Changes: everything that exists read from the start in pages, and a thousand readers of a stream of one worker."""

from __future__ import annotations

import asyncio
import secrets
from time import monotonic
from typing import Any

import httpx
import psutil

from benchmarks.chart import Bar
from benchmarks.machine import Usage
from benchmarks.progress import Progress
from benchmarks.reads import ReadStage
from benchmarks.reads_data import catalog_post, post_rollup
from benchmarks.report import Ratio, Result
from schemas.events import ApiKey, CatalogChannel
from services.query_api.serving.auth import READ_SCOPE, key_hash, new_key
from services.runtime.kafka import key
from tests.support.backend import now_ms
from tests.support.engines import EmbeddedEngines

POSTS = 200_000
READERS = 1_000
WANTED_SECONDS = 20
WANTED_MB = 150
WORKSPACE = "changes"
_LIMIT = 1_000
_FLUSH_EVERY = 10_000
_PATIENCE_SECONDS = 60
_SETTLED_SECONDS = 20


def run(on: EmbeddedEngines, is_full: bool) -> Result:
    """One worker with a store of one workspace."""
    stage = _ChangesStage(on)
    try:
        stage.prefill()
        environment = {
            "TIDEMARK_STORE_DIR": str(stage.folder / "changes-store"),
            "TIDEMARK_SECRET_KEYS": secrets.token_urlsafe(32),
        }
        with stage.server("changes", ["services.query_api"], environment, "/readyz") as origin:
            pages = stage.read_all(origin)
            readers = asyncio.run(stage.follow(origin))
    finally:
        stage.close()
    return Result(
        "changes",
        {"posts": POSTS, "readers": READERS, "from_the_start": pages, "stream": readers},
        [
            Ratio(f"seconds to read {POSTS:,} changes from the start", pages["seconds"], WANTED_SECONDS, True),
            Ratio(
                f"MB that {READERS:,} idle readers of the stream add to a worker", readers["added_mb"], WANTED_MB, True
            ),
            Ratio("ms from a change on the topic to the last of these readers", readers["last_ms"]),
        ],
        [
            f"One reader asks for {_LIMIT} changes a page, one page after the other, and parses none of them.",
            "All posts are an hour old or younger and have figures that no answer told yet, so ClickHouse is asked for "
            "the answers that explain them with each page.",
        ],
        (
            f"Reading {POSTS:,} changes from the start",
            "seconds",
            [Bar("pages of 1,000, one worker", pages["seconds"], "ours"), Bar("bound", WANTED_SECONDS, "bound")],
        ),
    )


class _ChangesStage(ReadStage):
    """One workspace on the topics."""

    def __init__(self, on: EmbeddedEngines) -> None:
        super().__init__(on, "", POSTS, 0.0, "changes")
        self.key = new_key("tidemark")
        self._encoders = self.registry.encoder("catalog.posts"), self.registry.encoder("rollups.posts")

    @property
    def _headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}

    def prefill(self) -> None:
        """Keys, channels, posts and their figures."""
        now = now_ms()
        event = ApiKey(WORKSPACE, "key", key_hash(self.key), (READ_SCOPE,), "tidemark", now)
        self.publish("catalog.api-keys", key(WORKSPACE, "key"), WORKSPACE, self.codec("catalog.api-keys").encode(event))
        for number in range(20):
            channel = CatalogChannel(WORKSPACE, f"channel-{number}", "x", f"e-{number}", "tide", "active", None, now)
            value = self.codec("catalog.channels").encode(channel)
            self.publish("catalog.channels", key(WORKSPACE, channel.channel_id), WORKSPACE, value)
        with Progress(f"changes: {POSTS:,} posts on the topics") as progress:
            for number in range(POSTS):
                self._put(number, now)
                if number % _FLUSH_EVERY == 0:
                    self.flush()
                    progress.show(f"{number:,} of {POSTS:,}")
        self.flush()

    def _put(self, number: int, now: int) -> None:
        post, figures = catalog_post(number, now), post_rollup(number, now)
        place = key(WORKSPACE, post[1])
        self.publish("catalog.posts", place, WORKSPACE, self._encoders[0]((WORKSPACE, *post[1:])))
        self.publish("rollups.posts", place, WORKSPACE, self._encoders[1]((WORKSPACE, *figures[1:])))

    def read_all(self, origin: str) -> dict[str, float]:
        """Read from the start to the end."""
        usage = Usage({"server": self._server})
        found = pages = size = 0
        cursor, has_more = "", True
        with Progress("changes: from the start"), httpx.Client(timeout=60, trust_env=False) as client:
            began = monotonic()
            while has_more:
                path = f"{origin}/tidemark/v1/changes?types=post&limit={_LIMIT}&cursor={cursor}"
                reply = client.get(path, headers={**self._headers, "accept-encoding": "identity"})
                assert reply.status_code == 200, reply.text
                found, pages, size = found + reply.content.count(b'"deleted":'), pages + 1, size + len(reply.content)
                end = reply.content[reply.content.rindex(b'"next_cursor":"') + 15 :]
                cursor, has_more = end.partition(b'"')[0].decode(), b'"has_more":true' in end
            seconds = monotonic() - began
        assert found == POSTS, found
        cpu = usage.cpu_seconds()["server"]
        return {"seconds": seconds, "pages": pages, "mb": size / 1e6, "server_cpu_seconds": cpu}

    async def follow(self, origin: str) -> dict[str, float]:
        """Readers that wait, and then a change."""
        with Progress(f"changes: {READERS:,} readers"):
            before = self.held(self.pid)
            host, port = origin.removeprefix("http://").split(":")
            lines = (
                "GET /tidemark/v1/stream?cursor=now HTTP/1.1",
                f"host: {host}",
                f"authorization: Bearer {self.key}",
            )
            head = "\r\n".join((*lines, "", ""))
            readers = []
            for _ in range(READERS):
                reader, writer = await asyncio.open_connection(host, int(port))
                writer.write(head.encode())
                readers.append((reader, writer))
            await asyncio.gather(*(self._until(reader, b":\n") for reader, _ in readers))
            cpu = psutil.Process(self._server).cpu_times()
            await asyncio.sleep(_SETTLED_SECONDS)
            idle = psutil.Process(self._server).cpu_times()
            after = self.held(self.pid)
            began = monotonic()
            self._put(7, now_ms())
            self.flush()
            done = await asyncio.gather(*(self._until(reader, b"event: post") for reader, _ in readers))
            for _, writer in readers:
                writer.close()
            used = idle.user + idle.system - cpu.user - cpu.system
            return {
                "added_mb": after["own_mb"] - before["own_mb"],
                "own_mb": after["own_mb"],
                "resident_mb": after["resident_mb"],
                "idle_cpu_share": used / _SETTLED_SECONDS,
                "first_ms": (min(done) - began) * 1000,
                "last_ms": (max(done) - began) * 1000,
            }

    async def _until(self, reader: Any, text: bytes) -> float:
        """When a text has come; what came before it is passed over."""
        async with asyncio.timeout(_PATIENCE_SECONDS):
            held = b""
            while text not in held:
                held += await reader.read(65_536)
        return monotonic()
