"""One connection to the engine, for one statement at a time.

In: statements. Out: chDB's results, or `ServerError`.

chDB writes a result into memory of the connection. When the statement fails half-way, the rows so far stay there: the
next result on the connection would begin with them, whoever asked for it, and failed statements in a row would take
ever more memory. So a failed statement's rows are thrown away before anything else runs on its connection.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import chdb

from infra.embedded.clickhouse.errors import ServerError, engine_errors


class Connection:
    """A chDB connection to a data directory.

    Args:
        address: the directory and the configuration, in chDB's form.

    Attributes:
        is_soiled: whether rows of a failed statement could not be thrown away yet.

    Raises:
        ServerError: chDB cannot open the directory.
    """

    def __init__(self, address: str) -> None:
        self.is_soiled = False
        connect: Callable[[str], Any] = chdb.connect
        with engine_errors():
            self._connection = connect(address)

    def query(self, sql: str, fmt: str = "TabSeparated", params: Mapping[str, str] | None = None) -> Any:
        """Run a statement to its end and return chDB's result.

        Raises:
            ServerError: the statement failed, and none of its rows is left.
        """
        if self.is_soiled:
            self._clean()
        try:
            with engine_errors():
                return self._connection.query(sql, fmt, params=dict(params or {}))
        except ServerError:
            self.is_soiled = True
            # Without memory for this statement either, the next statement tries again.
            with contextlib.suppress(ServerError):
                self._clean()
            raise

    def _clean(self) -> None:
        """Take the rows away together with the result of a statement that has none."""
        with engine_errors():
            self._connection.query("SELECT 1", "Null")
        self.is_soiled = False

    def close(self) -> None:
        """Close the connection, and drop its temporary tables."""
        with contextlib.suppress(Exception):
            self._connection.close()
