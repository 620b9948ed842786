"""The operators' door of the query API: `/healthz`, `/readyz` and `/metrics` on a port that callers don't reach.

It lives in a thread of the first process, beside one worker or several: it is ready when the origin says so, and its
metrics are those of all workers.
"""

from __future__ import annotations

import asyncio
import threading
from http.client import HTTPConnection, HTTPException

from services.query_api.observability import exposition
from services.runtime.operations import OperationsServer

_ASKING_SECONDS = 2.0
_START_SECONDS = 10.0


class OperatorsDoor:
    """Answers until the process ends.

    Args:
        origin: host and port of the API itself.
    """

    def __init__(self, host: str, port: int, origin: tuple[str, int]) -> None:
        self._host, self._port, self._origin = host, port, origin
        self._started = threading.Event()
        self._failure: OSError | None = None

    def start(self) -> int:
        """Begin to answer; returns the port.

        Raises:
            OSError: the port can't be opened.
        """
        threading.Thread(target=lambda: asyncio.run(self._serve()), name="operators", daemon=True).start()
        if not self._started.wait(_START_SECONDS):
            raise OSError("the operations port did not open in time")
        if self._failure is not None:
            raise self._failure
        return self._port

    async def _serve(self) -> None:
        server = OperationsServer(self._host, self._port, self._missing, exposition)
        try:
            await server.start()
            self._port = server.port
        except (OSError, SystemExit) as error:
            self._failure = OSError(str(error) or "the port is taken")
        self._started.set()
        if self._failure is None:
            await asyncio.Event().wait()

    def _missing(self) -> str | None:
        """What the origin says is missing."""
        connection = HTTPConnection(*self._origin, timeout=_ASKING_SECONDS)
        try:
            connection.request("GET", "/readyz")
            reply = connection.getresponse()
            text = reply.read().decode()
        except (OSError, HTTPException) as error:
            return f"the API does not answer ({type(error).__name__})"
        finally:
            connection.close()
        return None if reply.status == 200 else text.strip()
