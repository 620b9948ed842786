"""Answers as PostBeam's replies. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Any

from schemas.metrics import post_engagements
from services.query_api.reads.query import Post, latest, or_zero
from services.runtime.clock import iso_seconds


def reactions(post: Post) -> dict[str, Any]:
    """Reactions to a post, and to what it is on each channel."""
    networks = {target.channel_id: target.platform for target in post.targets}
    found: Counter[str] = Counter()
    for target in post.targets:
        found[target.channel_id] += or_zero(post_engagements(target.values))
    as_of = latest(target.captured_at for target in post.targets)
    return {
        "beam": post.post_id,
        "reactions": sum(found.values()),
        "by_channel": [
            {"channel": channel_id, "network": networks[channel_id], "reactions": found[channel_id]}
            for channel_id in sorted(found)
        ],
        "as_of": None if as_of is None else iso_seconds(as_of),
    }
