"""Statements that try to read, write, connect or change, made by the thousand from the engine's own lists.

Each is one deed (a table function, a kind of statement) in one disguise (comments, heredocs, quotings, other
statements around it). Deterministic: the same seed makes the same statements.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

# Placeholders: {canary} a file, {out} a file that must not appear, {port} and {url} of a socket nobody may reach.
ARGUMENTS = (
    "'{canary}', 'LineAsString'",
    "'{canary}'",
    "'{canary}', 'Form'",
    "'{url}', 'LineAsString', 'a String'",
    "'{url}'",
    "'127.0.0.1:{port}', 'a', 'b', 'c', 'd'",
    "'127.0.0.1:{port}', 'default.hidden_here'",
    "default, hidden_here",
    "'default', '.*'",
    "'{out}', 'TSV', 'a String'",
    "",
)
SHAPES = (
    "SELECT * FROM {call} LIMIT 1",
    "DESCRIBE {call}",
    "DESC TABLE {call} FORMAT TSV",
    "DESCRIBE (SELECT * FROM {call} LIMIT 1)",
    "WITH x AS (SELECT * FROM {call} LIMIT 1) SELECT * FROM x",
    "SELECT 1 IN (SELECT * FROM {call} LIMIT 1)",
    "SELECT * FROM view(SELECT * FROM {call} LIMIT 1)",
    "SELECT (SELECT * FROM {call} LIMIT 1)",
    "SELECT 1 FROM seen JOIN {call} AS t ON (1 = 1) LIMIT 1",
    "SELECT 1 UNION ALL (SELECT * FROM {call} LIMIT 1)",
    "INSERT INTO FUNCTION {call} SELECT 1",
    "INSERT INTO seen SELECT * FROM {call} LIMIT 1",
    "CREATE TABLE made AS {call}",
    "EXPLAIN SELECT * FROM {call}",
    "EXPLAIN ESTIMATE SELECT * FROM {call}",
    "EXISTS (SELECT * FROM {call} LIMIT 1)",
    "SELECT {call}",
    "SELECT arrayMap(x -> {call}, [1])",
)
STATEMENTS = [
    line
    for line in (Path(__file__).parents[1] / "golden" / "clickhouse" / "hostile.sql").read_text().splitlines()
    if not line.startswith("--")
]
DISGUISES = (
    "{s}",
    "  \n\t{s}  ",
    "({s})",
    "{s};",
    ";{s}",
    "{s} FORMAT TSV",
    "{s} SETTINGS max_threads = 1",
    "/**/{s}/**/",
    "/* /* */ DESCRIBE seen -- */ {s}",
    "/* /* */ SELECT 1 -- */ {s}",
    "/* /* */ EXISTS seen -- */ {s}",
    "/* /* */ SHOW CREATE TABLE seen # */ {s}",
    "/* /* */ SELECT '*/' -- */ {s}",
    "DESCRIBE seen /* */ {s}",
    "DESCRIBE seen; {s}",
    "SELECT 1; {s}",
    "{s}; SELECT 1",
    "{s} /*",
    "/* {s}",
    "{s} /* /* */",
    "-- x\r{s}",
    "-- x\n{s}",
    "#!x\n{s}",
    "# x\n{s}",
    "#{s}",
    "$a$ {s} $a$ {s}",
    "SELECT $a$ $b$ $a$, $b$ 1 $b$ {s}",
    "SELECT $$ -- $$ {s}",
    "DESCRIBE seen -- $$\n {s} -- $$",
    "SELECT '\\' {s} -- '",
    "SELECT '\\\\' {s} -- '",
    "SELECT ''' {s} -- '",
    'SELECT "a\\" {s} -- "',
    "SELECT `a`` {s} -- `",
    "DESCRIBE seen FORMAT `TSV` {s}",
    "\u2018x\u2019 {s}",
    "SELECT \u2018 {s} \u2019",
    "\u2212\u2212 x\n{s}",
    "\ufeff{s}",
    "\u00a0{s}",
    "\u200b{s}",
    "\x00{s}",
    "{s}\x00 SELECT 1",
    "EXPLAIN {s}",
    "EXPLAIN AST {s}",
    "EXPLAIN PIPELINE {s}",
    "DESCRIBE ({s})",
    "DESCRIBE TABLE ({s})",
    "SELECT * FROM ({s})",
    "SELECT 1 UNION ALL {s}",
    "WITH x AS ({s}) SELECT * FROM x",
    "EXECUTE AS default {s}",
    "SHOW FUNCTIONS LIKE 'x' {s}",
    "SELECT 1 PARALLEL WITH {s}",
)


def _quoted(name: str, place: int) -> str:
    forms = (
        name,
        name.upper(),
        name.lower(),
        f"`{name}`",
        f'"{name}"',
        f"{name}/**/",
        f"{name} -- x\n",
        f"\u201c{name}\u201d",
    )
    return forms[place % len(forms)]


def hostile_statements(functions: Sequence[str], seed: int = 11) -> Iterator[str]:
    """Every table function with all arguments in some shapes, each in some disguise; every statement in twenty."""
    choice = random.Random(seed)
    for name in functions:
        for arguments in ARGUMENTS:
            call = f"{_quoted(name, choice.randrange(8))}({arguments})"
            for shape in choice.sample(SHAPES, 3):
                yield choice.choice(DISGUISES).replace("{s}", shape.replace("{call}", call))
    for statement in STATEMENTS:
        for disguise in choice.sample(DISGUISES, 20):
            yield disguise.replace("{s}", statement)
