"""Which aggregators live, for `tidemark migrate`: by Kafka, where the command is told of it."""

from __future__ import annotations

from collections.abc import Sequence

from services.runtime.acls import AclsSettings
from services.runtime.settings import MissingSettingsError, SettingsError, exit_with
from services.runtime.topics import living_members


def living_aggregators() -> Sequence[str] | None:
    """The members of the aggregators' group; None where no address of Kafka is set.

    Raises:
        BrokersUnavailable: Kafka does not answer.
    """
    try:
        settings = AclsSettings.load()
    except MissingSettingsError:
        return None
    except SettingsError as error:
        exit_with(str(error))
    return living_members(settings, settings.aggregator_group)
