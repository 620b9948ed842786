"""Mirrors a workspace into an SQLite file: posts, channels and accounts as the API says them, without a Kafka client.

    TIDEMARK_API_KEY=... python examples/mirror_sqlite.py http://127.0.0.1:8080 mirror.sqlite

Each page of changes is applied in one transaction with the cursor behind it. So the file is right whenever the program
ends, and the next run goes on from there. With `--once` it ends when it has read everything. An empty page brings a
newer cursor, which is kept as well: a cursor is good for 90 days.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta

from tidemark_client import Tidemark, TidemarkError
from tidemark_client.models import ChangesPage

TABLES = """
CREATE TABLE IF NOT EXISTS things (type TEXT, id TEXT, captured_at TEXT, data TEXT, PRIMARY KEY (type, id));
CREATE TABLE IF NOT EXISTS place (only INTEGER PRIMARY KEY CHECK (only = 1), cursor TEXT);
"""


ACCOUNT_EVENT_KEPT = timedelta(days=30)
"""For how long the API shows what happened to an account; no change tells that the time is over."""


def apply(database: sqlite3.Connection, page: ChangesPage, now: datetime) -> None:
    """Apply a page and keep its cursor, both or neither."""
    with database:
        for change in page.changes:
            if change.data is None:
                database.execute("DELETE FROM things WHERE type = ? AND id = ?", (change.type, change.id))
            else:
                captured_at = None if change.captured_at is None else change.captured_at.isoformat()
                database.execute(
                    "INSERT OR REPLACE INTO things VALUES (?, ?, ?, ?)",
                    (change.type, change.id, captured_at, json.dumps(change.data)),
                )
        oldest = (now - ACCOUNT_EVENT_KEPT).astimezone(UTC).isoformat(timespec="seconds")
        database.execute("DELETE FROM things WHERE type = 'account' AND captured_at < ?", (oldest,))
        database.execute("INSERT OR REPLACE INTO place VALUES (1, ?)", (page.next_cursor,))


def place(database: sqlite3.Connection) -> str | None:
    """The cursor to go on from; None for the beginning."""
    found = database.execute("SELECT cursor FROM place").fetchone()
    return found[0] if found else None


def begin_again(database: sqlite3.Connection) -> None:
    """Forget everything: the cursor is older than deletions are remembered."""
    with database:
        database.execute("DELETE FROM things")
        database.execute("DELETE FROM place")


def _now() -> datetime:
    return datetime.now(UTC)


def mirror(
    tidemark: Tidemark, database: sqlite3.Connection, *, follows: bool, clock: Callable[[], datetime] = _now
) -> None:
    """Bring a database up to date; for ever where it follows.

    Args:
        clock: replaces the time in tests.

    Raises:
        TidemarkError: the server refuses the key, or stays away though nobody follows.
    """
    database.executescript(TABLES)
    while True:
        try:
            for page in tidemark.changes(place(database), page_size=500, follows=follows):
                apply(database, page, clock())
        except TidemarkError as error:
            if error.code != "cursor_expired":
                raise
            begin_again(database)
        else:
            return


def main(arguments: Sequence[str]) -> int:
    """Mirror until it is ended; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="origin of the query API")
    parser.add_argument("file", help="the SQLite file")
    parser.add_argument("--once", action="store_true", help="end when everything is read")
    asked = parser.parse_args(arguments)
    key = os.environ.get("TIDEMARK_API_KEY")
    if not key:
        parser.error("TIDEMARK_API_KEY is not set; it is a key with the scope analytics:read")
    with Tidemark(asked.url, key) as tidemark, closing(sqlite3.connect(asked.file)) as database:
        try:
            mirror(tidemark, database, follows=not asked.once)
        except TidemarkError as error:
            sys.stderr.write(f"{error}\n")
            return 1
        except KeyboardInterrupt:
            pass
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
