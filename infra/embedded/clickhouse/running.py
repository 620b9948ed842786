"""Running SELECTs, whose rows are fetched block by block, by one thread at a time.

In: the engine's stream of a started statement. Out: bytes in the requested format, or `ServerError`.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from infra.embedded.clickhouse.errors import engine_errors

_BLOCK_BYTES = 256 * 1024
_CANCEL_EVERY_SECONDS = 0.05


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


class RunningSelect:
    """A SELECT whose blocks are fetched one at a time; used by one thread at a time."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.ended = False
        self.totals = Totals()

    def blocks(self) -> Iterator[bytes]:
        """The remaining blocks in order.

        Raises:
            ServerError: the statement failed or was cancelled.
        """
        while True:
            with engine_errors():
                block = self._stream.fetch()
            if block is None:
                self.ended = True
                return
            content: bytes = block.bytes()
            self.totals.result_rows += block.rows_read()
            self.totals.result_bytes += len(content)
            self.totals.read_rows = block.storage_rows_read()
            self.totals.read_bytes = block.storage_bytes_read()
            self.totals.elapsed_seconds = block.elapsed()
            yield content

    def close(self) -> None:
        """Cancel the statement if it still runs; does nothing after the last block."""
        self.ended = True
        with contextlib.suppress(Exception):
            self._stream.close()


class RunningDocument:
    """A SELECT whose rows make one document, such as a Parquet file; used like `RunningSelect`.

    The engine's own streaming would end a document with every block. A statement that writes to a file makes one
    document, row group by row group. Here the file is a pipe, so the statement pauses while nobody reads.

    Args:
        write: runs the statement to its end and writes its rows to the given path.
        cancel: asks the engine to stop the statement.
    """

    def __init__(self, write: Callable[[str], Totals], cancel: Callable[[], None]) -> None:
        self._write = write
        self._cancel = cancel
        self.ended = False
        self.totals = Totals()
        self._error: BaseException | None = None
        self._reading, self._writing = os.pipe()
        self._thread = threading.Thread(target=self._run, name="document", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.totals = self._write(f"/dev/fd/{self._writing}")
        except BaseException as error:
            self._error = error
        finally:
            # Held open until here, so that the reader sees the pipe's end only at the statement's end.
            os.close(self._writing)

    def blocks(self) -> Iterator[bytes]:
        """The remaining bytes in order.

        Raises:
            ServerError: the statement failed or was cancelled; the bytes so far are no whole document.
        """
        size = 0
        while content := os.read(self._reading, _BLOCK_BYTES):
            size += len(content)
            yield content
        self._thread.join()
        self._end()
        self.totals.result_bytes = size
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Cancel the statement if it still runs, and wait for its end; does nothing after the last block."""
        if self.ended:
            return
        self._end()
        # Repeated until the statement ends: the engine does not know a statement yet that has just begun.
        while self._thread.is_alive():
            self._cancel()
            self._thread.join(_CANCEL_EVERY_SECONDS)

    def _end(self) -> None:
        self.ended = True
        os.close(self._reading)
