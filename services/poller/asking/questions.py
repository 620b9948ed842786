"""What one call asks, how the same is asked for in less, and whose each part of its answer is; pure.

One channel's figures are asked for with the channel's own token (`ChannelQuestion`). Posts of several channels are
asked for in one call with a token of our app (`SharedQuestion`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, TypeVar

from schemas.events import RawKind
from services.platforms.abilities import AcrossAccounts
from services.platforms.base import Call, Channel, Platform, Target
from services.poller.asking.shapes import shape_of
from services.poller.asking.smaller import about, halves, metric_halves, metrics_of, without_metrics, without_target
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


@dataclass(frozen=True)
class ChannelQuestion:
    """A call about one channel: about some of its targets, or about its own figures.

    Attributes:
        is_arranged: it is what may be asked now, as far as is known (`arranging.py`).
        is_part: it is part of a question that failed.
    """

    platform: Platform
    plan: Plan
    channel: Channel
    call: Call
    is_arranged: bool = False
    is_part: bool = False

    @property
    def plans(self) -> tuple[Plan, ...]:
        """The plans of all channels that the call is about."""
        return (self.plan,)

    @cached_property
    def subjects(self) -> tuple[Subject, ...]:
        """What the call asks figures of, in the order of its targets."""
        key, call = self.plan.key, self.call
        if not call.targets and call.kind != RawKind.POST_METRICS:
            return (Subject(key, CHANNEL),)
        return tuple([Subject(key, target.target_id) for target in call.targets])

    def parts(self, body: bytes) -> list[Part]:
        """All of the answer is the channel's."""
        return [Part(self.plan.key, self.call, body)]

    @property
    def shape(self) -> str:
        """The shape of the call."""
        return shape_of(self.call, (self.channel.external_id,))

    def instead(self, call: Call) -> ChannelQuestion:
        """Another call about the same channel."""
        return self if call is self.call else replace(self, call=call)

    def halves(self, now: int) -> list[ChannelQuestion]:
        """The same in two halves of the targets; [] when there are fewer than two. `now` in ms."""
        return self._anew(halves(self.platform, self.channel, self.call, now))

    def only(self, positions: Collection[int], now: int) -> list[ChannelQuestion]:
        """The same about targets at some positions, with all metrics; `now` in ms."""
        targets = [target for position, target in enumerate(self.call.targets) if position in positions]
        return self._anew(about(self.platform, self.channel, self.call, targets, now))

    def about(self, _: Plan, target: Target, now: int) -> list[ChannelQuestion]:
        """The same about another target of the channel; [] where that is asked by other calls. `now` in ms."""
        return self._anew(about(self.platform, self.channel, self.call, [target], now))

    def of_any_kind(self, target: Target, now: int) -> list[ChannelQuestion]:
        """The questions about a target of the channel, whichever calls they take; `now` in ms."""
        return self._anew(self.platform.post_calls(self.channel, [target], now))

    def without_target(self, external_id: str, now: int) -> list[ChannelQuestion]:
        """The same about all targets but one; [] when none is left. `now` in ms."""
        return self._anew(without_target(self.platform, self.channel, self.call, external_id, now))

    def without_metrics(self, metrics: Collection[str]) -> ChannelQuestion | None:
        """The same without some metrics; None where nothing is left to ask for."""
        smaller = without_metrics(self.call, metrics)
        return None if smaller is None else self.instead(smaller)

    def metric_halves(self) -> list[ChannelQuestion]:
        """The same with half of the metrics each; [] when there are fewer than two."""
        return [self.instead(call).as_part() for call in metric_halves(self.call)]

    def arranged(self) -> ChannelQuestion:
        """The same, to be asked as it is."""
        return self if self.is_arranged else replace(self, is_arranged=True)

    def as_part(self) -> ChannelQuestion:
        """The same, as part of a question that failed."""
        return self if self.is_part else replace(self, is_part=True)

    def _anew(self, calls: Sequence[Call]) -> list[ChannelQuestion]:
        return [replace(self, call=call, is_arranged=False) for call in calls]


