"""The statements without a syntax tree that the analyst may run: DESCRIBE, EXISTS, SHOW CREATE and the like.

In: the text of a statement. Out: a `Form`: a statement built anew from the names in the text. Pure. The text itself is
never run. Should the engine read a text differently from this module, the names come out wrong, and the statement that
runs still does no more than its form.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from infra.embedded.clickhouse.statements import Token, tokens

CheckTable = Callable[[str, str], None]
CheckDatabase = Callable[[str], None]

_ENGINE_LISTS = {"FUNCTIONS": "SHOW FUNCTIONS", "ENGINES": "SHOW ENGINES"}
_LIKES = frozenset({"LIKE", "ILIKE"})
_OBJECTS = frozenset({"TABLE", "VIEW", "DATABASE"})
_SETTING_VALUE = re.compile(r"[A-Za-z0-9_.+-]+")
_NAME = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Form:
    """A statement without a syntax tree, in the form in which it may run.

    Attributes:
        verb: its keyword, as `Statement.verb`.
        sql: the statement, built from names alone; None where `select` has to be judged and put into brackets first.
        select: the text of the SELECT of a DESCRIBE.
        format: the name in the FORMAT clause.
        settings: the settings in the SETTINGS clause; not checked yet.
    """

    verb: str
    sql: str | None
    select: str | None = None
    format: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)


def quoted(name: str) -> str:
    """A name quoted as SQL, whatever characters the name holds."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def quoted_text(text: str) -> str:
    """A text as SQL's string literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def parse(text: str, database: str, check_table: CheckTable, check_database: CheckDatabase) -> Form | None:
    """The form of a text; None for a statement that has none of these forms.

    Args:
        database: the current database, for names without one.
        check_table: raises where the analyst may not read the table.
        check_database: raises where the analyst may not use the database.

    Raises:
        ServerError: what the two checks raise.
    """
    words = [word for word in tokens(text) if word.text != ";"]
    words, fmt, settings = _without_output(words)
    if not words:
        return None
    verb, rest = words[0].upper, words[1:]
    if verb in ("DESCRIBE", "DESC"):
        if len(rest) > 1 and rest[0].upper == "TABLE":
            rest = rest[1:]
        if len(rest) > 2 and rest[0].text == "(" and rest[-1].text == ")":
            return Form("DESCRIBE", None, text[rest[0].end : rest[-1].start], fmt, settings)
        table = _table(rest, database)
        if table is None:
            return None
        check_table(*table)
        return Form("DESCRIBE", f"DESCRIBE TABLE {_dotted(table)}", None, fmt, settings)
    sql = _named(verb, rest, database, check_table, check_database) or _listed(verb, rest)
    return None if sql is None else Form(verb, sql, None, fmt, settings)


def _named(
    verb: str, rest: Sequence[Token], database: str, check_table: CheckTable, check_database: CheckDatabase
) -> str | None:
    """EXISTS and SHOW CREATE of a table, view or database."""
    if verb == "SHOW" and rest and rest[0].upper == "CREATE":
        verb, rest = "SHOW CREATE", rest[1:]
    elif verb != "EXISTS":
        return None
    kind = rest[0].upper if len(rest) > 1 and rest[1].text != "." else ""
    if kind and kind not in _OBJECTS:
        return None
    if kind == "DATABASE":
        name = _identifier(rest[1]) if len(rest) == 2 else None
        if name is None:
            return None
        check_database(name)
        return f"{verb} DATABASE {quoted(name)}"
    table = _table(rest[1:] if kind else rest, database)
    if table is None:
        return None
    check_table(*table)
    return f"{verb} {kind or 'TABLE'} {_dotted(table)}"


def _listed(verb: str, rest: Sequence[Token]) -> str | None:
    """SHOW FUNCTIONS, SHOW ENGINES and SHOW SETTING."""
    if verb != "SHOW" or not rest:
        return None
    if len(rest) == 1:
        return _ENGINE_LISTS.get(rest[0].upper)
    if rest[0].upper == "FUNCTIONS" and len(rest) == 3 and rest[1].upper in _LIKES:
        pattern = _string(rest[2])
        return None if pattern is None else f"SHOW FUNCTIONS {rest[1].upper} {quoted_text(pattern)}"
    if rest[0].upper == "SETTING" and len(rest) == 2:
        name = _identifier(rest[1])
        return None if name is None else f"SHOW SETTING {quoted(name)}"
    return None


def _table(rest: Sequence[Token], database: str) -> tuple[str, str] | None:
    if len(rest) == 1:
        name = _identifier(rest[0])
        return None if name is None else (database, name)
    if len(rest) == 3 and rest[1].text == ".":
        names = _identifier(rest[0]), _identifier(rest[2])
        return None if names[0] is None or names[1] is None else (names[0], names[1])
    return None


def _dotted(table: tuple[str, str]) -> str:
    return f"{quoted(table[0])}.{quoted(table[1])}"


def _identifier(token: Token) -> str | None:
    if token.kind == "word":
        return token.text
    if token.kind != "quoted" or len(token.text) < 3 or "\\" in token.text or token.text[0] in token.text[1:-1]:
        return None
    return token.text[1:-1]


def _string(token: Token) -> str | None:
    if token.kind != "string" or "\\" in token.text or "'" in token.text[1:-1]:
        return None
    return token.text[1:-1]


def _without_output(words: list[Token]) -> tuple[list[Token], str | None, dict[str, str]]:
    """Split off the clauses FORMAT and SETTINGS at the end, which may come in either order."""
    fmt: str | None = None
    settings: dict[str, str] = {}
    for _ in range(2):
        if len(words) > 2 and words[-2].upper == "FORMAT" and _NAME.fullmatch(words[-1].text) and fmt is None:
            fmt = words[-1].text
            words = words[:-2]
            continue
        start = next((place for place, word in enumerate(words) if place and word.upper == "SETTINGS"), None)
        if start is None or words[start].depth:
            break
        given = _settings(words[start + 1 :])
        if given is None:
            break
        settings = given
        words = words[:start]
    return words, fmt, settings


def _settings(words: Sequence[Token]) -> dict[str, str] | None:
    """The settings in `a = 1, b = 'x'`; None for anything else."""
    settings: dict[str, str] = {}
    for place in range(0, len(words), 4):
        part = words[place : place + 4]
        if len(part) < 3 or part[0].kind != "word" or part[1].text != "=":
            return None
        if len(part) == 4 and (part[3].text != "," or place + 4 == len(words)):
            return None
        value = _string(part[2])
        if value is None and not _SETTING_VALUE.fullmatch(part[2].text):
            return None
        settings[part[0].text] = part[2].text if value is None else value
    return settings or None
