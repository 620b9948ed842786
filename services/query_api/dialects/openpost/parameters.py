"""What OpenPost's endpoints may be asked. Pure."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

from services.query_api.dialects.openpost.models import DEFAULT_DAYS, MAX_DAYS
from services.query_api.serving.parameters import LooseParameters

_DAYS = re.compile(r"[0-9]{1,6}")


def _days(text: str) -> int:
    if not _DAYS.fullmatch(text) or not 1 <= int(text) <= MAX_DAYS:
        raise ValueError(f"must be a whole number from 1 to {MAX_DAYS}.")
    return int(text)


class DaysParameters(LooseParameters):
    """How far back snapshots go."""

    days: Annotated[
        int, BeforeValidator(_days), WithJsonSchema({"type": "integer", "minimum": 1, "maximum": MAX_DAYS})
    ] = Field(DEFAULT_DAYS, description="How many days back to include.")


class SnapshotsParameters(DaysParameters):
    """Which snapshots of the workspace."""

    integration_id: str | None = Field(None, description="Only snapshots of this integration.")
