"""Settings for a command: read, and their neighbours tried, before the command does anything.

Comes in: a settings class. Goes out: the settings; or the command ends, with one line for each thing to mend.
"""

# ruff: noqa: T201 - a command line prints

from __future__ import annotations

import sys

from services.runtime.settings import Loaded, MissingSettingsError, SettingsError, exit_with


def usable(kind: type[Loaded], unusable: int = 1, *, otherwise: str = "") -> Loaded:
    """Load settings and try their neighbours (Kafka, registry, ClickHouse); end the command when one can't be used.

    Args:
        otherwise: what can be done without these settings, where something can.
        unusable: exit code when a neighbour can't be used. One line is printed for each of them.
    """
    from services.runtime.neighbours import problems

    try:
        settings = kind.load()
    except MissingSettingsError as error:
        exit_with(
            f"{error}; set what is missing, or run this in the folder of a running `tidemark up` (see --data-dir)"
            + (f"; {otherwise}" if otherwise else "")
        )
    except SettingsError as error:
        exit_with(str(error))
    found = problems(settings)
    for problem in found[:-1]:
        print(f"tidemark: {problem.text}", file=sys.stderr)
    if found:
        exit_with(found[-1].text, unusable)
    return settings
