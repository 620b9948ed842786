"""What is known of each platform, one file a platform, found by listing this folder.

A module here other than `base` holds one platform and exposes it as `PLATFORM`. Nothing here opens a socket.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from services.platforms.base import Platform


@cache
def all_platforms() -> dict[str, Platform]:
    """Every platform by its name, from the files of this folder."""
    found: dict[str, Platform] = {}
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda entry: entry.name):
        if module.name == "base" or module.name.startswith("_"):
            continue
        platform: Platform = importlib.import_module(f"{__name__}.{module.name}").PLATFORM
        found[platform.facts.name] = platform
    return found


def platform(name: str) -> Platform:
    """The platform of a name.

    Raises:
        KeyError: no such platform; the message lists the known ones.
    """
    try:
        return all_platforms()[name]
    except KeyError:
        raise KeyError(f"unknown platform {name!r}; known: {', '.join(all_platforms())}") from None
