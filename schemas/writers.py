"""Remembers writers' schemas by id, and bounds how often the registry is asked for unknown ids. Pure.

Any number may stand in a value's header. An id without an Avro schema is remembered for a while, and new ids are looked
up at a bounded rate: otherwise two thousand invented ids would delay a partition by as many round trips.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

Schema = TypeVar("Schema")
# A schema takes some KB, and a topic has a few versions.
KNOWN_MAX = 256
UNKNOWN_MAX = 10_000
UNKNOWN_SECONDS = 30.0
# The registry answers in some milliseconds.
LOOKUPS_AT_ONCE = 20
LOOKUPS_PER_SECOND = 2.0
# How long a registry that did not answer is left alone, since each attempt takes the whole time-out.
AWAY_SECONDS = 5.0


class UnknownSchema(ValueError):
    """The id names no schema by which the topic's values can be read."""


class SchemasAway(RuntimeError):
    """The registry does not answer, so it is unknown whether a schema exists; try again."""


class Writers(Generic[Schema]):
    """A bounded memory of schemas. May be used from several threads.

    Args:
        load: returns the schema of an id; raises KeyError or UnknownSchema where there is none, and any other error
            where the registry does not answer.
        clock: seconds of a clock that never goes back.
    """

    def __init__(self, load: Callable[[int], Schema], clock: Callable[[], float] = time.monotonic) -> None:
        self._load = load
        self._clock = clock
        self._known: OrderedDict[int, Schema] = OrderedDict()
        self._unknown: OrderedDict[int, tuple[float, str]] = OrderedDict()
        self._away: tuple[float, Exception] | None = None
        self._allowance = float(LOOKUPS_AT_ONCE)
        self._allowed_at = clock()
        self._lock = threading.Lock()

    def get(self, schema_id: int) -> Schema:
        """The schema of an id.

        Raises:
            UnknownSchema: the id has no schema, had none a moment ago, or too many unknown ids were asked for.
            SchemasAway: the registry does not answer; other errors of `load` are raised as they are.
        """
        found = self._known.get(schema_id)
        if found is not None:
            return found
        self._admit(schema_id)
        try:
            found = self._load(schema_id)
        except (KeyError, UnknownSchema) as error:
            why = str(error.args[0]) if error.args else "the registry has no such schema"
            with self._lock:
                self._unknown[schema_id] = (self._clock() + UNKNOWN_SECONDS, why)
                while len(self._unknown) > UNKNOWN_MAX:
                    self._unknown.popitem(last=False)
            raise UnknownSchema(why) from None
        except Exception as error:
            self._away = (self._clock() + AWAY_SECONDS, error)
            raise
        with self._lock:
            self._known[schema_id] = found
            while len(self._known) > KNOWN_MAX:
                self._known.popitem(last=False)
        return found

    def _admit(self, schema_id: int) -> None:
        with self._lock:
            now = self._clock()
            until, why = self._unknown.get(schema_id, (now, ""))
            if until > now:
                raise UnknownSchema(why)
            self._unknown.pop(schema_id, None)
            if self._away is not None and self._away[0] > now:
                raise self._away[1]
            self._allowance += (now - self._allowed_at) * LOOKUPS_PER_SECOND
            self._allowance = min(self._allowance, LOOKUPS_AT_ONCE)
            self._allowed_at = now
            if self._allowance < 1:
                raise UnknownSchema("not looked up: too many unknown schemas were asked for")
            self._allowance -= 1
