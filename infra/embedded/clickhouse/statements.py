"""Reads a statement's tokens: its verb, its FORMAT clause, and where an INSERT's data begins.

In: SQL text. Out: `Statement`. Pure: never talks to the engine and decides no rights; `access` judges guests'
statements by the engine's own parser.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from infra.embedded.clickhouse.errors import SYNTAX_ERROR, refusal

# Formats in which blocks written one after the other give the same bytes as one block. chDB streams any other format as
# a series of complete documents, so such replies are written to a file, or sent in one piece when short.
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
"""Formats with a beginning or an end of their own in which clients ask for long results."""

# Longer statements are not read on the event loop, where everybody's requests wait. This length takes milliseconds.
SHORT_BYTES = 4096

_READING = frozenset({"SELECT", "WITH", "FROM"})
_SHOWING = frozenset({"SHOW", "DESCRIBE", "DESC", "EXPLAIN", "EXISTS", "CHECK", "KILL"})
# Statements that change a handle's state. Without a session the handle is thrown away, since each request stands alone.
_SESSION = frozenset({"SET", "USE"})

# The kinds of tokens in the order in which they are tried, each in at most one step a character: a quantifier with a
# second `+` never gives back what it has taken. Of a heredoc the pattern finds only the tag that opens it.
_KINDS = {
    "space": r"[\s\u00a0\ufeff]++|--[^\n]*+|\#[ !][^\n]*+",
    "comment": r"/\*",
    "string": r"'[^'\\]*+(?:(?:\\.|'')[^'\\]*+)*'",
    "quoted": r"`[^`\\]*+(?:(?:\\.|``)[^`\\]*+)*`",
    "double_quoted": r'"[^"\\]*+(?:(?:\\.|"")[^"\\]*+)*"',
    "heredoc": r"\$\w*+\$",
    "word": r"[A-Za-z_][A-Za-z_0-9]*+",
    "number": r"\d[\w.]*+",
    "other": r".",
}
_QUOTES = {"'": "string", "`": "quoted", '"': "double_quoted"}
# Tags overlap: of `$a$b$`, `$a$` and `$b$` are tags.
_TAG = re.compile(r"(\$\w*+)(?=\$)")

_COMMENT_MARK = re.compile(r"/\*|\*/")
_APPENDED_FORMAT = re.compile(r"\bFORMAT\s+([A-Za-z]\w*)\s*\Z", re.IGNORECASE)
_PLAIN_VERB = re.compile(r"[A-Za-z_]+\b")
_MAY_COMMENT = re.compile(r"--|/\*|#")


class Token(NamedTuple):
    """One token, with the depth of the brackets around it; spaces and comments are no tokens."""

    kind: str
    text: str
    start: int
    end: int
    depth: int

    @property
    def upper(self) -> str:
        """The word in capitals, to compare with keywords; empty for a token that is no bare word."""
        return self.text.upper() if self.kind == "word" else ""


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a request.

    Attributes:
        verb: the first keyword after opening brackets, in capitals; empty where there is none.
        sql: the statement; for an INSERT that carries data, only the part before FORMAT or VALUES.
        format: the name in the FORMAT clause; for an INSERT with data the format of the data.
        data_start: where an INSERT's data begins in the parsed text; None for any other statement.
        input_at: where `input(` stands in `sql`, in an INSERT that selects from its own data.
        piped: whether the rows go through a pipe whatever the statement's kind and format; see `Engine.start`.
    """

    verb: str
    sql: str
    format: str | None = None
    data_start: int | None = None
    input_at: tuple[int, int] | None = None
    piped: bool = False

    @property
    def reads(self) -> bool:
        """Whether the statement is a SELECT, the only kind that can be streamed block by block."""
        return self.verb in _READING

    @property
    def has_result(self) -> bool:
        """Whether the statement's reply holds rows, so that the reply has a format."""
        return self.reads or self.verb in _SHOWING

    @property
    def changes_session(self) -> bool:
        """Whether the statement would leave the handle in another state for the next statement."""
        return self.verb in _SESSION or (
            self.verb == "CREATE" and re.match(r"\W*CREATE\s+(OR\s+REPLACE\s+)?TEMPORARY\b", self.sql, re.I) is not None
        )


def tokens(text: str) -> Iterator[Token]:
    """The statement's tokens in order, without spaces and comments.

    The time is linear in the text's length, whatever is opened in the text and never closed. On a busy machine a token
    took 1 to 2 us: 9 s for 4 MiB in which each character is a token.
    """
    depth = 0
    for kind, lexeme, start, end in _lexemes(text):
        if kind != "other":
            yield Token(kind, lexeme, start, end, depth)
            continue
        if lexeme in ")]}":
            depth = max(0, depth - 1)
        yield Token(kind, lexeme, start, end, depth)
        if lexeme in "([{":
            depth += 1


