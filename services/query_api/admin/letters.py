"""Dead letters for the operator's page: what they are by reason, and sending their messages again.

The code is that of `tidemark dead-letters`. It blocks, so it runs in a thread; one reading or sending at a time, since
each reads topics. Letters are as the aggregator wrote them, and everything like a token in them is blanked once more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, Protocol

import orjson

from services.aggregator.dead_letters import DeadLetters, Filter, Found, Listed
from services.aggregator.letters_shown import described, readable
from services.aggregator.redrive import Redrive, Redriven
from services.aggregator.topic_reader import TopicReader, TopicUnreadable
from services.query_api.admin.parameters import RedriveRequest
from services.query_api.errors import Unavailable
from services.query_api.settings import QueryApiSettings
from services.runtime.clock import Clock, iso_millis
from services.runtime.logging import get_logger
from services.runtime.redaction import blank_secrets
from services.runtime.registry import RegistryUnavailable

log = get_logger(__name__)

MOST_LETTERS = 500
"""The newest letters that are looked at; a topic may hold a month of them."""
_EXAMPLES = 3
_PAYLOAD_CHARACTERS = 2_000
_MOST_FAILURES = 20


class LettersUnavailable(Unavailable):
    """The topic of dead letters can't be read, or raw events can't be written."""

    code = "dead_letters_unavailable"
    message = "Dead letters can't be read at the moment."


class LetterTopics(Protocol):
    """The topics of dead letters and of raw events, for one use; all calls block."""

    def newest(self, limit: int) -> list[Listed]:
        """The newest letters, oldest first, without payloads."""

    def with_payloads(self, letters: Sequence[Listed]) -> list[tuple[Listed, Any]]:
        """Letters with what they hold, in any order."""

    def redrive(self, wanted: Filter, *, is_dry: bool) -> Redriven:
        """Send the messages of letters again, or only count them."""

    def close(self) -> None:
        """Close the connections."""


class Letters:
    """Lists dead letters and sends their messages again.

    Args:
        connect: opens the topics; raises TopicUnreadable or RegistryUnavailable where they can't be used.
    """

    def __init__(self, connect: Callable[[], LetterTopics]) -> None:
        self._connect = connect
        self._turn = asyncio.Lock()

    async def show(self) -> dict[str, Any]:
        """The newest letters by reason, with some payloads each.

        Raises:
            LettersUnavailable: the topics can't be read.
        """
        async with self._turn:
            shown: dict[str, Any] = await self._run(_shown)
        return shown

    async def redrive(self, asked: RedriveRequest) -> dict[str, Any]:
        """Send the messages of letters again, and say what was done.

        Guarantee: at least once; repeating is safe, since an event counts once by its id.

        Raises:
            LettersUnavailable: the topics can't be read or written.
        """
        wanted = Filter(frozenset(asked.reasons), asked.workspace_id)
        async with self._turn:
            done = await self._run(lambda topics: topics.redrive(wanted, is_dry=asked.is_dry))
        sent = done.from_originals + done.from_payloads
        if not asked.is_dry:
            log.info(
                "dead letters sent again", messages=sum(done.by_reason.values()), sent=sent, by_reason=done.by_reason
            )
        return {
            "is_dry": asked.is_dry,
            "messages": sum(done.by_reason.values()),
            "by_reason": dict(sorted(done.by_reason.items())),
            "sent_as_received": done.from_originals,
            "sent_as_kept": done.from_payloads,
            "failed": len(done.failures),
            "failures": [blank_secrets(failure) for failure in done.failures[:_MOST_FAILURES]],
        }

    async def _run(self, use: Callable[[LetterTopics], Any]) -> Any:
        def connected() -> Any:
            topics = self._connect()
            try:
                return use(topics)
            finally:
                topics.close()

        try:
            return await asyncio.to_thread(connected)
        except (TopicUnreadable, RegistryUnavailable) as error:
            log.warning("dead letters can't be used", error=str(error))
            raise LettersUnavailable(
                f"{_sentence(error)} `tidemark dead-letters` says the same at a terminal."
            ) from None


def _sentence(error: Exception) -> str:
    text = blank_secrets(str(error)).strip()
    return text if text.endswith(".") else f"{text}."


def _shown(topics: LetterTopics) -> dict[str, Any]:
    newest = topics.newest(MOST_LETTERS)
    by_reason: dict[str, list[Listed]] = {}
    for entry in reversed(newest):
        by_reason.setdefault(entry.found.letter.reason, []).append(entry)
    examples = [entry for entries in by_reason.values() for entry in entries[:_EXAMPLES]]
    held = {str(entry.found.at): payload for entry, payload in topics.with_payloads(examples)}
    reasons = [
        {
            "reason": reason,
            "letters": len(entries),
            "redriven": sum(entry.redriven_at is not None for entry in entries),
            "workspaces": len({entry.found.letter.workspace_id for entry in entries}),
            "newest_at": iso_millis(entries[0].found.letter.failed_at),
            "examples": [
                {
                    **{
                        name: value
                        for name, value in described(entry).items()
                        if name in ("origin", "workspace_id", "detail", "failed_at", "redriven_at")
                    },
                    **_shortened(held.get(str(entry.found.at))),
                }
                for entry in entries[:_EXAMPLES]
            ],
        }
        for reason, entries in by_reason.items()
    ]
    reasons.sort(key=lambda one: (one["redriven"] == one["letters"], -int(str(one["letters"])), one["reason"]))
    return {"looked_at": len(newest), "most": MOST_LETTERS, "data": reasons}


def _shortened(payload: Any) -> dict[str, Any]:
    """A payload as text of bounded length."""
    if payload is None or isinstance(payload, str):
        text = payload or ""
    else:
        text = orjson.dumps(payload, option=orjson.OPT_INDENT_2).decode()
    return {"payload": text[:_PAYLOAD_CHARACTERS], "is_shortened": len(text) > _PAYLOAD_CHARACTERS}


class _KafkaTopics:
    """The topics on Kafka.

    Raises:
        TopicUnreadable, RegistryUnavailable: they can't be used.
    """

    def __init__(self, settings: QueryApiSettings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        with ExitStack() as stack:
            self._originals = stack.enter_context(TopicReader(settings, is_committed=False))
            self._letters = DeadLetters(settings, settings, stack.enter_context(TopicReader(settings)))
            self._open = stack.pop_all()

    def newest(self, limit: int) -> list[Listed]:
        return self._letters.newest(Filter(), limit)

    def with_payloads(self, letters: Sequence[Listed]) -> list[tuple[Listed, Any]]:
        by_place = {entry.found.at: entry for entry in letters}
        return [(by_place[found.at], self._readable(found)) for found in self._letters.at(by_place)]

    def redrive(self, wanted: Filter, *, is_dry: bool) -> Redriven:
        redrive = Redrive(self._settings, self._letters, self._originals, self._clock)
        return redrive.run(wanted, is_dry=is_dry, progress=lambda *_: None)

    def close(self) -> None:
        self._open.close()

    def _readable(self, found: Found) -> Any:
        return readable(found.letter.payload, self._letters.raw_codec)


def letters_of(settings: QueryApiSettings, clock: Clock) -> Letters:
    """Dead letters of the installation's own Kafka."""
    return Letters(lambda: _KafkaTopics(settings, clock))
