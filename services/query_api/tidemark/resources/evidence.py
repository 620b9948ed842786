"""Which answers tell why something is unknown, and what they mean. Pure.

An answer that a figure is from needs no second look, nor do good answers before it. Of the others the newest to each
question counts: two calls ask the same if they differ in nothing but ids and numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from schemas.events import PlatformRaw
from services.platforms import platform
from services.platforms.base import MappingError, Outcome
from services.query_api.tidemark.resources.states import Evidence

_NUMBER = re.compile(r"[0-9]+")
_SMALLEST_ERROR = 400


class PlatformAnswer(NamedTuple):
    """An answer about a target or a channel; `captured_at` in ms."""

    event_id: str
    http_status: int
    captured_at: int

    @property
    def failed(self) -> bool:
        """Whether its status alone says that it failed."""
        return self.http_status >= _SMALLEST_ERROR


class PlatformCall(NamedTuple):
    """What an answer was asked: the path, the query, and the platform's ids by ours."""

    endpoint: str
    request: Mapping[str, str]
    external_ids: Mapping[str, str]


class Meaning(NamedTuple):
    """What an answer means, and the targets that it says are gone."""

    outcome: Outcome
    gone: frozenset[str]


def is_telling(answers: Iterable[PlatformAnswer], spoke: Mapping[str, int]) -> bool:
    """Whether any of a thing's answers may say why something of it is unknown.

    Args:
        spoke: event ids of the answers that its figures are from, with their times, ms.
    """
    newest = max(spoke.values(), default=-1)
    return any(answer.event_id not in spoke and (answer.failed or answer.captured_at > newest) for answer in answers)


def question_of(call: PlatformCall, subject: str) -> tuple[str, ...]:
    """What was asked of a target or a channel, without what differs from one time to the next."""
    external_id = call.external_ids.get(subject)
    request = (
        f"{name}={_NUMBER.sub('#', value)}"
        for name, value in sorted(call.request.items())
        if not external_id or external_id not in value
    )
    endpoint = call.endpoint.replace(external_id, "") if external_id else call.endpoint
    return _NUMBER.sub("#", endpoint), *request


def newest_to_each(
    answers: Iterable[PlatformAnswer], calls: Mapping[str, PlatformCall], subject: str
) -> list[PlatformAnswer]:
    """The newest answer to each question; one whose question is lost stands for itself."""
    newest: dict[tuple[str, ...], PlatformAnswer] = {}
    for answer in sorted(answers, key=lambda one: (one.captured_at, one.event_id)):
        held = calls.get(answer.event_id)
        newest[(answer.event_id,) if held is None else question_of(held, subject)] = answer
    return list(newest.values())


def meaning(event: PlatformRaw, now: int) -> Meaning:
    """What an answer means by its platform; `now` in ms."""
    try:
        known = platform(event.platform)
        outcome = known.classify(event.http_status, {}, event.body, now).outcome
        gone: Sequence[int] = known.read(event).gone if outcome is Outcome.OK else ()
    except (KeyError, MappingError):
        return Meaning(Outcome.REQUEST_WRONG, frozenset())
    return Meaning(outcome, frozenset(event.targets[place].target_id for place in gone))


def understood(answer: PlatformAnswer, subject: str, meanings: Mapping[str, Meaning]) -> Evidence:
    """An answer with its meaning; by its status alone where its body was not read."""
    by_status = Meaning(Outcome.REQUEST_WRONG if answer.failed else Outcome.OK, frozenset())
    outcome, gone = meanings.get(answer.event_id, by_status)
    return Evidence(answer.event_id, answer.captured_at, outcome, subject in gone)
