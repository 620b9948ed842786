"""Channels that the sandbox answers for, as lines of `POST /admin/v1/catalog`: something to begin with. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

from infra.sandbox.ids import behaviours_of, make_id

HOUR = 3_600_000
MOST_POSTS = 48


class Account(NamedTuple):
    """An account of one platform, in the platform's own forms.

    Attributes:
        post_type: of its posts; empty where the platform tells no figures of posts.
    """

    external_id: str
    username: str
    post_type: str


ACCOUNTS = {
    "x": Account("1001", "tidemark", "x-post"),
    "instagram": Account("17841400000000001", "tidemark.studio", "instagram-feed"),
    "youtube": Account("UCtidemarkdemochannel0", "Tidemark", "youtube-video"),
    "bluesky": Account("did:plc:sandboxsandboxsandboxsan", "tidemark.test", "bluesky-post"),
    "linkedin": Account("urn:li:organization:2414183", "Tidemark", "linkedin-post"),
    "facebook": Account("104583221947103", "Tidemark", "facebook-post"),
    "threads": Account("17841401234567890", "tidemark.studio", "threads-post"),
    "tiktok": Account("723f24d7-e717-40f8-a2b6-cb8464cd23b4", "tidemark", "tiktok-video"),
    "pinterest": Account("2783136121146311751", "tidemark", "pinterest-pin"),
    "reddit": Account("tidemark_demo", "tidemark_demo", "reddit-post"),
    "google_business": Account("11293847561029384756", "Tidemark Store", ""),
}
PLATFORMS = tuple(ACCOUNTS)


def access_token(platform: str) -> str:
    """A token that the sandbox accepts; the part after the ~ names the account."""
    return f"sandbox-{platform}-token~{ACCOUNTS[platform].external_id}"


def channel_line(platform: str, workspace_id: str, channel_id: str) -> dict[str, Any]:
    """A channel of the sandbox."""
    account = ACCOUNTS[platform]
    return {
        "type": "channel",
        "workspace_id": workspace_id,
        "id": channel_id,
        "platform": platform,
        "external_id": account.external_id,
        "username": account.username,
        "access_token": access_token(platform),
        "status": "active",
    }


def lines(
    platform: str, workspace_id: str, channel_id: str | None, posts: int, now: int, culprits: int | None = None
) -> list[dict[str, Any]]:
    """A channel and posts on it, each an hour older than the one before.

    Args:
        channel_id: `sandbox-<platform>` if None.
        now: ms.
        culprits: how many more posts the platform refuses something of, each in another way as far as there are ways;
            None: one for each ten posts.
    """
    account, own_id = ACCOUNTS[platform], channel_id or f"sandbox-{platform}"
    found = [channel_line(platform, workspace_id, own_id)]
    ways = list(behaviours_of(platform).values())
    refused = [ways[number % len(ways)] for number in range(posts // 10 if culprits is None else culprits) if ways]
    kinds = [""] * posts + refused
    for number, peculiar in enumerate(kinds if account.post_type else (), 1):
        published_at = (now - number * HOUR) // 1000 * 1000
        shown = datetime.fromtimestamp(published_at / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        target = {
            "target_id": f"{own_id}-target-{number}",
            "channel_id": own_id,
            "post_type": account.post_type,
            "status": "published",
            "external_id": make_id(platform, published_at, number, peculiar, account=account.external_id),
        }
        found.append(
            {
                "type": "post",
                "workspace_id": workspace_id,
                "id": f"{own_id}-post-{number}",
                "status": "published",
                "published_at": shown,
                "targets": [target],
            }
        )
    return found
