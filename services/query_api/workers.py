"""Several processes that answer on one port, started, watched and replaced by uvicorn's own supervisor.

All of them accept from one listening socket, so a connection waits for whoever is free, and none is lost with a worker
that dies before it accepted it. Each reads the topics for itself and keeps its own answers.
"""

from __future__ import annotations

import os
import signal
import socket
import tempfile
import threading
from multiprocessing.process import parent_process
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from services.query_api.key_writes import KeyWrites
from services.query_api.observability import SHARED_FOLDER, forget_dead_workers
from services.query_api.service import Service
from services.query_api.settings import QueryApiSettings
from services.runtime.logging import configure_logging, get_logger
from services.runtime.secrets import TokenCipher

log = get_logger(__name__)

# A worker that does not know the keys yet would refuse good ones, so it leaves connections to the others; while Kafka
# is away it accepts them after this, so that /readyz can say what is missing.
_READ_SECONDS = 10.0
# A worker answers its supervisor once its imports are done: 28 s of them were seen on two cores that fifteen programs
# wanted. One that is replaced for it is followed by one that does no better, for ever.
_SILENT_SECONDS = 60


class Worker:
    """The application of one worker, made anew in each; only its settings travel there."""

    def __init__(self, settings: QueryApiSettings, shared_folder: Path) -> None:
        self._settings = settings
        self._folder = shared_folder
        self._service: Service | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            assert self._service is not None, "the server accepts connections once startup is complete"
            await self._service.app(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        configure_logging("query_api", self._settings.log_level)
        _end_with_parent()
        forget_dead_workers()
        settings = self._settings
        cipher = TokenCipher(settings.secret_keys) if settings.secret_keys else None
        writes = KeyWrites(_key_writes_file(self._folder), settings.topic_partitions)
        self._service = Service(settings, cipher, writes)
        self._service.start()
        if not await self._service.has_read(_READ_SECONDS):
            log.warning("serving before the catalog is read", waited_seconds=_READ_SECONDS)
        log.info("worker answers", pid=os.getpid())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._service.stop()
        log.info("worker stopped", pid=os.getpid())
        await send({"type": "lifespan.shutdown.complete"})


def run_workers(settings: QueryApiSettings, listener: socket.socket, server_options: dict[str, Any]) -> int:
    """Serve with as many workers as the settings say until a signal; returns the exit code.

    A worker that ends or hangs is replaced; one that can't even start ends all.
    """
    with tempfile.TemporaryDirectory(prefix="tidemark-query-api-") as name:
        folder = Path(name)
        KeyWrites.make(_key_writes_file(folder), settings.topic_partitions)
        metrics = folder / "metrics"
        metrics.mkdir()
        os.environ[SHARED_FOLDER] = str(metrics)
        config = uvicorn.Config(
            Worker(settings, folder),
            lifespan="on",
            workers=settings.query_api_workers,
            timeout_worker_healthcheck=_SILENT_SECONDS,
            **server_options,
        )
        supervisor = Multiprocess(config, [listener])
        supervisor.run()
        failed = any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes)
    return 1 if failed else 0


def _key_writes_file(folder: Path) -> Path:
    return folder / "key-writes"


def _end_with_parent() -> None:
    """Stop this worker when its supervisor is gone, killed or not."""
    parent = parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="parent", daemon=True).start()
