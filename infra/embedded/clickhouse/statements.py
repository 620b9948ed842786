"""What a statement is, read from its tokens: its verb, its FORMAT clause, where an INSERT's data begins.

In: SQL text. Out: `Statement`. Pure: it never talks to the engine and decides nothing about rights; `access`
judges analysts' statements by the engine's own parser.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from infra.embedded.clickhouse.errors import SYNTAX_ERROR, refusal

# Formats whose blocks, written one after another, are the same bytes as one written whole. chDB streams any other
# format as a series of complete documents, so those are written to a file, or where they are short in one piece.
STREAMED_FORMATS = frozenset(
    {
        "Native",
        "TabSeparated",
        "TSV",
        "TabSeparatedRaw",
        "TSVRaw",
        "CSV",
        "RowBinary",
        "JSONEachRow",
        "JSONCompactEachRow",
    }
)
DOCUMENT_FORMATS = frozenset(
    {
        "CSVWithNames",
        "CSVWithNamesAndTypes",
        "TabSeparatedWithNames",
        "TSVWithNames",
        "TabSeparatedWithNamesAndTypes",
        "TSVWithNamesAndTypes",
        "Arrow",
        "ArrowStream",
        "Parquet",
        "ORC",
    }
)
"""Formats with a beginning or an end, asked for long results."""

_READING = frozenset({"SELECT", "WITH", "FROM"})
_SHOWING = frozenset({"SHOW", "DESCRIBE", "DESC", "EXPLAIN", "EXISTS", "CHECK", "KILL"})
# What changes a handle's state: the handle is thrown away afterwards, since each HTTP request stands alone.
_SESSION = frozenset({"SET", "USE"})

_TOKEN = re.compile(
    r"""
    (?P<space>[\s\u00a0\ufeff]+|--[^\n]*|\#[ !][^\n]*|/\*.*?(?:\*/|\Z))
  | (?P<string>'(?:[^'\\]|\\.|'')*')
  | (?P<quoted>`(?:[^`\\]|\\.|``)*`|"(?:[^"\\]|\\.|"")*")
  | (?P<heredoc>(\$\w*\$).*?\5)
  | (?P<word>[A-Za-z_][A-Za-z_0-9]*)
  | (?P<number>\d[\w.]*)
  | (?P<other>.)
    """,
    re.DOTALL | re.VERBOSE,
)

_APPENDED_FORMAT = re.compile(r"\bFORMAT\s+([A-Za-z]\w*)\s*\Z", re.IGNORECASE)
_PLAIN_VERB = re.compile(r"[A-Za-z_]+\b")
_MAY_COMMENT = re.compile(r"--|/\*|#")


@dataclass(frozen=True, slots=True)
class Token:
    """One token that is no space and no comment, with the depth of the brackets around it."""

    kind: str
    text: str
    start: int
    end: int
    depth: int

    @property
    def upper(self) -> str:
        """The word as a keyword; the empty string for what is no bare word."""
        return self.text.upper() if self.kind == "word" else ""


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a request.

    Attributes:
        verb: its first keyword in capitals, past opening brackets; empty where there is none.
        sql: the statement; for an INSERT that carries data, only the part before its FORMAT or VALUES.
        format: the FORMAT clause's name; for an INSERT with data the format of the data.
        data_start: where an INSERT's data begins in the text it was read from; None for any other statement.
        input_at: in an INSERT that selects from its own data, `input(` in `sql`; what follows are the arguments.
    """

    verb: str
    sql: str
    format: str | None = None
    data_start: int | None = None
    input_at: tuple[int, int] | None = None

    @property
    def reads(self) -> bool:
        """Whether it is a SELECT, which alone can be streamed block by block."""
        return self.verb in _READING

    @property
    def has_result(self) -> bool:
        """Whether it answers with rows, so that a format belongs to its reply."""
        return self.reads or self.verb in _SHOWING

    @property
    def changes_session(self) -> bool:
        """Whether it would leave the handle in another state for whoever comes next."""
        return self.verb in _SESSION or (
            self.verb == "CREATE" and re.match(r"\W*CREATE\s+(OR\s+REPLACE\s+)?TEMPORARY\b", self.sql, re.I) is not None
        )


def tokens(text: str) -> Iterator[Token]:
    """The statement's tokens in order, without spaces and comments."""
    depth = 0
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or "other"
        if kind == "space":
            continue
        lexeme = match.group()
        if lexeme in ")]}" and kind == "other":
            depth = max(0, depth - 1)
        yield Token(kind, lexeme, match.start(), match.end(), depth)
        if lexeme in "([{" and kind == "other":
            depth += 1


def parse(text: str) -> Statement:
    """The one statement in a text.

    Args:
        text: the request's SQL; for an INSERT it may go on with (the beginning of) its data.

    Raises:
        ServerError: SYNTAX_ERROR for an empty text or more than one statement.
    """
    verb = _verb(text)
    if verb == "INSERT":
        insert = _parse_insert(text)
        if insert is not None:
            return insert
    if not verb and next(tokens(text), None) is None:
        raise refusal(SYNTAX_ERROR, "Empty query")
    end = len(text)
    if ";" in text:
        end = _single_statement_end(text)
    sql = text[:end]
    return Statement(verb, sql, _trailing_format(sql))


def _verb(text: str) -> str:
    plain = _PLAIN_VERB.match(text)
    if plain is not None:
        return plain.group().upper()
    for token in tokens(text):
        if token.kind == "word":
            return token.upper
        if token.text != "(":
            break
    return ""


def check_single(text: str) -> None:
    """Raises: ServerError: SYNTAX_ERROR where another statement follows in a text, such as the rows after VALUES."""
    if ";" in text:
        _single_statement_end(text)


def _single_statement_end(text: str) -> int:
    end: int | None = None
    for token in tokens(text):
        if token.text == ";" and token.kind == "other":
            end = token.start if end is None else end
        elif end is not None:
            raise refusal(
                SYNTAX_ERROR,
                f"Syntax error (Multi-statements are not allowed): failed at position {end + 1} (end of query)",
            )
    return len(text) if end is None else end


def _trailing_format(sql: str) -> str | None:
    """The name in the statement's own FORMAT clause, which only a SETTINGS clause may follow."""
    if "format" not in sql.lower():
        return None
    # What clients append; without a comment anywhere, nothing that ends so can end otherwise.
    appended = _APPENDED_FORMAT.search(sql)
    if appended is not None and not _MAY_COMMENT.search(sql):
        return appended.group(1)
    clause = _format_clause(sql)
    return None if clause is None else _unquoted(clause[1])


def _format_clause(sql: str) -> tuple[Token, Token] | None:
    """The word FORMAT and the name of the statement's own FORMAT clause."""
    found: tuple[Token, Token] | None = None
    word: Token | None = None
    for token in tokens(sql):
        if word is not None:
            found = (word, token) if token.kind in ("word", "quoted") else None
            word = None
        elif token.depth == 0 and token.upper == "FORMAT":
            word = token
        elif found is not None and (token.text == "(" or token.upper in ("FROM", "WHERE", "AS", "LIMIT", "UNION")):
            found = None
    return found


def writes_a_file(sql: str) -> bool:
    """Whether a SELECT says itself where its rows go, so that they are not for its caller."""
    return any(token.depth == 0 and token.upper == "OUTFILE" for token in tokens(sql))


def written_to(sql: str, path: str, fmt: str) -> str:
    """A SELECT that writes its rows to a file that is there already, in place of giving them to its caller.

    Args:
        path: of the file; without quotes and backslashes.
        fmt: the format where the statement names none.
    """
    clause = _format_clause(sql)
    target = f"INTO OUTFILE '{path}' TRUNCATE "
    if clause is None:
        # On a line of its own: the statement may end in a comment.
        return f"{sql}\n{target}FORMAT {fmt}"
    start = clause[0].start
    return f"{sql[:start]}{target}{sql[start:]}"


def _unquoted(token: Token) -> str:
    return token.text if token.kind == "word" else token.text[1:-1]


def _parse_insert(text: str) -> Statement | None:
    """The INSERT's head, and where its data begins; None where its rows come from a SELECT or a file.

    Raises:
        ServerError: SYNTAX_ERROR for a SELECT from `input` without a FORMAT, whose data the engine would drop.
    """
    previous = ""
    format_at: Token | None = None
    bracketed: Token | None = None
    selects = False
    has_input = False
    input_at: tuple[int, int] | None = None
    word_input: Token | None = None
    for token in tokens(text):
        if format_at is not None:
            if token.kind not in ("word", "quoted"):
                return None
            sql, data_start = text[: format_at.start], _data_start(text, token.end)
            return Statement("INSERT", sql, _unquoted(token), data_start, input_at)
        # After an opening bracket, SELECT may also be the name of a column.
        selects = selects or (bracketed is not None and token.text not in (",", ")"))
        bracketed = token if token.upper in ("SELECT", "WITH") and previous == "(" else None
        if token.depth == 0 and previous != ".":
            if token.upper == "FORMAT" and (input_at or not selects):
                format_at = token
                continue
            if not selects:
                if token.upper == "VALUES" and previous not in ("INTO", "TABLE"):
                    return Statement("INSERT", text[: token.start], "Values", token.end)
                if token.upper in ("INFILE", "WATCH", "EXPLAIN"):
                    return None
                selects = token.upper in ("SELECT", "WITH")
        if selects and word_input is not None and token.text == "(":
            input_at = (word_input.start, token.end)
        word_input = token if token.upper == "INPUT" and previous != "." else None
        if selects and not has_input:
            has_input = "input" in text.lower()
            if not has_input:
                return None
        previous = token.upper or token.text
    if input_at is not None:
        raise refusal(
            SYNTAX_ERROR, "Syntax error: an INSERT that selects from input() needs a FORMAT and data after it"
        )
    return None if selects else Statement("INSERT", text, None, len(text))


def _data_start(text: str, position: int) -> int:
    """Past the spaces and at most one line end after the format's name, as ClickHouse finds its data."""
    end = len(text)
    while position < end and text[position] in " \t\f":
        position += 1
    if position < end and text[position] == "\r":
        position += 1
    if position < end and text[position] == "\n":
        position += 1
    return position
