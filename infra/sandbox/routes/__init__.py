"""One file a platform, found by listing this folder; each exposes `ROUTES`.

Platforms that are added by `TIDEMARK_PLATFORMS_PATH` have theirs in the `sandbox` folder beside their files.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from functools import cache
from pathlib import Path

from dotenv import dotenv_values

from infra.sandbox.exchange import Routes

_SETTING = "TIDEMARK_PLATFORMS_PATH"
_named = os.environ.get(_SETTING) or dotenv_values(".env").get(_SETTING) or ""
__path__ += [str(Path(folder).resolve() / "sandbox") for folder in _named.split(os.pathsep) if folder]


@cache
def all_routes() -> tuple[Routes, ...]:
    """The routes of every platform, by name."""
    names = sorted({module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")})
    return tuple(importlib.import_module(f"{__name__}.{name}").ROUTES for name in names)


def platform_names() -> tuple[str, ...]:
    """The platforms that are answered for."""
    return tuple(routes.platform for routes in all_routes())
