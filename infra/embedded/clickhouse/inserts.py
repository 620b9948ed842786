"""INSERTs whose rows come with the request, in the form in which the engine confirms them.

In: an INSERT's head and the path of a file with its data. Out: one plain statement. Pure.

chDB's own insert handle counts rows as written even where their part was not written (a violated constraint, a full
disk), and chDB drops data after FORMAT in a statement's text without an error. Only a plain statement that reads the
data from a file ends in the engine's own confirmation or error, whatever the format.
"""

from __future__ import annotations

import re

from infra.embedded.clickhouse.statements import Statement, Token, tokens

# The engine's words about the file, of which the client knows nothing.
_FILE_WORDS = re.compile(
    r": \(in file/uri /dev/fd/\d+\)|: While executing File: data for INSERT was parsed from file"
    r"|: While executing File(?=[.: ]|$)|: data for INSERT was parsed from file"
)


def is_insert(text: str) -> bool:
    """Whether a text, or the beginning of one, is an INSERT."""
    first = next(tokens(text), None)
    return first is not None and first.upper == "INSERT"


def from_file(statement: Statement, path: str, fmt: str) -> str:
    """The INSERT that reads its rows from a file.

    Args:
        path: the file's path; must hold no quotes and backslashes.
        fmt: the format of the rows.
    """
    sql = statement.sql
    if statement.input_at is not None:
        start, end = statement.input_at
        return f"{sql[:start]}file('{path}', {_quoted(fmt)}, {sql[end:]}"
    settings = _settings_clause(sql)
    head, clause = (sql, "") if settings is None else (sql[: settings.start], sql[settings.start :])
    # On separate lines, since each part may end in a comment.
    return f"{head}\nFROM INFILE '{path}' COMPRESSION 'none'\n{clause}\nFORMAT {_quoted(fmt, '`')}"


def without_file(message: str) -> str:
    """An error's message without the words about this process's own file."""
    return _FILE_WORDS.sub("", message)


def _quoted(name: str, quote: str = "'") -> str:
    return quote + name.replace("\\", "\\\\").replace(quote, "\\" + quote) + quote


def _settings_clause(sql: str) -> Token | None:
    previous = ""
    for token in tokens(sql):
        if token.depth == 0 and token.upper == "SETTINGS" and previous not in ("INTO", "TABLE", "."):
            return token
        previous = token.upper or token.text
    return None
