"""No statement is confirmed whose rows a full disk may have cut: chDB's engine does not notice a write that failed.

In: the free space of the data directory's file system, measured all the time, and the engine. Out: refusals.

Measured with chDB 26.9: where `write` fails (no space left, a file too large), an INSERT, a merge or a CREATE ends as
if all had been written, and the part on disk is short. The engine only refuses to begin where it can't reserve space.
So the engine keeps some space free in its own reservations (`keep_free_space_bytes`). Other programs may use that space
up, so:

- below the limit no statement that writes begins, and merges, which would delete their sources, are stopped;
- a statement during which free space fell below the limit is confirmed only after its parts were checked. A short part
  is dropped, together with its deduplication token, so that the same insert may come again.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from infra.embedded.clickhouse.errors import NOT_ENOUGH_SPACE, ServerError, refusal
from infra.embedded.clickhouse.statements import Statement, tokens

log = logging.getLogger(__name__)

# At 2 GB/s a disk loses 40 MB of free space between two measurements.
_LOOK_SECONDS = 0.02
_FREEING = frozenset({"DROP", "TRUNCATE", "DETACH", "KILL", "SYSTEM", "SET", "USE"})
# No such part, table or database: somebody else was quicker.
_GONE = frozenset({232, 60, 81})
# Between tries to drop a broken part: each is a statement of the engine's.
_DROP_AGAIN_SECONDS = 0.5
_NEW_PARTS = (
    "SELECT toJSONString((database, table, name)) FROM system.parts"
    " WHERE active AND modification_time >= fromUnixTimestamp({since:Int64})"
)


class Control(Protocol):
    """The engine's handle for this process's own statements."""

    def control(self, sql: str, params: Mapping[str, str] | None = None) -> str: ...


def may_write(statement: Statement) -> bool:
    """Whether a statement may take space on the disk."""
    if statement.has_result or statement.verb in _FREEING:
        return False
    if statement.verb == "ALTER":
        words = [token.upper for token in tokens(statement.sql)]
        return not any(pair in (("DROP", "PART"), ("DROP", "PARTITION")) for pair in itertools.pairwise(words))
    return True


class DiskGuard:
    """Measures the free space of one file system until it is closed.

    Args:
        keep_free_bytes: free space below which no statement may write.
    """

    def __init__(self, path: Path, keep_free_bytes: int, engine: Control) -> None:
        self._path = path
        self._keep_free = keep_free_bytes
        self._engine = engine
        self._lowest_at = -1.0
        self._broken_at = -1.0
        self._merges_stopped_at: float | None = None
        # Broken parts that are still there, as table and part: to drop a part takes some space as well.
        self._undropped: dict[tuple[str, str], None] = {}
        self._tried_at = -1.0
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="disk", daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """A context around a statement that writes; blocks the calling thread.

        Raises:
            ServerError: NOT_ENOUGH_SPACE: the statement was not begun, or some of its rows may be missing.
        """
        since = time.monotonic()
        if self._is_low():
            raise refusal(
                NOT_ENOUGH_SPACE,
                f"Less than {self._keep_free} bytes are free on the disk of the data directory; nothing is written"
                " until there is more space",
            )
        try:
            yield
        finally:
            if self._is_low() or self._lowest_at >= since:
                with self._lock:
                    self._drop_broken_parts(since)
        # A broken part of any statement counts: this check may have found another statement's part.
        if self._broken_at >= since:
            raise refusal(NOT_ENOUGH_SPACE, "The disk became full while the statement was writing; run it again")

    def close(self) -> None:
        """Stop watching the disk, and wait for the thread to end."""
        self._closed.set()
        self._thread.join()

    def _is_low(self) -> bool:
        disk = os.statvfs(self._path)
        is_low = disk.f_bavail * disk.f_frsize < self._keep_free
        if is_low:
            self._lowest_at = time.monotonic()
        return is_low

    def _watch(self) -> None:
        while not self._closed.wait(_LOOK_SECONDS):
            try:
                if self._is_low():
                    self._stop_merges()
                    continue
                if self._undropped and time.monotonic() - self._tried_at >= _DROP_AGAIN_SECONDS:
                    with self._lock:
                        self._drop_undropped()
                if self._merges_stopped_at is not None:
                    self._start_merges()
            except (OSError, ServerError) as error:
                log.warning("cannot look at the disk of %s: %s", self._path, error)

    def _stop_merges(self) -> None:
        if self._merges_stopped_at is None:
            self._merges_stopped_at = time.monotonic()
            self._engine.control("SYSTEM STOP MERGES")

    def _start_merges(self) -> None:
        assert self._merges_stopped_at is not None
        self._engine.control("SYSTEM START MERGES")
        self._merges_stopped_at = None

    def _drop_broken_parts(self, since: float) -> None:
        began_at = time.time() - (time.monotonic() - since) - 1
        for line in self._engine.control(_NEW_PARTS, {"since": str(int(began_at))}).splitlines():
            database, table, part = json.loads(line)
            name = f"{_quoted(database, '`')}.{_quoted(table, '`')}"
            if self._is_whole(name, part):
                continue
            self._broken_at = time.monotonic()
            log.error("part %s of %s was cut by a full disk and is dropped", part, name)
            self._undropped[name, part] = None
        self._drop_undropped()

    def _drop_undropped(self) -> None:
        """Drop broken parts; those that can't be dropped now are tried again once the disk has space."""
        self._tried_at = time.monotonic()
        for name, part in list(self._undropped):
            try:
                self._engine.control(f"ALTER TABLE {name} DROP PART {_quoted(part, chr(39))}")
            except ServerError as error:
                if error.code not in _GONE:
                    continue
            del self._undropped[name, part]

    def _is_whole(self, name: str, part: str) -> bool:
        check = f"CHECK TABLE {name} PART {_quoted(part, chr(39))} SETTINGS check_query_single_value_result = 1"
        try:
            return self._engine.control(check).strip() == "1"
        except ServerError:
            return False


def _quoted(name: str, quote: str) -> str:
    return quote + name.replace("\\", "\\\\").replace(quote, "\\" + quote) + quote
