"""Made-up states of targets, posts and channels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from schemas.metrics import CHANNEL_NAMES, POST_NAMES, mask_of
from schemas.registers import Register, Stamp, empty_register
from services.platforms.base import Outcome
from services.query_api.tidemark.resources.states import ChannelState, Evidence, PeriodState, PostState, TargetState
from tests.support.query_api import NOW, channel, values

HOUR = 3_600_000
DAY = 24 * HOUR


def post_register(*hidden: str, at: int = NOW, **figures: int) -> Register:
    """Figures of a post that one answer said, and those that it hid."""
    held = values(**figures)
    mask = mask_of(held) | sum(1 << POST_NAMES.index(name) for name in hidden)
    return Register(((Stamp(1, at, b"e1"), mask),), held, at) if mask else empty_register(len(POST_NAMES))


def channel_register(*hidden: str, at: int = NOW, **figures: int) -> Register:
    """The same of a channel."""
    held = tuple(figures.get(name) for name in CHANNEL_NAMES)
    mask = mask_of(held) | sum(1 << CHANNEL_NAMES.index(name) for name in hidden)
    return Register(((Stamp(1, at, b"e1"), mask),), held, at)


def target_state(target_id: str = "t1", platform: str = "instagram", **changes: Any) -> TargetState:
    """A target that was published an hour ago on a channel `c-<platform>` and never measured."""
    state = TargetState(
        target_id=target_id,
        post_id="p1",
        channel=channel("w1", f"c-{platform}", platform),
        post_type="",
        status="published",
        external_id=f"ext-{target_id}",
        permalink=None,
        published_at=NOW - HOUR,
        is_story=False,
        parent_target_id=None,
        updated_at=NOW - 2 * HOUR,
        register=post_register(),
    )
    return state._replace(**changes)


def post_state(*targets: TargetState, **changes: Any) -> PostState:
    """A published post."""
    return PostState("p1", "published", None, NOW - HOUR, NOW - HOUR, targets)._replace(**changes)


def channel_state(platform: str = "instagram", *periods: PeriodState, **changes: Any) -> ChannelState:
    """A connected account."""
    return replace(ChannelState(channel("w1", "c1", platform), periods), **changes)


def evidence(outcome: Outcome, *, at: int = NOW, event_id: str = "e9", is_gone: bool = False) -> Evidence:
    """An answer."""
    return Evidence(event_id, at, outcome, is_gone)
