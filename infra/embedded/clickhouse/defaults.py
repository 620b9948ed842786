"""Settings without effect: at the engine's own value, or without meaning for a statement that reads.

In: settings as a client sends them, and the engine's own values. Out: the settings that remain to be judged. Drivers
send such settings with each statement, also for guests. A setting that is left out here is never given to the engine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

# Settings that concern INSERTs only.
OF_INSERTS = re.compile(
    r"(?:wait_for_)?async_insert\w*|insert_deduplicat\w+|insert_null_as_default|insert_quorum\w*|insert_distributed_\w+"
    r"|max_insert_\w+|min_insert_\w+|deduplicate_insert\w*"
)
_WORDS = {"true": "1", "false": "0"}


def without_meaning(settings: Mapping[str, str], values: Mapping[str, str]) -> dict[str, str]:
    """The settings of a statement that reads, without those that have no effect on the statement.

    Args:
        values: the engine's values by name, as in `system.settings`.
    """
    return {
        name: value
        for name, value in settings.items()
        if not OF_INSERTS.fullmatch(name) and (name not in values or _plain(values[name]) != _plain(value))
    }


def _plain(value: str) -> str:
    return _WORDS.get(value.lower(), value)
