"""Holds back log lines that soon repeat the same complaint about a neighbour.

In: log records. Out: the first record of each kind, and then at most one in ten seconds, with the number of records
held back. A kind is a logger and the template of its line, so that the same complaint about two tables is one kind.
Complaints about neighbours are lines of clients' own loggers from WARNING on, and our own events listed here.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable
from typing import Any

EVERY_SECONDS = 10.0
_MOST_KINDS = 1000
# From WARNING on, these client libraries complain about nothing but their connection.
_CLIENTS = frozenset({"aiokafka", "faust", "mode", "clickhouse_connect", "urllib3", "kafka", "confluent_kafka"})
_EVENTS = frozenset(
    {
        "Kafka can't be reached; trying again",
        "Kafka did not take an event; sending it again",
        "a message waits for its schema",
        "a neighbour is waited for",
        "a live request was not sent",
        "a reply was not confirmed",
        "a reply was not sent",
        "a stream broke off",
        "catalog_commit_failed",
        "clickhouse_unavailable",
        "kafka did not confirm in time",
        "kafka refused a write",
        "lag_unknown",
        "query failed",
        "query without an answer in time",
        "registry is away",
        "schemas are missing; trying again",
        "the store can't be read",
        "the store can't be written",
        "the store waits",
        "topics can't be read; trying again",
    }
)
# Numbers and addresses, which may be all that differs between two lines with the same complaint.
_VARYING = re.compile(r"0x[0-9a-f]+|\d+")


class Repeats(logging.Filter):
    """A handler's filter: passes a record, with the number of records of its kind held back, or holds it back.

    Args:
        now: seconds of a clock that never goes back.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now = now
        self._lock = threading.Lock()
        self._kinds: dict[tuple[str, str], list[float]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is shown; adds the number held back to a record that is."""
        template = _template(record)
        if template is None:
            return True
        kind = (record.name, template)
        now = self._now()
        with self._lock:
            said = self._kinds.get(kind)
            if said is not None and now - said[0] < EVERY_SECONDS:
                said[1] += 1
                return False
            self._forget(now)
            self._kinds[kind] = [now, 0]
        held = int(said[1]) if said is not None else 0
        if held:
            _add(record, held)
        return True

    def _forget(self, now: float) -> None:
        """Forget kinds that have not come for a while and hold nothing back, so that kinds stay bounded in number."""
        if len(self._kinds) >= _MOST_KINDS:
            self._kinds = {kind: said for kind, said in self._kinds.items() if now - said[0] < EVERY_SECONDS}


def _template(record: logging.LogRecord) -> str | None:
    """The text that lines of one kind have in common; None for a line that is no complaint about a neighbour."""
    if isinstance(record.msg, dict):
        event = str(record.msg.get("event", ""))
        return event if event in _EVENTS else None
    if record.levelno < logging.WARNING or record.name.partition(".")[0] not in _CLIENTS:
        return None
    return _VARYING.sub("#", str(record.msg))


def _add(record: logging.LogRecord, held: int) -> None:
    if isinstance(record.msg, dict):
        event: dict[str, Any] = {**record.msg, "held_back": held}
        record.msg = event
    else:
        record.msg = f"{record.getMessage()} ({held} more like this were held back)"
        record.args = None
