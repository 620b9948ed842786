"""The products: one folder each, found by listing. A folder's `routes` module holds its `DIALECT`."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from services.query_api.reads.sources import Sources
from services.query_api.serving.endpoint import Api


@cache
def all_dialects() -> tuple[Api[Sources], ...]:
    """Every product, by folder name."""
    return tuple(
        importlib.import_module(f"{__name__}.{folder.name}.routes").DIALECT
        for folder in sorted(pkgutil.iter_modules(__path__), key=lambda entry: entry.name)
        if folder.ispkg
    )
