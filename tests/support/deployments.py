"""What the files in `infra` may name: the product's own commands and settings."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from services.cli import app
from services.configuration import known_names

INFRA = Path(__file__).parents[2] / "infra"


def commands() -> set[str]:
    """The subcommands of `tidemark`, groups included."""
    found = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    return found | {group.name for group in app.registered_groups if group.name}


def settings_in(text: str) -> set[str]:
    """Every setting that a text names."""
    return set(re.findall(r"\bTIDEMARK_[A-Z0-9_]*[A-Z0-9]\b", text))


def unknown_settings(names: Iterable[str]) -> set[str]:
    """Those of the names that no service reads."""
    return set(names) - known_names()
