"""Reads platforms' answers about accounts from ClickHouse, with payloads in the form that replies show."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from schemas.events import PlatformRaw
from services.query_api.fairness import Desk
from services.query_api.reads import sql
from services.query_api.reads.clickhouse import ClickHouse
from services.query_api.reads.polls import AccountAnswer
from services.runtime.redaction import blank_secret_bytes

# The most levels that a reply's own shape puts around a payload, with room.
_LEVELS_AROUND = 16
# A payload with fewer brackets than this can't be nested too deep.
_SHALLOW = 200
_BODIES_AT_ONCE = 25
_ANSWERS_AT_ONCE = 1000


class AccountAnswers:
    """Reads raw events about accounts out of ClickHouse."""

    def __init__(self, clickhouse: ClickHouse, desk: Desk) -> None:
        self._clickhouse = clickhouse
        self._desk = desk

    async def answers(
        self, workspace_id: str, event_ids: Iterable[str], times: Mapping[str, int]
    ) -> dict[str, AccountAnswer]:
        """Answers by event id; of an answer whose raw event is no longer stored only the time is known.

        Args:
            times: when answers came, ms, for answers whose raw event is no longer stored.
        """
        wanted = sorted(event_ids)
        found = {name: AccountAnswer(name, times.get(name, 0), "", "", {}) for name in wanted}
        for first in range(0, len(wanted), _ANSWERS_AT_ONCE):
            names = {"workspace": workspace_id, "events": wanted[first : first + _ANSWERS_AT_ONCE]}
            for name, at, origin, endpoint, request in await self._clickhouse.rows(
                "raw_answers", sql.RAW_ANSWERS, names
            ):
                found[name] = AccountAnswer(name, times.get(name, at), origin, endpoint, dict(request))
        return found

    async def sizes(self, workspace_id: str, event_ids: Sequence[str]) -> dict[str, int]:
        """Sizes of payloads in bytes, by event id; payloads that are no longer stored are left out."""
        wanted = {"workspace": workspace_id, "events": list(event_ids)}
        rows = await self._clickhouse.rows("raw_sizes", sql.RAW_SIZES, wanted)
        return {event_id: int(size) for event_id, size in rows}

    async def payloads(self, workspace_id: str, event_ids: Sequence[str]) -> dict[str, orjson.Fragment]:
        """Payloads as JSON text, by event id; payloads that are no longer stored are left out."""
        found: dict[str, orjson.Fragment] = {}
        for first in range(0, len(event_ids), _BODIES_AT_ONCE):
            wanted = {"workspace": workspace_id, "events": list(event_ids[first : first + _BODIES_AT_ONCE])}
            rows = await self._clickhouse.rows("raw_bodies", sql.RAW_BODIES, wanted)
            # In a thread: payloads are large, and other reads go on meanwhile.
            found.update(await self._desk.run(workspace_id, _decoded, rows))
        return found

    async def payload_of(self, event: PlatformRaw) -> orjson.Fragment:
        """The payload of an answer that may not be stored yet."""
        return await self._desk.run(event.workspace_id, _shown, event.body)


def _decoded(rows: Iterable[list[Any]]) -> dict[str, orjson.Fragment]:
    return {event_id: _as_text(base64.b64decode(encoded)) for event_id, encoded in rows}


def _shown(body: bytes) -> orjson.Fragment:
    return _as_text(blank_secret_bytes(body))


def _as_text(body: bytes) -> orjson.Fragment:
    return orjson.Fragment(orjson.dumps(payload(body)))


def shown_bytes(value: Any) -> bytes | None:
    """A JSON value as text; None when a reply can't carry the value.

    The encoder allows fewer levels (254) than the decoder (1024), and callers may allow fewer still.
    """
    for _ in range(_LEVELS_AROUND):
        value = [value]
    try:
        text = orjson.dumps(value)
    except TypeError:
        return None
    return text[_LEVELS_AROUND:-_LEVELS_AROUND]


def is_showable(value: Any) -> bool:
    """Whether a reply can carry a JSON value."""
    return shown_bytes(value) is not None


def payload(body: bytes) -> Any:
    """A payload as a JSON value; {} for a payload that is no JSON, or nested too deep to be shown."""
    try:
        value = orjson.loads(body)
    except ValueError:
        return {}
    if body.count(b"[") + body.count(b"{") > _SHALLOW and not is_showable(value):
        return {}
    return value if isinstance(value, dict) else {"data": value}
