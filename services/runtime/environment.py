"""The environment and `.env` as text: lines that can't be read, and names that no setting has.

Comes in: variables, and the names of all settings. Goes out: a clear refusal, or the names to warn of. No value is
judged here; each settings class judges the values of its own fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher
from pathlib import Path
from typing import NamedTuple

from dotenv.parser import parse_stream

from services.runtime.settings import ENV_PREFIX, SettingsError

# A name whose similarity to a setting's name is above this ratio counts as a slip of the pen.
_TYPO_RATIO = 0.87
# Kubernetes gives every container variables about the services of its namespace, which bear those services' names.
_OF_KUBERNETES = re.compile(r"_SERVICE_(?:HOST|PORT(?:_\w+)?)|_PORT_\d+_(?:TCP|UDP)(?:_\w+)?")
_OF_TESTS = f"{ENV_PREFIX}TEST_"


class UnknownName(NamedTuple):
    """A variable with the prefix that no setting reads.

    Attributes:
        nearest: the setting that was probably meant; None when no setting's name is similar.
    """

    name: str
    nearest: str | None

    def __str__(self) -> str:
        if self.nearest is None:
            return f"{self.name} is not a setting, and is ignored; README.md lists the settings"
        return f"{self.name} is not a setting; did you mean {self.nearest}?"


def read_dotenv(path: Path) -> dict[str, str]:
    """The variables of a `.env` file; {} when there is none.

    Raises:
        SettingsError: a line is no `NAME=value`; the message gives the line's number, and nothing of its text.
    """
    try:
        with path.open(encoding="utf-8") as stream:
            bindings = list(parse_stream(stream))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path.name} can't be read: {getattr(error, 'strerror', None) or error}") from None
    found = {}
    for binding in bindings:
        if binding.error or (binding.key is not None and binding.value is None):
            # Only the line's number is shown, since its text may hold a secret.
            number = binding.original.line + binding.original.string[: -len(binding.original.string.lstrip())].count(
                "\n"
            )
            raise SettingsError(f"{path.name} line {number} can't be read; a line is NAME=value, or a comment after #")
        if binding.key is not None and binding.value is not None:
            found[binding.key] = binding.value
    return found


def unknown_names(environment: Mapping[str, str], known: Iterable[str]) -> list[UnknownName]:
    """Variables with Tidemark's prefix that no setting reads, in the environment's order.

    Args:
        known: the names of all settings of all services.
    """
    names = set(known)
    return [
        UnknownName(name, _nearest(name, names))
        for name in environment
        if name.startswith(ENV_PREFIX)
        and name not in names
        and not name.startswith(_OF_TESTS)
        and not _OF_KUBERNETES.search(name)
    ]


def _nearest(name: str, known: set[str]) -> str | None:
    plain = name.removeprefix(ENV_PREFIX)
    rated = (
        (SequenceMatcher(None, plain, candidate.removeprefix(ENV_PREFIX)).ratio(), candidate) for candidate in known
    )
    ratio, best = max(rated, default=(0.0, ""))
    return best if ratio >= _TYPO_RATIO else None
