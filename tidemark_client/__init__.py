"""A typed, synchronous client of Tidemark's own API (`Tidemark`) and of the admin API (`TidemarkAdmin`).

with Tidemark("http://127.0.0.1:8080", key) as tidemark:
    for post in tidemark.posts(channel_id="ch-x"):
        print(post.id, post.metrics["likes"], post.reasons.get("likes"))
"""

from __future__ import annotations

from tidemark_client.admin import TidemarkAdmin
from tidemark_client.client import Tidemark
from tidemark_client.errors import TidemarkError

__all__ = ["Tidemark", "TidemarkAdmin", "TidemarkError"]
