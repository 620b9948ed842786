"""One post whose calls fail as if the whole platform did, while all others are answered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from infra.sandbox.refusals.row import HTML_502, About, Effect, Refusal

_DOES = "asks for its neighbours first, finds it by halves, and asks for it apart, ever more seldom"
_SOURCE = "public reports of single posts that fail for good"


def failing_posts(platform: str, status: int, body: Any) -> Iterator[Refusal]:
    """The platform's own server error, a page of a proxy, and silence, each for one post.

    Args:
        body: of the platform's server error.
    """
    down = ("platform_unavailable",)
    yield Refusal(platform, "post_fails", _SOURCE, About.TARGET, down, _DOES, status, body, is_whole=True)
    yield Refusal(platform, "post_in_html", _SOURCE, About.TARGET, down, _DOES, 502, HTML_502, is_whole=True)
    yield Refusal(
        platform, "post_is_silent", _SOURCE, About.TARGET, down, _DOES, 504, None, effect=Effect.SILENT,
        is_whole=True,
    )  # fmt: skip
