"""One HTTP client for what tests and benchmarks ask on this machine."""

from __future__ import annotations

from typing import Final

import httpx

LOOPBACK: Final = httpx.Client(trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))
"""Opens a connection for each request, as `httpx.get` does, which also makes a client: that takes 20 ms of a core and
more, nearly all of it for certificates, and a start that is waited for is asked ten times a second."""
