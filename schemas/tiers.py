"""How often a target of a given age is polled. Pure; shared by the poller and the API, which shows the next poll.

Ages count from `published_at`; instants and spans are milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

MILLIS_PER_HOUR = 3_600_000
MILLIS_PER_DAY = 24 * MILLIS_PER_HOUR

# Each target's interval is shortened by a share of its own between these two. So the load spreads, and a target has the
# rest of its interval to wait for a place in a call, without being polled later than its tier says.
MARGIN_SHARE = 0.02
JITTER_SHARE = 0.1
# A target due within this share of its interval may fill a free place in a batch. The share is above JITTER_SHARE, so
# that a channel's targets that were polled together stay together.
RIDE_ALONG_SHARE = 0.2
# The same share where other targets of its tier are due: polled early once, the target stays together with them.
JOIN_SHARE = 0.5
CHANNEL_INTERVAL = 6 * MILLIS_PER_HOUR
_SHORTEST_INTERVAL = 100


@dataclass(frozen=True, slots=True)
class Rule:
    """When the posts of a platform are polled.

    Attributes:
        tiers: (age up to which the tier holds, exclusive; interval), by rising age. A target past the last tier is
            never polled.
        newest: how many of a channel's newest posts are polled; None for all.
    """

    tiers: tuple[tuple[int, int], ...]
    newest: int | None = None

    def interval(self, age: int) -> int | None:
        """The interval at an age, ms; None when the target is too old. An age below zero counts as 0."""
        tier = self.tier(age)
        return None if tier is None else self.tiers[tier][1]

    def tier(self, age: int) -> int | None:
        """The position in `tiers` at an age; None when the target is too old."""
        for position, (until, _) in enumerate(self.tiers):
            if age < until:
                return position
        return None


COMMON = Rule(
    (
        (MILLIS_PER_DAY, MILLIS_PER_HOUR // 2),
        (7 * MILLIS_PER_DAY, 6 * MILLIS_PER_HOUR),
        (90 * MILLIS_PER_DAY, MILLIS_PER_DAY),
    )
)
RULES: dict[str, Rule] = {
    # X bills reads by the item. How much to spend is Tidemark's choice, so the rule is not in the platform's file.
    "x": Rule(((MILLIS_PER_DAY, MILLIS_PER_HOUR // 2), (3 * MILLIS_PER_DAY, 6 * MILLIS_PER_HOUR)), newest=50),
    # Google Business has figures of locations only, so a published post is never polled.
    "google_business": Rule(((0, 6 * MILLIS_PER_HOUR),)),
}


def rule_of(platform: str) -> Rule:
    """The rule of a platform."""
    return RULES.get(platform, COMMON)


def jitter(identity: str | bytes) -> float:
    """A number in [0, 1) that is always the same for an id, given as text or in UTF-8."""
    return crc32(identity.encode() if isinstance(identity, str) else identity) / 2**32


def spread(interval: int, identity: str | bytes, speed: float) -> int:
    """An interval (ms) shortened by the id's jitter, and divided by the speed."""
    share = MARGIN_SHARE + (JITTER_SHARE - MARGIN_SHARE) * jitter(identity)
    shortened = int(interval * (1 - share) / speed)
    return shortened if shortened > _SHORTEST_INTERVAL else _SHORTEST_INTERVAL


class NextDue(NamedTuple):
    """When a target is due (ms), and the position of the tier whose interval decides that."""

    at: int
    tier: int


def next_in_tier(rule: Rule, published_at: int, asked_at: int, identity: str | bytes, speed: float) -> NextDue | None:
    """When and in which tier a target is due again after it was asked for; None when it is never due again."""
    tier = rule.tier(asked_at - published_at)
    if tier is None:
        return None
    due_at = asked_at + spread(rule.tiers[tier][1], identity, speed)
    return NextDue(due_at, tier) if due_at - published_at < rule.tiers[-1][0] else None


def next_due(rule: Rule, published_at: int, asked_at: int, identity: str | bytes, speed: float) -> int | None:
    """When a target is due again after it was asked for, ms; None when it is never due again."""
    due = next_in_tier(rule, published_at, asked_at, identity, speed)
    return None if due is None else due.at
