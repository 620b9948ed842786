"""What is known of each platform, one file a platform, found by listing this folder.

A module here holds one platform and exposes it as `PLATFORM`. The platforms share `base` (the nouns and the protocol),
`abilities` (what a platform may offer beyond it), `json_reading`, `http_reading`, `report_days`, and modules whose
names begin with `_`. Nothing here opens a socket.

Further folders of such files are named by `TIDEMARK_PLATFORMS_PATH`, so that a platform can be added to an installed
Tidemark. Their files are modules of this package, as if they lay here.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path

from dotenv import dotenv_values

from schemas.metrics import POST_NAMES
from services.platforms.abilities import Addressed, Configurable, PlatformSetting, has
from services.platforms.base import Platform

SETTING = "TIDEMARK_PLATFORMS_PATH"
_SHARED = frozenset({"abilities", "base", "http_reading", "json_reading", "report_days"})


class PlatformFileError(ValueError):
    """A platform's file, or a folder of them, can't be used; the message names it."""


def _further_folders() -> list[str]:
    """The folders that the setting names, by their full paths; the environment wins over `.env`."""
    named = os.environ.get(SETTING) or dotenv_values(".env").get(SETTING) or ""
    return [str(Path(folder).resolve()) for folder in named.split(os.pathsep) if folder]


__path__ += [folder for folder in _further_folders() if folder not in __path__]


@cache
def all_platforms() -> dict[str, Platform]:
    """Every platform by its name, from the files of this folder and of those that the setting names.

    Raises:
        PlatformFileError: a folder is missing, or a file holds no platform of its own name.
    """
    found: dict[str, Platform] = {}
    for folder in __path__:
        if not Path(folder).is_dir():
            raise PlatformFileError(f"{folder} is no folder")
        for module in sorted(pkgutil.iter_modules([folder]), key=lambda entry: entry.name):
            if module.ispkg or module.name in _SHARED or module.name.startswith("_"):
                continue
            if module.name in found:
                raise PlatformFileError(f"{folder}/{module.name}.py: there is a platform {module.name} already")
            found[module.name] = _load(module.name, folder)
    return dict(sorted(found.items()))


def _load(name: str, folder: str) -> Platform:
    try:
        loaded: Platform = importlib.import_module(f"{__name__}.{name}").PLATFORM
        said = loaded.facts.name
    except Exception as error:
        raise PlatformFileError(f"{folder}/{name}.py: {type(error).__name__}: {error}") from error
    if said != name:
        raise PlatformFileError(f"{folder}/{name}.py: its facts say {said!r}, expected the file's name")
    return loaded


def post_address(name: str, external_id: str) -> str | None:
    """The platform's own address of a post; None where it does not follow from the id alone.

    Args:
        name: the platform's name; of a platform that is not known, no address is.
    """
    found = all_platforms().get(name)
    return found.post_address(external_id) if has(found, Addressed) else None


def declared_settings() -> dict[str, PlatformSetting]:
    """The settings that platforms have of their own, by their names; one that several platforms share is there once.

    Raises:
        PlatformFileError: two platforms declare one setting differently.
    """
    found: dict[str, PlatformSetting] = {}
    for name, known in all_platforms().items():
        for setting in known.settings if isinstance(known, Configurable) else ():
            if found.setdefault(setting.name, setting) != setting:
                raise PlatformFileError(f"{name}: {setting.name} is declared differently by another platform")
    return found


def configured_platforms(values: Mapping[str, str]) -> dict[str, Platform]:
    """Every platform by its name, each with its own settings of these values.

    Args:
        values: by the settings' names; a name that is left out has its default.
    """
    return {
        name: known.configured(
            {setting.name: values[setting.name] for setting in known.settings if setting.name in values}
        )
        if isinstance(known, Configurable)
        else known
        for name, known in all_platforms().items()
    }


def checked_path(value: str) -> str:
    """The setting's value, once every platform was found: for the settings of services.

    Raises:
        PlatformFileError: see `all_platforms`.
    """
    all_platforms()
    return value


@lru_cache(maxsize=64)
def polled_metrics(name: str) -> int:
    """The post metrics that polls of a platform bring, as a bit mask over POST_NAMES; 0 for an unknown platform."""
    known = all_platforms().get(name)
    if known is None:
        return 0
    return sum(1 << metric for metric, column in enumerate(POST_NAMES) if known.facts.is_asked(column))


def platform(name: str) -> Platform:
    """The platform of a name.

    Raises:
        KeyError: no such platform; the message lists the known ones.
    """
    try:
        return all_platforms()[name]
    except KeyError:
        raise KeyError(f"unknown platform {name!r}; known: {', '.join(all_platforms())}") from None
