"""Chooses the answers that can tell why a figure is unknown, and interprets them. Pure.

Answers that present figures come from tell nothing, and neither do good answers before them, unless a metric is unknown
that a good answer may refuse of single posts. Among the other answers the newest to each question counts. Two calls ask
the same question if they differ only in ids and numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from schemas.events import PlatformRaw
from services.platforms import platform
from services.platforms.abilities import AnswersApart
from services.platforms.base import MappingError, Outcome
from services.query_api.tidemark.resources.states import Evidence

_NUMBER = re.compile(r"[0-9]+")
_SMALLEST_ERROR = 400
_PAIR_BYTES = 250


class PlatformAnswer(NamedTuple):
    """An answer about a target or a channel; `captured_at` in ms."""

    event_id: str
    http_status: int
    captured_at: int

    @property
    def failed(self) -> bool:
        """Whether the HTTP status alone shows that the call failed."""
        return self.http_status >= _SMALLEST_ERROR


class PlatformCall(NamedTuple):
    """The call behind an answer: the path, the query, and the platform's ids by the catalog's ids."""

    endpoint: str
    request: Mapping[str, str]
    external_ids: Mapping[str, str]

    @property
    def held_bytes(self) -> int:
        """The memory that it takes, roughly."""
        return sum(map(len, self.request.values())) + _PAIR_BYTES * (len(self.request) + len(self.external_ids))


class Meaning(NamedTuple):
    """The meaning of an answer, the targets that it reports as gone, and those of which it has a meaning of its own."""

    outcome: Outcome
    gone: frozenset[str]
    apart: Mapping[str, Outcome] = {}


class KnownMeaning(NamedTuple):
    """A meaning, and how long the payload is from which it was read, in bytes."""

    meaning: Meaning
    body_bytes: int

    @property
    def held_bytes(self) -> int:
        """The memory that it takes, roughly."""
        return _PAIR_BYTES * (len(self.meaning.gone) + len(self.meaning.apart))


def is_telling(answers: Iterable[PlatformAnswer], spoke: Mapping[str, int], *, looks_back: bool = False) -> bool:
    """Whether any answer about a target or channel may tell why one of its figures is unknown.

    Args:
        spoke: the answers that present figures come from: event ids with times, ms.
        looks_back: whether good answers before those may have refused what is unknown.
    """
    newest = -1 if looks_back else max(spoke.values(), default=-1)
    return any(answer.event_id not in spoke and (answer.failed or answer.captured_at > newest) for answer in answers)


def question_of(call: PlatformCall, subject: str) -> tuple[str, ...]:
    """The question that a call asks about a target or channel, without the ids and numbers that change each time."""
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
    """The newest answer to each question; an answer whose call is no longer known counts as its own question."""
    newest: dict[tuple[str, ...], PlatformAnswer] = {}
    for answer in sorted(answers, key=lambda one: (one.captured_at, one.event_id)):
        held = calls.get(answer.event_id)
        newest[(answer.event_id,) if held is None else question_of(held, subject)] = answer
    return list(newest.values())


def meaning(event: PlatformRaw, now: int) -> Meaning:
    """The meaning of an answer by its platform's rules; `now` in ms."""
    try:
        known = platform(event.platform)
        outcome = known.classify(event.http_status, {}, event.body, now).outcome
        gone: Sequence[int] = known.read(event).gone if outcome is Outcome.OK else ()
    except (KeyError, MappingError):
        return Meaning(Outcome.REQUEST_WRONG, frozenset())
    told = known.verdicts(event, {}, now) if isinstance(known, AnswersApart) else {}
    apart = {
        event.targets[place].target_id: verdict.outcome
        for place, verdict in told.items()
        if verdict.outcome is not Outcome.NOT_LISTED  # that says nothing of the target
    }
    return Meaning(outcome, frozenset(event.targets[place].target_id for place in gone), apart)


def understood(answer: PlatformAnswer, subject: str, meanings: Mapping[str, Meaning]) -> Evidence:
    """An answer with its meaning; for an answer whose body was not read, the HTTP status alone decides."""
    by_status = Meaning(Outcome.REQUEST_WRONG if answer.failed else Outcome.OK, frozenset())
    outcome, gone, apart = meanings.get(answer.event_id, by_status)
    return Evidence(answer.event_id, answer.captured_at, apart.get(subject, outcome), subject in gone)
