"""Groups answers about an account by poll, and joins a poll's payloads into one value. Pure.

A poll asks several addresses for an account's figures, and each answer is an event of its own. Events do not name their
poll, so a poll is recognised: its answers come soon after each other, for the same reason, and no two of them asked the
same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from services.runtime.clock import MILLIS_PER_SECOND

# The longest time between two answers of a poll, ms: a call may take half a minute.
LONGEST_GAP = 60 * MILLIS_PER_SECOND
# The longest time from a poll's first answer to its last, ms.
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
        """The question behind the answer, without times and page numbers, so that two polls' questions compare."""
        parts = (f"{name}={_DIGITS.sub('0', value)}" for name, value in sorted(self.request.items()))
        return (self.endpoint, *parts)


def order(answer: AccountAnswer) -> tuple[int, bytes]:
    """The sorting key of answers: the newest answer is the greatest."""
    return answer.captured_at, answer.event_id.encode()


def polls(answers: Iterable[AccountAnswer]) -> list[list[AccountAnswer]]:
    """Group answers by poll: each poll's answers in their order, polls in the order of their last answers.

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
    # An answer whose raw event is no longer stored has no known question, so it stands alone.
    return (
        bool(answer.endpoint and poll[-1].endpoint)
        and answer.captured_at - poll[-1].captured_at <= LONGEST_GAP
        and answer.captured_at - poll[0].captured_at <= LONGEST_POLL
    )


def raw_of(answers: Iterable[AccountAnswer], payloads: Mapping[str, Any]) -> Any:
    """The payloads of some answers: one payload as it is, several by their path; {} where none is stored any more.

    Args:
        answers: newest first; a path that occurs again is extended by its query, and then by a number.
        payloads: by event id; answers without a payload are left out.
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
