"""What calls are made with: a channel's own token, or one of our app; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from services.poller.asking.budget import APP, WindowKey
from services.poller.connections.redact import Redactor
from services.poller.keys import ChannelKey


class Access(NamedTuple):
    """What a call is made with.

    Attributes:
        headers: they authorize the call.
        redactor: blanks every secret that the answer may repeat.
        channel: whose token it is, and so whose budget the call counts against; None for our app's.
        origin: the origin that takes the token; None for the platform's usual one.
        proof: parameters that are sent with each call and recorded nowhere: they prove that the token is our app's.
    """

    headers: Mapping[str, str]
    redactor: Redactor
    channel: ChannelKey | None
    origin: str | None = None
    proof: tuple[tuple[str, str], ...] = ()

    def window(self, platform: str, limit_group: str) -> WindowKey:
        """Whose limit a call of a group counts against."""
        return WindowKey(platform, APP if self.channel is None else "/".join(self.channel), limit_group)
