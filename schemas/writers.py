"""Remembers writers' schemas by id, and bounds how often the registry is asked for unknown ids. Pure.

Any number may stand in a value's header. An id without an Avro schema is remembered for a while, and new ids are looked
up at a bounded rate: otherwise two thousand invented ids would delay a partition by as many round trips. An id that was
invented before its schema was registered must still be found then, also amid a flood of others: one list of the ids
that the topic's subject has answers for all of them at once.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from copy import copy
from typing import Generic, TypeVar

Schema = TypeVar("Schema")
# The greatest id that a registry gives: ids are Java's int. A greater one is invented, and some registries answer a
# question for it by an error, as if they could not answer at all.
ID_MAX = 2**31 - 1
# A schema takes some KB, and a topic has a few versions.
KNOWN_MAX = 256
UNKNOWN_MAX = 10_000
UNKNOWN_SECONDS = 30.0
# The registry answers in some milliseconds.
LOOKUPS_AT_ONCE = 20
LOOKUPS_PER_SECOND = 2.0
# A subject's ids are listed anew after this time; a registry that is slow is asked for a tenth of the time.
LIST_SECONDS = 0.1
_LIST_SHARE = 0.1
# How long a registry that did not answer is left alone, since each attempt takes the whole time-out.
AWAY_SECONDS = 5.0


class UnknownSchema(ValueError):
    """The id names no schema by which the topic's values can be read."""


class SchemasAway(RuntimeError):
    """The registry does not answer, so it is unknown whether a schema exists; try again."""


class Writers(Generic[Schema]):
    """A bounded memory of schemas. May be used from several threads.

    Args:
        load: returns the schema of an id; raises KeyError or UnknownSchema where there is none, and SchemasAway where
            the registry does not answer. Any other error is a mistake, and holds up no other id.
        clock: seconds of a clock that never goes back.
        list_ids: returns the ids of the topic's own schemas; raises as `load` does. Without it an
            id that was unknown a moment ago stays so for `UNKNOWN_SECONDS`.
    """

    def __init__(
        self,
        load: Callable[[int], Schema],
        clock: Callable[[], float] = time.monotonic,
        list_ids: Callable[[], Collection[int]] | None = None,
    ) -> None:
        self._load = load
        self._clock = clock
        self._list_ids = list_ids
        self._listed: Collection[int] = ()
        # Listed, and yet of no use: not looked up again until the list is another.
        self._useless: set[int] = set()
        self._list_again_at = clock()
        self._known: dict[int, Schema] = {}
        # Of the known: those that stay, and the others in the order in which they came.
        self._kept: frozenset[int] = frozenset()
        self._passing: OrderedDict[int, None] = OrderedDict()
        self._unknown: OrderedDict[int, tuple[float, str]] = OrderedDict()
        self._away: tuple[float, SchemasAway] | None = None
        self._allowance = float(LOOKUPS_AT_ONCE)
        self._allowed_at = clock()
        self._lock = threading.Lock()

    def get(self, schema_id: int) -> Schema:
        """The schema of an id.

        Raises:
            UnknownSchema: the id has no schema, or it is none of the topic's subject and had no schema a moment ago, or
                too many unknown ids were asked for.
            SchemasAway: the registry does not answer; other errors of `load` are raised as they are.
        """
        found = self._known.get(schema_id)
        if found is not None:
            return found
        if schema_id > ID_MAX:
            raise UnknownSchema("no registry gives an id that large")
        try:
            self._admit(schema_id)
        except UnknownSchema:
            if not self._is_listed(schema_id):
                raise
        try:
            found = self._load(schema_id)
        except (KeyError, UnknownSchema) as error:
            why = str(error.args[0]) if error.args else "the registry has no such schema"
            with self._lock:
                if schema_id in self._listed:
                    self._useless.add(schema_id)
                self._unknown[schema_id] = (self._clock() + UNKNOWN_SECONDS, why)
                while len(self._unknown) > UNKNOWN_MAX:
                    self._unknown.popitem(last=False)
            raise UnknownSchema(why) from None
        except SchemasAway as error:
            self._note_away(error)
            raise
        with self._lock:
            self._unknown.pop(schema_id, None)
            self._known[schema_id] = found
            if schema_id not in self._kept:
                self._passing[schema_id] = None
            while len(self._passing) > KNOWN_MAX:
                del self._known[self._passing.popitem(last=False)[0]]
        return found

    def load(self, schema_ids: Iterable[int]) -> None:
        """Look the topic's own schemas up before they are needed, and keep them for good.

        Ids without a usable schema are passed over.

        Raises:
            SchemasAway: as `get`.
        """
        self._listed = self._kept = frozenset(schema_ids)
        for schema_id in self._kept:
            with suppress(UnknownSchema):
                self.get(schema_id)

    def _admit(self, schema_id: int) -> None:
        with self._lock:
            now = self._clock()
            until, why = self._unknown.get(schema_id, (now, ""))
            if until > now:
                raise UnknownSchema(why)
            self._unknown.pop(schema_id, None)
            self._raise_while_away(now)
            self._allowance += (now - self._allowed_at) * LOOKUPS_PER_SECOND
            self._allowance = min(self._allowance, LOOKUPS_AT_ONCE)
            self._allowed_at = now
            if self._allowance < 1:
                raise UnknownSchema("not looked up: too many unknown schemas were asked for")
            self._allowance -= 1

    def _is_listed(self, schema_id: int) -> bool:
        if self._list_ids is None:
            return False
        with self._lock:
            asked_at = self._clock()
            if asked_at >= self._list_again_at:
                self._raise_while_away(asked_at)
                try:
                    listed = self._list_ids()
                except SchemasAway as error:
                    self._note_away(error)
                    raise
                if listed != self._listed:
                    self._listed = listed
                    self._useless.clear()
                now = self._clock()
                self._list_again_at = now + max(LIST_SECONDS, (now - asked_at) / _LIST_SHARE)
            return schema_id in self._listed and schema_id not in self._useless

    def _raise_while_away(self, now: float) -> None:
        if self._away is not None and self._away[0] > now:
            # A new one each time: each raise of the same one would add frames to it, and these hold messages.
            raise copy(self._away[1])

    def _note_away(self, error: SchemasAway) -> None:
        self._away = (self._clock() + AWAY_SECONDS, copy(error))
