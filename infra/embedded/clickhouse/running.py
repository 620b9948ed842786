"""A running statement whose rows are taken as the engine makes them, by one thread at a time.

In: a statement that writes to a path. Out: bytes in the requested format, or `ServerError`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, wait
from dataclasses import dataclass

from infra.embedded.clickhouse.errors import TOO_MANY_ROWS_OR_BYTES, refusal

_BLOCK_BYTES = 256 * 1024
# A statement is asked to stop again and again, ever more rarely: asking costs the engine a statement of its own, and a
# function over one large value may take minutes to come to its end.
CANCEL_AFTER_SECONDS = 0.05
MOST_CANCEL_AFTER_SECONDS = 5.0


@dataclass(slots=True)
class Totals:
    """Counts of a finished statement: rows and bytes read and written, and the time that it took."""

    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    result_rows: int = 0
    result_bytes: int = 0
    elapsed_seconds: float = 0.0


class PipedStatement:
    """A statement whose rows the engine writes into a pipe, as one document.

    chDB's own streaming would end a document, such as a Parquet file, with every block, and leaves totals out. It also
    makes the text of each block in memory that no limit of a statement counts, and text may be many times larger than
    its rows. A statement that writes to a file makes one document, a buffer of a megabyte at a time. Here the file is
    a pipe, so the statement pauses while nobody reads.

    Args:
        thread: the thread that calls the engine.
        write: runs the statement to its end and writes its rows to the given path.
        cancel: asks the engine to stop the statement.
        most_bytes: how long the text of all rows may be; 0 for any length.
    """

    def __init__(
        self, thread: Executor, write: Callable[[str], Totals], cancel: Callable[[], None], most_bytes: int = 0
    ) -> None:
        self._write = write
        self._cancel = cancel
        self._most_bytes = most_bytes
        self.ended = False
        self.totals = Totals()
        self._reading, self._writing = os.pipe()
        self._running = thread.submit(self._run)

    def _run(self) -> Totals:
        try:
            return self._write(f"/dev/fd/{self._writing}")
        finally:
            # Held open until here, so that the reader sees the pipe's end only at the statement's end.
            os.close(self._writing)

    def blocks(self) -> Iterator[bytes]:
        """The remaining bytes in order.

        Raises:
            ServerError: the statement failed or was cancelled, or its text is too long; the bytes so far are no whole
                document.
        """
        size = 0
        while content := os.read(self._reading, _BLOCK_BYTES):
            size += len(content)
            if 0 < self._most_bytes < size:
                raise refusal(
                    TOO_MANY_ROWS_OR_BYTES,
                    f"Limit for result exceeded, max bytes: {self._most_bytes}, counted as they are sent",
                )
            yield content
        self._end()
        self.totals = self._running.result()
        self.totals.result_bytes = size

    def close(self) -> None:
        """Cancel the statement if it still runs, and wait for its end; does nothing after the last block."""
        if self.ended:
            return
        self._end()
        # Repeated until the statement ends: the engine does not know a statement yet that has just begun.
        pause = CANCEL_AFTER_SECONDS
        while not self._running.done():
            self._cancel()
            wait((self._running,), pause)
            pause = min(2 * pause, MOST_CANCEL_AFTER_SECONDS)

    def _end(self) -> None:
        self.ended = True
        os.close(self._reading)
