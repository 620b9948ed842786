"""Short ways to make what the poller's tests talk about."""

from __future__ import annotations

from schemas.events import CatalogChannel, CatalogPost, CatalogTarget
from tests.support.manual_clock import START


def channel(
    channel_id: str = "c1", platform: str = "youtube", *, status: str = "active", workspace_id: str = "w1",
    updated_at: int = START,
) -> CatalogChannel:  # fmt: skip
    """A channel event."""
    return CatalogChannel(workspace_id, channel_id, platform, f"ext-{channel_id}", "name", status, None, updated_at)


def target(
    target_id: str = "t1", channel_id: str = "c1", *, external_id: str | None = None, published_at: int | None = None,
    status: str = "published",
) -> CatalogTarget:  # fmt: skip
    """A target of a post event."""
    known = f"e-{target_id}" if external_id is None else external_id
    return CatalogTarget(target_id, channel_id, "", status, known, published_at=published_at)


def post(
    *targets: CatalogTarget, post_id: str = "p1", published_at: int | None = START, status: str = "published",
    workspace_id: str = "w1",
) -> CatalogPost:  # fmt: skip
    """A post event."""
    return CatalogPost(workspace_id, post_id, status, published_at, published_at, targets, START)
