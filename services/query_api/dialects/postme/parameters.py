"""What postme's endpoints may be asked. Pure."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

from services.query_api.dialects.postme.models import DEFAULT_RANGE, RANGE_NAMES
from services.query_api.serving.parameters import LooseParameters


def _known(text: str) -> str:
    return text if text in RANGE_NAMES else DEFAULT_RANGE


class WindowParameters(LooseParameters):
    """The window of a channel's insights."""

    range: Annotated[str, BeforeValidator(_known), WithJsonSchema({"type": "string", "enum": list(RANGE_NAMES)})] = (
        Field(DEFAULT_RANGE, description="Length of the window; anything else falls back to 28d.")
    )
