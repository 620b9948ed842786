"""One file a platform, found by listing this folder; each exposes `ROUTES`."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from infra.sandbox.exchange import Routes


@cache
def all_routes() -> tuple[Routes, ...]:
    """The routes of every platform, by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return tuple(importlib.import_module(f"{__name__}.{name}").ROUTES for name in names)
