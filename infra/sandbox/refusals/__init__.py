"""The catalogue of refusals: how real platforms say no, one file a platform, one row a refusal.

Each row is data: where it was seen, which calls it concerns, and the status, headers and body as recorded. Rows are
switched on by the control API (`POST /_sandbox/refusals`), for a target, an account, a token or a whole platform, for
a span of time or until they are switched off; `switches` applies them. `docs/refusals.md` is written from them.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from infra.sandbox.refusals._everywhere import rows_of
from infra.sandbox.refusals.row import Refusal


@cache
def catalogue() -> dict[tuple[str, str], Refusal]:
    """Every refusal by platform and name, in the order of the files."""
    found: dict[tuple[str, str], Refusal] = {}
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda entry: entry.name):
        if module.name == "row" or module.name.startswith("_"):
            continue
        for row in (*importlib.import_module(f"{__name__}.{module.name}").ROWS, *rows_of(module.name)):
            key = (row.platform, row.name)
            if key in found:
                raise ValueError(f"two refusals are called {row.name} of {row.platform}")
            found[key] = row
    return found


def names_of(platform: str) -> list[str]:
    """The names of a platform's refusals."""
    return [name for of_platform, name in catalogue() if of_platform == platform]
