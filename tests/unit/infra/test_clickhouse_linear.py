"""Readers of what comes from outside take linear time, whatever is never closed; and tokens are what they were."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.embedded.clickhouse import columns, external, forms, inserts, named, statements
from infra.embedded.clickhouse.errors import ServerError, from_engine
from infra.embedded.clickhouse.limits import harmless_setting
from infra.embedded.clickhouse.native_blocks import for_version
from infra.embedded.clickhouse.statements import Statement, tokens
from tests.support.doubling import assert_linear, repeated

# The tokens as one pattern, with which the time was quadratic: the model of what `tokens` returns.
_MODEL = re.compile(
    r"""
    (?P<space>[\s\u00a0\ufeff]+|--[^\n]*|\#[ !][^\n]*)
  | (?P<comment>/\*)
  | (?P<string>'(?:[^'\\]|\\.|'')*')
  | (?P<quoted>`(?:[^`\\]|\\.|``)*`|"(?:[^"\\]|\\.|"")*")
  | (?P<heredoc>(\$\w*\$).*?\6)
  | (?P<word>[A-Za-z_][A-Za-z_0-9]*)
  | (?P<number>\d[\w.]*)
  | (?P<other>.)
    """,
    re.DOTALL | re.VERBOSE,
)


def model(text: str) -> Iterator[tuple[str, str, int, int, int]]:
    depth = position = 0
    while (match := _MODEL.match(text, position)) is not None:
        position = match.end()
        kind = match.lastgroup or "other"
        if kind == "comment":
            nested = 1
            for mark in re.finditer(r"/\*|\*/", text[position:]):
                nested += 1 if mark.group() == "/*" else -1
                if not nested:
                    position += mark.end()
                    break
            if not nested:
                continue
            position = len(text)
        if kind == "space":
            continue
        if kind == "other" and match.group() in ")]}":
            depth = max(0, depth - 1)
        yield kind, match.group(), match.start(), match.end(), depth
        if kind == "other" and match.group() in "([{":
            depth += 1


PIECES = [
    "'", "''", "`", '"', "\\", "$", "$$", "$a$", "$b$", "$a", "$1", "/*", "*/", "--", "\n", "# ", "#!", "a", "b1",
    "1.5", "e\u0301", "\u0662", "\u00b2", " ", "\u00a0", "\ufeff", "(", ")", "[", "]", "{", "}", ";", "0", ".", ",",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)


@settings(max_examples=600, deadline=None)
@given(TEXTS | st.text(alphabet="'`\"\\$a1 \n/*-#", max_size=60))
def test_tokens_are_those_of_the_model(text: str) -> None:
    found = [(token.kind, token.text, token.start, token.end, token.depth) for token in tokens(text)]
    assert found == list(model(text))


def _all_tokens(text: str) -> object:
    return sum(1 for _ in tokens(text))


def _tags(characters: int) -> str:
    return "".join(f"${number}" for number in range(characters // 5))


def _padded_tags(characters: int) -> str:
    half = characters // 2
    return _tags(half) + "x" * half


OPENED = [
    "'", "'a", "'\\", "''\\", "'\\'", "`", "`\\", '"', '"\\', "'\\`\\\"\\", "'\"`", "'''", "$", "$ ", "$a", "$a$", "$$",
    "$$$", "$a$b", "$é", "/*", "/* ", "/**/", "/*/", "*/", "--", "--\n", "# ", "#!\n", "#", "(", "[", "{", ")", "([{",
    "1", "1.", "1a ", "\\", " ", "\u00a0", "\n", "a", "a ", "_", ";", ".", "'\\$a$`\\", "$a'\\",
]  # fmt: skip


@pytest.mark.parametrize("unit", OPENED)
def test_tokens_of_what_is_opened_and_never_closed_take_linear_time(unit: str) -> None:
    assert_linear(_all_tokens, repeated(unit), 6000)
    if unit[0] not in "-#":
        # Closed once, at the end, and the last time before what comes next.
        assert_linear(_all_tokens, lambda characters: repeated(unit)(characters) + f" {unit[0]} $a$ */", 3000)


@pytest.mark.parametrize("make", [_tags, _padded_tags])
def test_tokens_of_many_different_tags_take_linear_time(make: Callable[[int], str]) -> None:
    assert_linear(_all_tokens, make, 16_000)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join))
