"""Runs several worker processes on one port; uvicorn's own supervisor starts, watches and replaces them.

All workers accept from one listening socket, so that a connection goes to any free worker, and a worker that dies loses
no connection that it had not accepted. Each worker reads the topics for itself and keeps its own answers.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable
from multiprocessing.process import parent_process
from pathlib import Path
from types import FrameType
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
from services.runtime.reloading import Reloading
from services.runtime.secrets import TokenCipher

log = get_logger(__name__)

# A worker that has not read the keys yet would refuse valid keys, so it leaves connections to the other workers. While
# Kafka is away the worker accepts connections after this time, so that /readyz can tell what is missing.
_READ_SECONDS = 10.0
# A worker answers its supervisor once its imports are done; imports took 28 s on two cores shared by fifteen programs.
# With a shorter time the supervisor would replace slow workers by equally slow ones for ever.
_SILENT_SECONDS = 60


class Worker:
    """The application of one worker, built within the worker's process of its settings.

    Args:
        shared_folder: the folder of files that all workers share.
    """

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
        self._service.reloading.at_signal()
        _call_at_signal(self._service.end_streams)
        if not await self._service.has_read(_READ_SECONDS):
            log.warning("serving before the catalog is read", waited_seconds=_READ_SECONDS)
        log.info("worker answers", pid=os.getpid())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._service.stop()
        log.info("worker stopped", pid=os.getpid())
        await send({"type": "lifespan.shutdown.complete"})


class _Supervisor(Multiprocess):
    """uvicorn's supervisor, whose workers read their secrets again at SIGHUP instead of being started anew.

    Attributes:
        reloading: of the settings that a worker which takes another's place is given.
    """

    reloading: Reloading

    def init_processes(self) -> None:
        super().init_processes()
        self._leave_ends_to_workers()

    def keep_subprocess_alive(self) -> None:
        super().keep_subprocess_alive()
        self._leave_ends_to_workers()

    def _leave_ends_to_workers(self) -> None:
        """Close the workers' ends of their pipes here, where uvicorn keeps them open.

        A worker that dies while it is asked whether it lives closes the last end then, and is replaced at once, not
        after `_SILENT_SECONDS` in which no other worker is looked at either.
        """
        for process in self.processes:
            process.child_conn.close()

    def handle_hup(self) -> None:
        self.reloading.now()
        for process in self.processes:
            if process.pid is not None:
                os.kill(process.pid, signal.SIGHUP)


def run_workers(settings: QueryApiSettings, listener: socket.socket, server_options: dict[str, Any]) -> int:
    """Serve with `query_api_workers` workers until a signal; returns the exit code.

    A worker that ends or hangs is replaced. A worker that fails to start ends all workers, with exit code 1.
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
        supervisor = _Supervisor(config, [listener])
        supervisor.reloading = Reloading(settings)
        supervisor.run()
        failed = any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes)
    return 1 if failed else 0


def _key_writes_file(folder: Path) -> Path:
    return folder / "key-writes"


def _call_at_signal(end: Callable[[], None]) -> None:
    """Call a function on the loop when a signal ends this worker, before uvicorn waits for its replies."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        before = signal.getsignal(number)

        def stop(received: int, frame: FrameType | None, before: Any = before) -> None:
            loop.call_soon_threadsafe(end)
            if callable(before):
                before(received, frame)

        signal.signal(number, stop)


def _end_with_parent() -> None:
    """Stop this worker when its supervisor has ended or was killed."""
    parent = parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="parent", daemon=True).start()
