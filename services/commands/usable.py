"""Settings for a command: read, and their neighbours tried, before the command does anything.

Comes in: a settings class. Goes out: the settings; or the command ends, with one line for each thing to mend.
"""

# ruff: noqa: T201 - a command line prints

from __future__ import annotations

import os
import sys

from typer._click.globals import get_current_context

from services.runtime.patience import waiting_for
from services.runtime.settings import Loaded, MissingSettingsError, SettingsError, exit_with
from services.status.addresses import Adopted


def as_user(role: str | None) -> None:
    """Take the users of one role, where this command takes its addresses from a running `tidemark up --secure`."""
    context = get_current_context(silent=True)
    found = None if context is None else context.find_root().obj
    if isinstance(found, Adopted) and role:
        os.environ.update(found.roles.get(role, {}))


def usable(
    kind: type[Loaded], unusable: int = 1, *, role: str | None = None, user: str | None = None, otherwise: str = ""
) -> Loaded:
    """Load settings and try their neighbours (Kafka, registry, ClickHouse); end the command when one can't be used.

    Args:
        otherwise: what can be done without these settings, where something can.
        unusable: exit code when a neighbour can't be used. One line is printed for each of them.
        role: the command's name in `schemas.kafka_rights` and `schemas.clickhouse_rights`: rights that its users lack
            in Kafka and ClickHouse are problems as well; None looks at no rights.
        user: the users' name where no rights are looked at; see `as_user`.
    """
    from services.runtime.neighbours import lacking_rights, names, problems

    as_user(role or user)
    try:
        settings = kind.load()
    except MissingSettingsError as error:
        exit_with(
            f"{error}; set what is missing, or run this in the folder of a running `tidemark up` (see --data-dir)"
            + (f"; {otherwise}" if otherwise else "")
        )
    except SettingsError as error:
        exit_with(str(error))
    with waiting_for(f"{', '.join(names(settings))} to answer"):
        found = [problem.text for problem in problems(settings)]
        if role and not found:
            found = lacking_rights(settings, role)
    for line in found[:-1]:
        print(f"tidemark: {line}", file=sys.stderr)
    if found:
        exit_with(found[-1], unusable)
    return settings
