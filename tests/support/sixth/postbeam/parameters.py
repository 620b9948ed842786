"""What PostBeam's endpoint may be asked."""

from __future__ import annotations

from pydantic import Field

from services.query_api.serving.parameters import LooseParameters


class ReactionsParameters(LooseParameters):
    """How fresh reactions have to be."""

    fresh: bool = Field(False, description="Whether the platforms are asked now, where that is possible.")
