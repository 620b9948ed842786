"""Certificates for tests: one context of the system's authorities in a run, and an authority of the tests' own."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from functools import cache
from os import environ
from pathlib import Path
from typing import Any, cast

import certifi

from infra.embedded.authority import Authority


def share_authorities() -> None:
    """Let `ssl.create_default_context` give the same context to all who name no files of their own.

    A new HTTP client makes one with certifi's file or the environment's, and reads the certificates of all authorities:
    50 ms of CPU, thousands of times in a run, for addresses on this host that have no certificate.
    """
    plain = ssl.create_default_context
    shared = cache(plain)
    usual = (None, certifi.where(), environ.get("SSL_CERT_FILE"))

    def create(*arguments: Any, **named: Any) -> ssl.SSLContext:
        has_own = named.get("cafile") not in usual or named.get("capath") or named.get("cadata")
        return plain(*arguments, **named) if has_own or len(arguments) > 1 else shared(*arguments, **named)

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
