"""Certificates for tests: one context of the system's authorities in a run, and an authority of the tests' own."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

from infra.embedded.authority import Authority


def share_authorities() -> None:
    """Let `ssl.create_default_context` give the same context to all who name no files.

    A new HTTP client makes one, which reads the certificates of all authorities: 50 ms of CPU, thousands of times in a
    run, for addresses on this host that have no certificate.
    """
    plain = ssl.create_default_context
    shared = cache(plain)

    def create(*arguments: Any, **named: Any) -> ssl.SSLContext:
        names_files = any(named.get(name) for name in ("cafile", "capath", "cadata"))
        return plain(*arguments, **named) if names_files or len(arguments) > 1 else shared(*arguments, **named)

    ssl.create_default_context = cast("Any", create)


@dataclass(frozen=True)
class Certificates:
    """PEM files of an authority, a server on this host and a client."""

    authority: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path


def make_certificates(folder: Path) -> Certificates:
    """Make an authority and two certificates in a folder."""
    authority = Authority(folder)
    server, client = authority.issue("server"), authority.issue("client")
    return Certificates(authority.certificate, server.certificate, server.key, client.certificate, client.key)