class SharedQuestion:
    """A call about posts of several channels.

    Args:
        platform: one that answers across accounts.
        asked: at least one target, each with its channel's plan; at most one batch of the platform.
        left_out: metrics that are not asked for.

    Attributes:
        is_arranged: it is what may be asked now, as far as is known (`arranging.py`).
        is_part: it is part of a question that failed.
    """

    def __init__(
        self,
        platform: AcrossAccounts,
        asked: Sequence[tuple[Plan, Target]],
        left_out: Collection[str] = (),
        *,
        is_arranged: bool = False,
        is_part: bool = False,
    ) -> None:
        self._platform = platform
        self._asked = asked
        self._left_out = left_out
        self.is_arranged = is_arranged
        self.is_part = is_part
        self.call = self._call([target for _, target in asked])

    @property
    def plans(self) -> tuple[Plan, ...]:
        """The plans of all channels that the call is about, each once."""
        return tuple(dict.fromkeys([plan for plan, _ in self._asked]))

    @cached_property
    def subjects(self) -> tuple[Subject, ...]:
        """What the call asks figures of, in the order of its targets."""
        return tuple([Subject(plan.key, target.target_id) for plan, target in self._asked])

    @property
    def shape(self) -> str:
        """The shape of the call."""
        return shape_of(self.call)

    def parts(self, body: bytes) -> list[Part]:
        """One part a channel; in none of them is anything of another channel's targets."""
        by_plan: dict[Plan, list[Target]] = {}
        for plan, target in self._asked:
            by_plan.setdefault(plan, []).append(target)
        found = []
        for plan, targets in by_plan.items():
            own = self._platform.app_part(body, {target.external_id for target in targets})
            found.append(Part(plan.key, self._call(targets), own))
        return found

    def halves(self, _: int) -> list[SharedQuestion]:
        """The same in two halves of the targets; [] when there are fewer than two."""
        middle = len(self._asked) // 2
        return [self._about(self._asked[:middle]), self._about(self._asked[middle:])] if middle else []

    def by_channel(self, *, was_answered: bool) -> list[SharedQuestion]:
        """The same in two halves of the channels; [] when there is one channel.

        Args:
            was_answered: if not, one channel is asked alone first: where all are refused, that is found sooner.
        """
        keys = [plan.key for plan in self.plans]
        if len(keys) < 2:
            return []
        last = len(keys) if was_answered or len(keys) < 4 else len(keys) - 1
        parts = (keys[last:], keys[: last // 2], keys[last // 2 : last])
        return [self._about([one for one in self._asked if one[0].key in set(part)]) for part in parts if part]

    def only(self, positions: Collection[int], _: int) -> list[SharedQuestion]:
        """The same about targets at some positions, with all metrics."""
        asked = [one for position, one in enumerate(self._asked) if position in positions]
        return [self._about(asked)] if asked else []

    def about(self, plan: Plan, target: Target, _: int) -> list[SharedQuestion]:
        """The same about another target, with its channel's plan."""
        return [self._about([(plan, target)])]

    def of_any_kind(self, _: Target, __: int) -> list[SharedQuestion]:
        """[]: calls of our app are all of one kind."""
        return []

    def without_target(self, external_id: str, _: int) -> list[SharedQuestion]:
        """The same about all targets but one; [] when none is left."""
        left = [one for one in self._asked if one[1].external_id != external_id]
        return [self._about(left)] if left else []

    def without(self, channels: Collection[ChannelKey]) -> list[SharedQuestion]:
        """The same about all channels but these; [] when none is left."""
        left = [one for one in self._asked if one[0].key not in channels]
        return [SharedQuestion(self._platform, left, self._left_out, is_part=self.is_part)] if left else []

    def without_metrics(self, metrics: Collection[str]) -> SharedQuestion | None:
        """The same without some metrics; None where nothing is left to ask for."""
        smaller = without_metrics(self.call, metrics)
        if smaller is None or smaller is self.call:
            return None if smaller is None else self
        left_out = frozenset(self._left_out) | frozenset(metrics)
        return SharedQuestion(self._platform, self._asked, left_out, is_arranged=self.is_arranged, is_part=self.is_part)

    def metric_halves(self) -> list[SharedQuestion]:
        """The same with half of the metrics each; [] when there are fewer than two."""
        names = metrics_of(self.call)
        middle = len(names) // 2
        parts = [self.without_metrics(names[middle:]), self.without_metrics(names[:middle])] if middle else []
        return [part.as_part() for part in parts if part is not None]

    def arranged(self) -> SharedQuestion:
        """The same, to be asked as it is."""
        if self.is_arranged:
            return self
        found = copy(self)
        found.is_arranged = True
        return found

    def as_part(self) -> SharedQuestion:
        """The same, as part of a question that failed."""
        if self.is_part:
            return self
        found = copy(self)
        found.is_part = True
        return found

    def _call(self, targets: Sequence[Target]) -> Call:
        (call,) = self._platform.app_post_calls(targets)
        return (without_metrics(call, self._left_out) or call) if self._left_out else call

    def _about(self, asked: Sequence[tuple[Plan, Target]]) -> SharedQuestion:
        return SharedQuestion(self._platform, asked, is_part=self.is_part)


Question = ChannelQuestion | SharedQuestion
Asked = TypeVar("Asked", ChannelQuestion, SharedQuestion)
