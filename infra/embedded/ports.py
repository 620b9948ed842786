"""Ports on 127.0.0.1: finds free ones, and refuses a taken one with a message that says what to do."""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections.abc import Iterable

import psutil

from infra.embedded.errors import PortTakenError

HOST = "127.0.0.1"
# Below every system's ephemeral range (32768 on Linux), so that no outgoing connection takes the port of a service that
# is being restarted.
AUTOMATIC_PORTS = range(20000, 32000)


def free_ports(count: int, avoid: Iterable[int] = ()) -> list[int]:
    """Distinct ports that nothing listens on now, picked at random, so that two processes seldom pick the same.

    Args:
        avoid: ports that are not to be picked, also when nothing listens on them.
    """
    taken = set(avoid)
    ports: list[int] = []
    while len(ports) < count:
        port = AUTOMATIC_PORTS.start + secrets.randbelow(len(AUTOMATIC_PORTS))
        if port not in taken and is_free(port):
            taken.add(port)
            ports.append(port)
    return ports


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now; connections in TIME_WAIT do not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def require_free(ports: Iterable[tuple[str, int]]) -> None:
    """Raise for the first taken port.

    Args:
        ports: (service, port) pairs.

    Raises:
        PortTakenError: the message names service and port, the process on the port where that can be seen, and a way
            out.
    """
    for service, port in ports:
        if not is_free(port):
            raise PortTakenError(
                f"port {port} of {service} is taken{_holder(port)}: stop that process or start with --ports auto"
            )


def _holder(port: int) -> str:
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return f" by pid {connection.pid} ({psutil.Process(connection.pid).name()})"
    return ""
