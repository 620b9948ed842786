"""Statements that an analyst may not run, made of the engine's own lists and hidden as text can be hidden. Pure.

What is asked for is one of the targets: a file to read, a path to write, an address to connect to, a secret, a change.
How it is asked is a form (a statement kind), and how the form is hidden is a disguise; each meets each by chance.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from tests.support.hostile.phrases import (
    CHANGES,
    DISGUISES,
    FUNCTION_ARGUMENTS,
    READS,
    SCALAR_ARGUMENTS,
    SOURCE_FORMS,
)
from tests.support.hostile.scenario import PATH_MARK


@dataclass(frozen=True)
class Aims:
    """What the statements are after.

    Attributes:
        file: a canary file outside the data folder.
        secrets: the data folder's own secrets.
        folder: where paths must not come to exist.
        port: of the listener that nobody may connect to.
    """

    file: str
    secrets: str
    folder: str
    port: int


class Statements:
    """Makes statements of the engine's own lists."""

    def __init__(self, seed: int, aims: Aims, table_functions: list[str], functions: list[str]) -> None:
        self._chance = random.Random(seed)
        self._aims = aims
        self._table_functions = table_functions
        self._functions = functions
        self._paths = 0

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """For ever: a kind and a statement. Every table function, statement kind and disguise comes around."""
        disguises: list[str] = []
        sources: list[str] = []
        changes: list[str] = []
        while True:
            sources = sources or self._shuffled(self._table_functions)
            changes = changes or self._shuffled((*CHANGES, *READS))
            disguises = disguises or self._shuffled(DISGUISES)
            draw = self._chance.random()
            if draw < 0.55:
                kind, core = "table function", self.source(sources.pop())
            elif draw < 0.85:
                kind, core = "statement kind", changes.pop()
            else:
                kind, core = "scalar function", self.scalar()
            disguise = disguises.pop() if self._chance.random() < 0.8 else "{a}"
            yield kind, self._filled(self.disguised(disguise, core))

    def source(self, name: str) -> str:
        """A table function in a form of statement."""
        if self._chance.random() < 0.2:
            name = self._chance.choice(
                (f"`{name}`", f'"{name}"', name.upper(), name.swapcase(), f"{name} ", f"/**/{name}")
            )
        call = f"{name}({self._chance.choice(FUNCTION_ARGUMENTS)})"
        return self._chance.choice(SOURCE_FORMS).replace("{source}", call)

    def scalar(self) -> str:
        """A scalar function, in the way or the case that nobody expects."""
        name = self._chance.choice(self._functions)
        if self._chance.random() < 0.3:
            name = self._chance.choice((name.upper(), name.lower(), f"`{name}`", f"/**/{name}"))
        forms = (
            "SELECT {f}({x})",
            "SELECT arrayMap({f}, [{x}])",
            "SELECT * APPLY({f}) FROM (SELECT {x})",
            "DESCRIBE (SELECT {f}({x}))",
        )
        return self._chance.choice(forms).replace("{f}", name).replace("{x}", self._chance.choice(SCALAR_ARGUMENTS))

    def disguised(self, disguise: str, core: str) -> str:
        """A core hidden, sometimes twice."""
        hidden = disguise.replace("{a}", core).replace("{b}", "SELECT 1")
        if self._chance.random() < 0.15:
            hidden = self._chance.choice(DISGUISES).replace("{a}", hidden).replace("{b}", core)
        return hidden

    def _filled(self, statement: str) -> str:
        aims = self._aims
        self._paths += 1
        bare = f"{PATH_MARK}{self._paths}"
        folder = self._chance.choice((f"{aims.folder}/", f"{aims.folder}/new/", "../", "../../../", ""))
        values = {
            "{file}": aims.file, "{secrets}": aims.secrets, "{folder}": aims.folder, "{port}": str(aims.port),
            "{path}": f"{folder}{bare}", "{bare}": bare,
        }  # fmt: skip
        for name, value in values.items():
            statement = statement.replace(name, value)
        return statement

    def _shuffled(self, items: tuple[str, ...] | list[str]) -> list[str]:
        taken = list(items)
        self._chance.shuffle(taken)
        return taken
