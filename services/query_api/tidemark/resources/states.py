"""The states of posts, targets and channels from which the endpoints of resources make replies. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from schemas.events import CatalogChannel, TargetOrigin
from schemas.registers import Register, Stamp
from services.platforms.base import Outcome


class Evidence(NamedTuple):
    """The newest answer to one question about a target or a channel.

    Attributes:
        captured_at: when the answer came, ms.
        outcome: the answer's meaning.
        is_gone: whether the answer reports the target as gone.
    """

    event_id: str
    captured_at: int
    outcome: Outcome
    is_gone: bool = False


class TargetState(NamedTuple):
    """One post on one channel. A tuple, since readers of changes are shown hundreds of thousands of them.

    Attributes:
        status: the status in the catalog.
        content: the text that was posted.
        published_at: ms; the post's time if the target has none of its own.
        updated_at: when the post was last written to the catalog, ms.
        register: the figures in the order of POST_METRICS, each with the answer that it comes from.
        is_newest: False for a target that is not polled because its platform polls only a channel's newest posts.
        evidence: the newest answer to each question; () if no unknown figure had to be explained.
    """

    target_id: str
    post_id: str
    channel: CatalogChannel
    post_type: str
    status: str
    external_id: str
    permalink: str | None
    published_at: int | None
    is_story: bool
    parent_target_id: str | None
    updated_at: int
    register: Register
    content: str | None = None
    origin: str = TargetOrigin.PRODUCT.value
    is_newest: bool = True
    evidence: tuple[Evidence, ...] = ()


# A tuple's own constructor takes half the time of the class's.
new_target: Callable[[tuple[Any, ...]], TargetState] = partial(tuple.__new__, TargetState)
"""A target of all of its fields in order."""


class PostState(NamedTuple):
    """A post and its targets in order, without those that are deleted or on a deleted channel. Instants in ms.

    The targets come last; of a target, whatever is found out about it apart from its own records does.
    """

    post_id: str
    status: str
    created_at: int | None
    published_at: int | None
    updated_at: int
    targets: tuple[TargetState, ...]


new_post: Callable[[tuple[Any, ...]], PostState] = partial(tuple.__new__, PostState)
"""A post of all of its fields in order."""


@dataclass(frozen=True, slots=True)
class PeriodState:
    """A channel's figures of one period, in the order of CHANNEL_METRICS; instants in ms."""

    period: str
    start: int | None
    end: int | None
    register: Register


@dataclass(frozen=True, slots=True)
class ChannelState:
    """A connected account.

    Attributes:
        periods: the lifetime figures, then the latest periods, the latest first.
        evidence: see `TargetState`.
    """

    channel: CatalogChannel
    periods: tuple[PeriodState, ...]
    evidence: tuple[Evidence, ...] = ()


def stamp_of(register: Register, metric: int) -> Stamp | None:
    """The answer that a figure comes from, also if the answer named it as null; None while no answer held it."""
    return next((stamp for stamp, mask in register.groups if mask >> metric & 1), None)


def spoken_of(register: Register) -> int:
    """The metrics that some answer held, also those that it named as null, as a bit mask."""
    groups = register.groups
    if len(groups) == 1:
        return groups[0][1]
    spoken = 0
    for _, mask in groups:
        spoken |= mask
    return spoken


def last_answered_at(captured_at: int | None, evidence: Sequence[Evidence]) -> int | None:
    """When the platform last answered about a target or channel, ms; None when it never did."""
    return max(
        (at for at in (captured_at, *(answer.captured_at for answer in evidence)) if at is not None), default=None
    )
