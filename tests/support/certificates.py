"""One context of certificate authorities for all HTTP clients of a test run."""

from __future__ import annotations

import ssl
from functools import cache
from typing import Any, cast


def share_authorities() -> None:
    """Let `ssl.create_default_context` give the same context to all who ask for the same.

    A new HTTP client makes one, which reads the certificates of all authorities: 50 ms of CPU, thousands of times in a
    run, for addresses on this host that have no certificate.
    """
    ssl.create_default_context = cast("Any", cache(ssl.create_default_context))
