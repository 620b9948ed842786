"""What one call asks, how the same is asked for in less, and whose each part of its answer is; pure.

One channel's figures are asked for with the channel's own token (`ChannelQuestion`). Posts of several channels are
asked for in one call with a token of our app (`SharedQuestion`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

from schemas.events import RawKind
from services.platforms.abilities import AcrossAccounts
from services.platforms.base import Call, Channel, Platform, Target
from services.poller.asking.smaller import halves, metric_halves, without_metric, without_target
from services.poller.keys import ChannelKey
from services.poller.schedule.plan import Plan

CHANNEL = ""
"""Stands for the channel's own figures in place of a target's id; no target has such an id."""


class Subject(NamedTuple):
    """What figures are asked of: a target, or the channel itself (`CHANNEL`)."""

    channel: ChannelKey
    target_id: str


class Part(NamedTuple):
    """One channel's part of an answer.

    Attributes:
        channel: whose.
        call: the call as it would be for this channel's targets alone.
        body: what the answer says of them, in the answer's own shape.
    """

    channel: ChannelKey
    call: Call
    body: bytes


@dataclass(frozen=True, slots=True)
class ChannelQuestion:
    """A call about one channel: about some of its targets, or about its own figures."""

    platform: Platform
    plan: Plan
    channel: Channel
    call: Call

    @property
    def plans(self) -> tuple[Plan, ...]:
        """The plans of all channels that the call is about."""
        return (self.plan,)

    @property
    def subjects(self) -> tuple[Subject, ...]:
        """What the call asks figures of, in the order of its targets."""
        key, call = self.plan.key, self.call
        if not call.targets and call.kind != RawKind.POST_METRICS:
            return (Subject(key, CHANNEL),)
        return tuple([Subject(key, target.target_id) for target in call.targets])

    def parts(self, body: bytes) -> list[Part]:
        """All of the answer is the channel's."""
        return [Part(self.plan.key, self.call, body)]

    def instead(self, call: Call) -> ChannelQuestion:
        """Another call about the same channel."""
        return self if call is self.call else replace(self, call=call)

    def halves(self, now: int) -> list[ChannelQuestion]:
        """The same in two halves of the targets; [] when there are fewer than two. `now` in ms."""
        return [self.instead(call) for call in halves(self.platform, self.channel, self.call, now)]

    def without_target(self, external_id: str, now: int) -> list[ChannelQuestion]:
        """The same about all targets but one; [] when none is left. `now` in ms."""
        return [self.instead(call) for call in without_target(self.platform, self.channel, self.call, external_id, now)]

    def without_metric(self, metric: str) -> ChannelQuestion | None:
        """The same without one metric; None where the call does not ask for it."""
        smaller = without_metric(self.call, metric)
        return None if smaller is None else self.instead(smaller)

    def metric_halves(self) -> list[ChannelQuestion]:
        """The same with half of the metrics each; [] when there are fewer than two."""
        return [self.instead(call) for call in metric_halves(self.call)]


class SharedQuestion:
    """A call about posts of several channels.

    Args:
        platform: one that answers across accounts.
        asked: at least one target, each with its channel's plan; at most one batch of the platform.
    """

    __slots__ = ("_asked", "_platform", "call")

    def __init__(self, platform: AcrossAccounts, asked: Sequence[tuple[Plan, Target]]) -> None:
        self._platform = platform
        self._asked = asked
        (self.call,) = platform.app_post_calls([target for _, target in asked])

    @property
    def plans(self) -> tuple[Plan, ...]:
        """The plans of all channels that the call is about, each once."""
        return tuple(dict.fromkeys([plan for plan, _ in self._asked]))

    @property
    def subjects(self) -> tuple[Subject, ...]:
        """What the call asks figures of, in the order of its targets."""
        return tuple([Subject(plan.key, target.target_id) for plan, target in self._asked])

    def parts(self, body: bytes) -> list[Part]:
        """One part a channel; in none of them is anything of another channel's targets."""
        by_plan: dict[Plan, list[Target]] = {}
        for plan, target in self._asked:
            by_plan.setdefault(plan, []).append(target)
        found = []
        for plan, targets in by_plan.items():
            (call,) = self._platform.app_post_calls(targets)
            own = self._platform.app_part(body, {target.external_id for target in targets})
            found.append(Part(plan.key, call, own))
        return found

    def halves(self, _: int) -> list[SharedQuestion]:
        """The same in two halves of the targets; [] when there are fewer than two."""
        middle = len(self._asked) // 2
        return [self._about(self._asked[:middle]), self._about(self._asked[middle:])] if middle else []

    def halves_by_channel(self) -> list[SharedQuestion]:
        """The same in two halves of the channels; [] when there is one channel."""
        plans = self.plans
        middle = len(plans) // 2
        first = frozenset(plan.key for plan in plans[:middle])
        return [self._about(half) for half in self._split(first)] if middle else []

    def without(self, channels: Collection[ChannelKey]) -> list[SharedQuestion]:
        """The same about all channels but these; [] when none is left."""
        _, left = self._split(channels)
        return [self._about(left)] if left else []

    def _split(self, channels: Collection[ChannelKey]) -> tuple[list[tuple[Plan, Target]], list[tuple[Plan, Target]]]:
        """Targets of these channels, and those of the others."""
        return (
            [one for one in self._asked if one[0].key in channels],
            [one for one in self._asked if one[0].key not in channels],
        )

    def _about(self, asked: Sequence[tuple[Plan, Target]]) -> SharedQuestion:
        return SharedQuestion(self._platform, asked)


Question = ChannelQuestion | SharedQuestion
Asked = TypeVar("Asked", ChannelQuestion, SharedQuestion)
