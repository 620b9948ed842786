"""The demo's tenant: its channels and posts, as a product would register them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from infra.sandbox.channels import ACCOUNTS, channel_line
from infra.sandbox.ids import make_id

WORKSPACE = "demo"
HOUR = 3_600_000
_CHANNELS = {
    "x": "ch-x",
    "instagram": "ch-instagram",
    "youtube": "ch-youtube",
    "bluesky": "ch-bluesky",
    "linkedin": "ch-linkedin",
    "facebook": "ch-facebook",
    "threads": "ch-threads",
    "tiktok": "ch-tiktok",
    "pinterest": "ch-pinterest",
    "reddit": "ch-reddit",
    "google_business": "ch-google",
}
LOCATION = "ch-google"


@dataclass(frozen=True)
class DemoTarget:
    """One post on one platform, as the demo registers it."""

    target_id: str
    post_id: str
    channel_id: str
    platform: str
    external_id: str
    published_at: int


@dataclass(frozen=True)
class Scene:
    """Everything that the demo registers.

    Attributes:
        targets: all posts on all channels.
    """

    targets: list[DemoTarget] = field(default_factory=list)

    def of_post(self, post_id: str) -> list[DemoTarget]:
        """One post's targets, in the scene's order."""
        return [target for target in self.targets if target.post_id == post_id]

    @property
    def platforms(self) -> dict[str, str]:
        """The platform of each channel."""
        return {channel_id: platform for platform, channel_id in _CHANNELS.items()}

    def account_of(self, channel_id: str) -> str:
        """The platform's own id of a channel."""
        return ACCOUNTS[self.platforms[channel_id]].external_id

    def of_channel(self, channel_id: str) -> list[DemoTarget]:
        """One channel's targets, in the scene's order."""
        return [target for target in self.targets if target.channel_id == channel_id]

    @property
    def post_ids(self) -> list[str]:
        """The posts' ids, each once, in the scene's order."""
        return list(dict.fromkeys(target.post_id for target in self.targets))

    def catalog(self) -> list[dict[str, Any]]:
        """The catalog as lines of `POST /admin/v1/catalog`."""
        lines: list[dict[str, Any]] = [
            channel_line(platform, WORKSPACE, channel_id) for platform, channel_id in _CHANNELS.items()
        ]
        for post_id in self.post_ids:
            targets = self.of_post(post_id)
            lines.append(
                {
                    "type": "post",
                    "workspace_id": WORKSPACE,
                    "id": post_id,
                    "status": "published",
                    "created_at": _iso(targets[0].published_at),
                    "published_at": _iso(targets[0].published_at),
                    "targets": [
                        {
                            "target_id": target.target_id,
                            "channel_id": target.channel_id,
                            "post_type": ACCOUNTS[target.platform].post_type,
                            "status": "published",
                            "external_id": target.external_id,
                            "published_at": _iso(target.published_at),
                            "content": "Hello from the demo",
                        }
                        for target in targets
                    ],
                }
            )
        return lines


def make_scene(now: int | None = None) -> Scene:
    """Make a scene of five posts, from today, last week and last month, on all platforms that have posts.

    Args:
        now: ms since the epoch; the machine's clock when left out.
    """
    at = time.time_ns() // 1_000_000 if now is None else now
    scene = Scene()
    for number, (post_id, age_hours) in enumerate(
        (("launch", 3), ("teaser", 20), ("behind-the-scenes", 50), ("customer-story", 24 * 5), ("roadmap", 24 * 20)), 1
    ):
        for platform, channel_id in _CHANNELS.items():
            account = ACCOUNTS[platform]
            if not account.post_type or (platform == "x" and age_hours > 72):
                continue  # X figures are asked for 72 h long
            published_at = (at - age_hours * HOUR) // 1000 * 1000
            external_id = make_id(platform, published_at, number, account=account.external_id)
            scene.targets.append(
                DemoTarget(f"{post_id}.{platform}", post_id, channel_id, platform, external_id, published_at)
            )
    return scene


def _iso(instant: int) -> str:
    return datetime.fromtimestamp(instant / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
