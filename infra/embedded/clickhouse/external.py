"""External tables: tables that a request brings along for its own statement.

In: the files of a form, and the request's parameters with their columns and formats. Out: `ExternalTable`s and the
statements that make and fill these tables. The statements hold quoted names, known types and the name of a format, and
no other text of the request (see `columns`).
Source: ClickHouse, "External data for query processing"; `src/Core/ExternalTable.cpp`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO

from infra.embedded.clickhouse import columns
from infra.embedded.clickhouse.engine import quoted_identifier
from infra.embedded.clickhouse.errors import BAD_ARGUMENTS, UNKNOWN_FORMAT, ServerError, refusal
from infra.embedded.clickhouse.inserts import without_file

_DEFAULT_FORMAT = "TabSeparated"
_FORMAT = re.compile(r"[A-Za-z]\w{0,63}", re.ASCII)
_NAME_CHARACTERS = 128
# Endings of parameters that describe a table: the table's name comes before the ending.
_SUFFIXES = ("_format", "_structure", "_types")


@dataclass(frozen=True, slots=True)
class ExternalTable:
    """One external table.

    Attributes:
        columns: the columns as SQL, made by `columns`.
        file: the encoded rows; the file's position is at their beginning.
    """

    name: str
    columns: str
    format: str
    file: IO[bytes]

    @property
    def making(self) -> str:
        """The statement that makes the table."""
        return f"CREATE TEMPORARY TABLE {quoted_identifier(self.name)} ({self.columns}) ENGINE = Memory"

    @property
    def dropping(self) -> str:
        """The statement that drops the table, if the table exists."""
        return f"DROP TEMPORARY TABLE IF EXISTS {quoted_identifier(self.name)}"

    @property
    def filling(self) -> str:
        """The statement that inserts the table's rows from its file."""
        head = f"INSERT INTO {quoted_identifier(self.name)}"
        return f"{head}\nFROM INFILE '/dev/fd/{self.file.fileno()}' COMPRESSION 'none'\nFORMAT {self.format}"


def external_tables(files: Mapping[str, IO[bytes]], said: Mapping[str, str]) -> tuple[ExternalTable, ...]:
    """The tables of a request.

    Args:
        files: the tables' rows by the tables' names.
        said: the request's parameters.

    Raises:
        ServerError: BAD_ARGUMENTS for a table without columns or with a strange name; UNKNOWN_FORMAT.
    """
    return tuple(_table(name, file, said) for name, file in files.items())


def made(tables: Iterable[ExternalTable], run: Callable[[str], object]) -> Iterator[ExternalTable]:
    """Make and fill tables, one after the other; each table is yielded once it exists, before it is filled.

    Args:
        run: runs one statement.

    Raises:
        ServerError: the engine refuses the table or its rows, as wrong or too large.
    """
    for table in tables:
        run(table.making)
        yield table
        try:
            run(table.filling)
        except ServerError as error:
            raise ServerError(
                error.code, f"{without_file(error.message)}: of the external table {table.name}"
            ) from error


def of_tables(names: Mapping[str, object], parameter: str) -> bool:
    """Whether a parameter describes one of the external tables, and therefore is no setting."""
    return any(parameter == f"{name}{suffix}" for name in names for suffix in _SUFFIXES)


def _table(name: str, file: IO[bytes], said: Mapping[str, str]) -> ExternalTable:
    if not name or not name.isprintable() or len(name) > _NAME_CHARACTERS:
        raise refusal(BAD_ARGUMENTS, f"The name of an external table is {name[:_NAME_CHARACTERS]!r}; give a plain one")
    structure, types = said.get(f"{name}_structure"), said.get(f"{name}_types")
    if structure:
        made = columns.of_structure(structure)
    elif types:
        made = columns.of_types(types)
    else:
        raise refusal(
            BAD_ARGUMENTS, f"Neither {name}_structure nor {name}_types is given for the external table {name}"
        )
    fmt = said.get(f"{name}_format") or _DEFAULT_FORMAT
    if not _FORMAT.fullmatch(fmt):
        raise refusal(UNKNOWN_FORMAT, f"Unknown format {fmt[:40]!r} of the external table {name}")
    return ExternalTable(name, made, fmt, file)
