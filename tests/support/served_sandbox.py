"""A sandbox in a thread of the test's process, on a port of its own, so that its state is at hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import uvicorn

from infra.sandbox.app import Sandbox
from infra.sandbox.state import State


@contextmanager
def serving(state: State) -> Iterator[str]:
    """Serve until the block ends; yields the address."""
    config = uvicorn.Config(Sandbox(state), port=0, log_level="critical", lifespan="off", access_log=False)
    server = uvicorn.Server(config)
    thread = Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)
