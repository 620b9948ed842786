"""Which answers about an account are one poll's, and their payloads as one value. Pure.

A poll asks several addresses for an account's figures, and each answer is an event of its own. Events don't name their
poll, so it is told by what they are: they come soon after each other and for the same reason, and none asks again what
another asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from services.runtime.clock import MILLIS_PER_SECOND

# Between two answers of a poll, ms: a call may take half a minute.
LONGEST_GAP = 60 * MILLIS_PER_SECOND
# From the first answer of a poll to the last, at most, ms.
LONGEST_POLL = 600 * MILLIS_PER_SECOND
_DIGITS = re.compile(r"\d+")


class AccountAnswer(NamedTuple):
    """One answer about an account.

    Attributes:
        captured_at: ms.
        request: the query that was sent.
    """

    event_id: str
    captured_at: int
    origin: str
    endpoint: str
    request: Mapping[str, str]

    @property
    def question(self) -> tuple[str, ...]:
        """What was asked, whenever it was asked: times and page numbers are left out."""
        parts = (f"{name}={_DIGITS.sub('0', value)}" for name, value in sorted(self.request.items()))
        return (self.endpoint, *parts)


def order(answer: AccountAnswer) -> tuple[int, bytes]:
    """By which answers are sorted: the newest is the greatest."""
    return answer.captured_at, answer.event_id.encode()


def polls(answers: Iterable[AccountAnswer]) -> list[list[AccountAnswer]]:
    """Answers by their polls, each poll in the order of its answers, polls by their last answer.

    Args:
        answers: in the order of (`captured_at`, `event_id`).
    """
    found: list[list[AccountAnswer]] = []
    under_way: dict[str, tuple[list[AccountAnswer], set[tuple[str, ...]]]] = {}
    for answer in answers:
        question = answer.question
        poll, asked = under_way.get(answer.origin, ([], set()))
        if not poll or question in asked or not _belongs(answer, poll):
            poll, asked = under_way[answer.origin] = [], set()
            found.append(poll)
        poll.append(answer)
        asked.add(question)
    return sorted(found, key=lambda poll: (poll[-1].captured_at, poll[-1].event_id.encode()))


def _belongs(answer: AccountAnswer, poll: Sequence[AccountAnswer]) -> bool:
    # Of an answer whose raw event is not held any more it is not known what was asked: it stands alone.
    return (
        bool(answer.endpoint and poll[-1].endpoint)
        and answer.captured_at - poll[-1].captured_at <= LONGEST_GAP
        and answer.captured_at - poll[0].captured_at <= LONGEST_POLL
    )


def raw_of(answers: Iterable[AccountAnswer], payloads: Mapping[str, Any]) -> Any:
    """The payloads of some answers: of one alone, else by the path that was asked; {} where none is held any more.

    Args:
        answers: the newest first; a path that comes again is told from the first by its query, then by a number.
        payloads: by event id; an answer without one is left out.
    """
    held = [answer for answer in answers if answer.event_id in payloads]
    if len(held) < 2:
        return payloads[held[0].event_id] if held else {}
    found: dict[str, Any] = {}
    for answer in held:
        query = "&".join(f"{name}={value}" for name, value in sorted(answer.request.items()))
        name = answer.endpoint if answer.endpoint not in found or not query else f"{answer.endpoint}?{query}"
        number, free = 1, name
        while free in found:
            number += 1
            free = f"{name}#{number}"
        found[free] = payloads[answer.event_id]
    return found
