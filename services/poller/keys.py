"""What the parts of the poller know a channel by; pure."""

from __future__ import annotations

ChannelKey = tuple[str, str]
"""workspace_id and channel_id."""
