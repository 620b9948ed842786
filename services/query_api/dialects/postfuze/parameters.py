"""What PostFuze's endpoints may be asked. Pure."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, WithJsonSchema

from services.query_api.serving.parameters import Instant, LooseParameters

_Bound = Annotated[Instant, WithJsonSchema({"type": "string"})]


class RangeParameters(LooseParameters):
    """The range of an account's figures."""

    since: _Bound | None = Field(
        None, description="Start of the range: unix seconds or ISO 8601; 30 days before its end by default."
    )
    until: _Bound | None = Field(
        None, description="End of the range, exclusive: unix seconds or ISO 8601; now by default."
    )