@functools.cache
def _pattern(unclosed: frozenset[str]) -> re.Pattern[str]:
    """The tokens of a text in which the quotes of some kinds open nothing any more."""
    kinds = [f"(?P<{kind}>{pattern})" for kind, pattern in _KINDS.items() if kind not in unclosed]
    return re.compile("|".join(kinds), re.DOTALL)


def _lexemes(text: str) -> Iterator[tuple[str, str, int, int]]:
    """The kind, text, start and end of each token. A comment that never closes is one token of two characters."""
    position = 0
    unclosed: frozenset[str] = frozenset()
    last_tags: Mapping[str, int] | None = None
    while position < len(text):
        # Read on until something has to be closed by more than a pattern, or was not closed.
        for match in _pattern(unclosed).finditer(text, position):
            kind = match.lastgroup
            if kind == "space":
                continue
            if kind == "comment":
                position = _comment_end(text, match.end())
                if position < 0:
                    yield "comment", match.group(), match.start(), match.end()
                    return
                break
            lexeme = match.group()
            if kind == "other" and lexeme in _QUOTES:
                # What would close this quote is escaped, all of it; so are the later quotes of its kind in the text,
                # which are read with the same escapes, and close nothing either.
                yield "other", lexeme, match.start(), match.end()
                unclosed |= {_QUOTES[lexeme]}
                position = match.end()
                break
            if kind == "heredoc":
                last_tags = _last_tags(text) if last_tags is None else last_tags
                start, position = match.span()
                if last_tags.get(lexeme, -1) >= position:
                    position = text.find(lexeme, position) + len(lexeme)
                    yield "heredoc", text[start:position], start, position
                else:
                    position = start + 1
                    yield "other", "$", start, position
                break
            yield "quoted" if kind == "double_quoted" else kind or "other", lexeme, match.start(), match.end()
        else:
            return


def _last_tags(text: str) -> Mapping[str, int]:
    """Where each tag of a heredoc stands for the last time."""
    return {f"{match[1]}$": match.start() for match in _TAG.finditer(text)}


def _comment_end(text: str, position: int) -> int:
    """The end of the comment that begins before `position`, -1 for none; comments nest, as in the engine."""
    depth = 1
    for mark in _COMMENT_MARK.finditer(text, position):
        depth += 1 if mark.group() == "/*" else -1
        if not depth:
            return mark.end()
    return -1


def parse(text: str) -> Statement:
    """The one statement in a text.

    Args:
        text: the request's SQL; an INSERT may be followed by its data, or the beginning of its data.

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
    """Check that no statement follows in a text, such as the rows after VALUES.

    Raises:
        ServerError: SYNTAX_ERROR where another statement follows.
    """
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
    """The name in the statement's own FORMAT clause; only a SETTINGS clause may follow that clause."""
    if "format" not in sql.lower():
        return None
    # The form in which clients append the clause. In a text without comments such an end can be nothing else.
    appended = _APPENDED_FORMAT.search(sql)
    if appended is not None and not _MAY_COMMENT.search(sql):
        return appended.group(1)
    clause = _format_clause(sql)
    return None if clause is None else _unquoted(clause[1])


def _format_clause(sql: str) -> tuple[Token, Token] | None:
    """The tokens of the statement's own FORMAT clause: the word FORMAT and the name."""
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
    """Whether a SELECT itself writes its rows to a file, instead of returning them to its caller."""
    return any(token.depth == 0 and token.upper == "OUTFILE" for token in tokens(sql))


def written_to(sql: str, path: str, fmt: str) -> str:
    """A statement that writes its rows to an existing file instead of returning them to its caller.

    Args:
        path: the file's path; must hold no quotes and backslashes.
        fmt: the format where the statement names none.
    """
    clause = _format_clause(sql)
    target = f"INTO OUTFILE '{path}' TRUNCATE "
    if clause is None:
        # On a line of its own, since the statement may end in a comment.
        return f"{sql}\n{target}FORMAT {fmt}"
    start = clause[0].start
    return f"{sql[:start]}{target}{sql[start:]}"


def _unquoted(token: Token) -> str:
    return token.text if token.kind == "word" else token.text[1:-1]


def _parse_insert(text: str) -> Statement | None:
    """The head of an INSERT, and where its data begins; None where its rows come from a SELECT or a file.

    Raises:
        ServerError: SYNTAX_ERROR for a SELECT from `input` without a FORMAT: the engine would drop its data.
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
        # Directly after an opening bracket, SELECT may also be the name of a column.
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
    """Where data begins after the format's name: past spaces and at most one line end, like ClickHouse itself."""
    end = len(text)
    while position < end and text[position] in " \t\f":
        position += 1
    if position < end and text[position] == "\r":
        position += 1
    if position < end and text[position] == "\n":
        position += 1
    return position
