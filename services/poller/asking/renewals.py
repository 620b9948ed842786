"""What comes of a refresh of tokens, and how long a failure stands; pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from schemas.events import ChannelTokens


class Renewal(NamedTuple):
    """What came of a refresh.

    Attributes:
        done: there are new tokens.
        retry_at: when it may be tried again (ms); None when these tokens will never bring new ones.
    """

    done: bool
    retry_at: int | None = None


DONE = Renewal(True)
IMPOSSIBLE = Renewal(False)


@dataclass(slots=True)
class Barred:
    """A failure that stands for these tokens until a time."""

    tokens: ChannelTokens
    failures: int
    until: int
    renewal: Renewal
