"""Whose refusals a question meets, and of which kinds its targets are; pure."""

from __future__ import annotations

from collections.abc import Mapping

from services.poller.asking.budget import APP
from services.poller.asking.questions import ChannelQuestion, SharedQuestion
from services.poller.asking.refusals import Kind
from services.poller.keys import ChannelKey


def owner_of(question: ChannelQuestion | SharedQuestion, name: str) -> ChannelKey:
    """Whose refusals of a whole shape a question meets: its channel's, or our app's at the platform."""
    return (APP, name) if isinstance(question, SharedQuestion) else question.plans[0].key


def kinds_of(question: ChannelQuestion | SharedQuestion, name: str) -> Mapping[Kind, list[str]]:
    """The kinds of a question's targets, each with the ids of its targets."""
    shape = question.shape
    kinds: dict[Kind, list[str]] = {}
    for target in question.call.targets:
        kinds.setdefault(Kind(name, shape, target.post_type), []).append(target.external_id)
    return kinds
