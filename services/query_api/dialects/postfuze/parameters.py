"""What PostFuze's endpoints may be asked. Pure."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

from services.query_api.serving.parameters import LooseParameters
from services.runtime.instants import parse_instant


def _instant(text: str) -> int:
    try:
        return parse_instant(text)
    except ValueError as error:
        # PostFuze's messages are sentences.
        raise ValueError(f"{error}.") from None


_Bound = Annotated[int, BeforeValidator(_instant), WithJsonSchema({"type": "string"})]


class RangeParameters(LooseParameters):
    """The range of an account's figures."""

    since: _Bound | None = Field(
        None, description="Start of the range: unix seconds or ISO 8601; 30 days before its end by default."
    )
    until: _Bound | None = Field(
        None, description="End of the range, exclusive: unix seconds or ISO 8601; now by default."
    )