def test_tokens_of_mixtures_take_linear_time(unit: str) -> None:
    assert_linear(_all_tokens, repeated(unit), 6000)


def _quietly(read: Callable[[str], object]) -> Callable[[str], object]:
    def quiet(text: str) -> None:
        with contextlib.suppress(ServerError):
            read(text)

    return quiet


def _form(text: str) -> object:
    return forms.parse(text, "d", lambda database, table: None, lambda database: None)


def _native_type(text: str) -> object:
    """A block of one column with rows, which has this type."""
    kind = text.encode()
    size = bytes([len(kind) & 127 | 128, len(kind) >> 7 & 127 | 128, len(kind) >> 14])
    return for_version(b"\1\1" + b"\1a" + size + kind + b"\0" * 64, 54460)


def _user(text: str) -> object:
    def check(sql: str) -> None:
        raise ServerError(62, "never made")

    return named.NamedUsers.change(named.NamedUsers.__new__(named.NamedUsers), Statement("GRANT", text), check)


READERS: dict[str, tuple[Callable[[str], object], tuple[str, ...]]] = {
    "parse": (statements.parse, ("SELECT 1;", "SELECT 1 FORMAT ", "INSERT INTO t ", "(", "", "INSERT INTO t SELECT ")),
    "a session": (lambda text: Statement("CREATE", text).changes_session, ("", "CREATE ", "CREATE OR ")),
    "a file": (lambda text: statements.written_to(text, "/p", "CSV"), ("SELECT 1 FORMAT ",)),
    "an insert": (lambda text: inserts.from_file(Statement("INSERT", text), "/p", "CSV"), ("INSERT INTO t ",)),
    "the engine's error": (from_engine, ("Code: 47. DB::Exception: ", "Code: ", "")),
    "a file's error": (inserts.without_file, ("", ": While executing File", ": (in file/uri /dev/fd/")),
    "a form": (_form, ("DESCRIBE (", "SHOW FUNCTIONS LIKE ", "EXISTS a SETTINGS ", "DESCRIBE a FORMAT ")),
    "a structure": (columns.of_structure, ("a ", "a Tuple(", "a Enum8(")),
    "types": (columns.of_types, ("", "Array(")),
    "a guest's setting": (harmless_setting, ("output_format_", "", "http_")),
    "a table's name": (lambda text: external.of_tables({"a": 1}, text), ("",)),
    "a native type": (_native_type, ("Tuple(", "Array(", "Tuple(Enum8('", "Enum8(", "")),
    "a user": (_user, ("GRANT ",)),
}
UNITS = [
    " ", "a", "(", ")", "'", "'\\", "`", ",", "a ", "FORMAT ", "FORMAT", "format a ", "file", "path!", "Code: ",
    "Code:", "(version ", "(version a(b)", "(A)", "(A) ", ".", "\n", "$a", "/*", "Array(", "Tuple(", "a Tuple(",
    "a UInt8,", "a = 1,", "SETTINGS ", "SELECT ", "input", "1", "While executing File", "CREATE ", "OR ", "|", "__",
]  # fmt: skip


@pytest.mark.parametrize("reader", READERS)
def test_readers_take_linear_time(reader: str) -> None:
    read, beginnings = READERS[reader]
    for beginning in beginnings:
        for unit in UNITS:
            for end in ("!", "' = 1))"):
                assert_linear(_quietly(read), repeated(unit, beginning, end), 1500)


def test_types_that_are_long_and_deep_take_linear_time() -> None:
    def deep(characters: int) -> str:
        depth = characters // 14
        return "Array(" * depth + "Tuple(" + "a UInt8, " * (characters // 18) + "Tuple(String))" + ")" * depth

    assert_linear(_native_type, deep, 6000)
