"""Names of the topics, without prefix; each topic's purpose stands in `topics/<name>.toml`. Pure."""

from __future__ import annotations

from typing import Final

RAW: Final = "platform.raw"
DEAD_LETTERS: Final = "platform.raw.dead-letters"

CHANNELS: Final = "catalog.channels"
POSTS: Final = "catalog.posts"
API_KEYS: Final = "catalog.api-keys"
TOKENS: Final = "catalog.tokens"
WEBHOOKS: Final = "catalog.webhooks"

POST_SNAPSHOTS: Final = "metrics.post-snapshots"
CHANNEL_SNAPSHOTS: Final = "metrics.channel-snapshots"
POST_ROLLUPS: Final = "rollups.posts"
CHANNEL_ROLLUPS: Final = "rollups.channels"
ACCOUNT_EVENTS: Final = "accounts.events"

REQUESTS: Final = "poller.requests"
REPLIES: Final = "poller.replies"
BACKFILLS: Final = "poller.backfills"
SPENDING: Final = "poller.spending"
CLAIMS: Final = "aggregator.claims"

WEBHOOK_DELIVERIES: Final = "notifier.deliveries"
WEBHOOK_STATES: Final = "notifier.endpoints"
WEBHOOK_REQUESTS: Final = "notifier.requests"
TOPICS_OF_CHANGES: Final = (CHANNELS, ACCOUNT_EVENTS, CHANNEL_ROLLUPS, POSTS, POST_ROLLUPS)
"""The topics of the order of changes that subscribers read: small topics first, so that none of them waits for the many
changes of posts. A cursor has an offset for each, in this order."""
