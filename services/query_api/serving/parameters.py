"""Parameters of requests: base models, kinds of values that several endpoints share, and texts of refusals. Pure."""

from __future__ import annotations

import re
from typing import Annotated, Any, Self, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from schemas.ids import WHOLE_ID_PATTERN, is_id
from services.runtime.instants import WRITTEN, parse_instant

MOST_IDS = 500
# A refusal shows only field names of this form, since an unknown field's name is the caller's text.
_WRITTEN: dict[Any, re.Pattern[str]] = {
    int: re.compile(r"-?[0-9]{1,19}", re.ASCII),
    float: re.compile(r"-?[0-9]{1,19}(\.[0-9]{1,19})?", re.ASCII),
}
_KINDS: dict[Any, str] = {int: "a whole number, in digits alone", float: "a decimal number, such as 2 or 2.5"}
_SHOWABLE = re.compile(r"[A-Za-z0-9_-]{1,40}")


def _number_of(annotation: Any) -> type[int] | type[float] | None:
    """The kind of number that a field holds, null aside; None for a field of another kind."""
    kinds = [part for part in (get_args(annotation) or (annotation,)) if part is not type(None)]
    return kinds[0] if len(kinds) == 1 and kinds[0] in _WRITTEN else None


class Parameters(BaseModel):
    """Base of models of parameters: fields of the query, or of a POST's JSON body.

    Unknown names are refused. Instances can be compared and hashed, since kept answers are found by them.
    """

    # Names of fields are for code alone: callers use the documented aliases (`by_name=False` where requests are read).
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    @field_validator("*", mode="before")
    @classmethod
    def _plain_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse the further spellings of numbers that Python reads: 1_0, 10.0, +10, digits of other scripts."""
        kind = None if info.field_name is None else _number_of(cls.model_fields[info.field_name].annotation)
        if kind is None or not isinstance(value, str):
            return value
        if info.mode == "json" or not _WRITTEN[kind].fullmatch(value):
            raise ValueError(f"must be {_KINDS[kind]}")
        return value


class NoParameters(Parameters):
    """The model of endpoints without parameters; any parameter is refused."""


class LooseParameters(BaseModel):
    """Base of models of products whose documentation allows unknown names in a query; unknown names are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class AnyParameters(LooseParameters):
    """The model of endpoints that ignore the whole query."""


def is_without_parameters(model: type[BaseModel]) -> bool:
    """Whether a model ignores every parameter, so that the query need not be parsed."""
    return not model.model_fields and model.model_config.get("extra") == "ignore"


def _id(value: Any) -> Any:
    if not isinstance(value, str) or not is_id(value):
        raise ValueError("must be 1 to 128 characters of A-Z, a-z, 0-9 and . _ : -")
    return value


def _listed(value: Any) -> Any:
    """The parts of a comma-separated text, each once, in the given order; other values unchanged."""
    return tuple(dict.fromkeys(value.split(","))) if isinstance(value, str) else value


def _ids(value: Any, info: ValidationInfo) -> Any:
    # A text is a list in a query alone.
    parts = value if info.mode == "json" else _listed(value)
    if not isinstance(parts, list | tuple):
        raise ValueError("must be a list of ids")
    if not 1 <= len(parts) <= MOST_IDS:
        raise ValueError(f"must hold 1 to {MOST_IDS} ids")
    return tuple(dict.fromkeys(_id(part) for part in parts))


def _instant(value: Any) -> int:
    if not isinstance(value, str):
        raise ValueError(f"must be {WRITTEN}")
    return parse_instant(value)


Id = Annotated[str, BeforeValidator(_id), WithJsonSchema({"type": "string", "pattern": WHOLE_ID_PATTERN})]
"""An id of the catalog: 1 to 128 characters of A-Z, a-z, 0-9 and . _ : -"""

Ids = Annotated[
    tuple[str, ...],
    BeforeValidator(_ids),
    WithJsonSchema(
        {
            "type": "array",
            "items": {"type": "string", "pattern": WHOLE_ID_PATTERN},
            "minItems": 1,
            "maxItems": MOST_IDS,
        }
    ),
]
"""Up to 500 ids, each once: comma-separated in a query, an array in a body."""

Names = Annotated[
    tuple[str, ...],
    BeforeValidator(_listed),
    WithJsonSchema({"type": "array", "items": {"type": "string"}}),
]
"""Comma-separated names, each once; the endpoint checks whether the names are known."""

Instant = Annotated[
    int,
    BeforeValidator(_instant),
    WithJsonSchema({"type": "string", "examples": ["2026-06-28T09:14:22Z", "2026-06-28"]}),
]
"""An instant in ms, written as unix seconds or as an ISO 8601 time: UTC without an offset, a date alone at midnight."""

Limit = Annotated[int, Field(ge=1, le=MOST_IDS)]
"""The most rows of one page, 1 to 500."""


class OfChannels(Parameters):
    """Base of models of parameters that choose one or several channels of the workspace."""

    channel_id: Id | None = Field(None, description="Only this channel.")
    channel_ids: Ids | None = Field(None, description="Only these channels, up to 500; allows no channel_id.")

    @model_validator(mode="after")
    def _one_or_several(self) -> Self:
        if self.channel_id is not None and self.channel_ids is not None:
            raise ValueError("channel_ids: can't be combined with channel_id")
        return self

    @property
    def channels(self) -> tuple[str, ...]:
        """The chosen channels; none where all count."""
        return self.channel_ids or (() if self.channel_id is None else (self.channel_id,))


def describe(error: ValidationError) -> str:
    """The first problem of a validation in one line that names the field; the caller's values are never repeated."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    path = [part for part in first["loc"] if part not in ("channel", "post")]
    name = ".".join(str(part) if _SHOWABLE.fullmatch(str(part)) else "?" for part in path)
    problem = "is not a known field" if first["type"] == "extra_forbidden" else _plain(first)
    return f"{name}: {problem}" if name else problem


def _plain(problem: Any) -> str:
    if problem["type"] == "union_tag_invalid" or problem["type"] == "union_tag_not_found":
        return "type: must be channel or post"
    if problem["type"] == "json_invalid":
        return "The body is not valid JSON."
    if problem["type"] == "tuple_type":
        return "must be a list"
    message: str = problem["msg"]
    return message.removeprefix("Value error, ").replace("Tuple should", "The list should")
