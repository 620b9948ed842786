"""The operators' door of the query API: `/healthz`, `/readyz` and `/metrics` on a port that callers don't reach.

It runs in a thread of the first process, beside one worker or several. It is ready when the origin is, and its metrics
are the sums over all workers.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from http.client import HTTPConnection, HTTPException

from services.query_api.observability import exposition
from services.runtime.operations import OperationsServer

_ASKING_SECONDS = 2.0


class OperatorsDoor:
    """Answers operators until the process ends.

    Args:
        origin: host and port of the API itself.
    """

    def __init__(self, host: str, port: int, origin: tuple[str, int]) -> None:
        self._host, self._port, self._origin = host, port, origin

    def start(self) -> int:
        """Begin to answer; returns the port.

        Raises:
            OSError: the port can't be opened.
        """
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.create_server((self._host, self._port), family=family)
        port: int = listener.getsockname()[1]
        serving = self._serve(listener)
        threading.Thread(target=asyncio.run, args=(serving,), name="operators", daemon=True).start()
        return port

    async def _serve(self, listener: socket.socket) -> None:
        await OperationsServer(self._host, 0, self._missing, exposition, listener).start()
        await asyncio.Event().wait()

    def _missing(self) -> str | None:
        """The line that the origin's `/readyz` answers; None when the origin is ready."""
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
