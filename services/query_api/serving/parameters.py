"""Kinds of parameters that several endpoints take, checked and described once. Pure."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from services.query_api.reads.query import ID
from services.runtime.instants import WRITTEN, parse_instant

MOST_IDS = 500
_ID_PATTERN = "^[A-Za-z0-9._:-]{1,128}$"


def _id(value: Any) -> Any:
    if not isinstance(value, str) or not ID.fullmatch(value):
        raise ValueError("must be 1 to 128 characters of A-Z, a-z, 0-9 and . _ : -")
    return value


def _listed(value: Any) -> Any:
    """A comma-separated text as its parts, each once, in the order asked."""
    return tuple(dict.fromkeys(value.split(","))) if isinstance(value, str) else value


def _ids(value: Any) -> Any:
    parts = _listed(value)
    if not isinstance(parts, list | tuple):
        raise ValueError("must be a list of ids")
    if not 1 <= len(parts) <= MOST_IDS:
        raise ValueError(f"must hold 1 to {MOST_IDS} ids")
    return tuple(dict.fromkeys(_id(part) for part in parts))


def _instant(value: Any) -> int:
    if not isinstance(value, str):
        raise ValueError(f"must be {WRITTEN}")
    return parse_instant(value)


Id = Annotated[str, BeforeValidator(_id), WithJsonSchema({"type": "string", "pattern": _ID_PATTERN})]
"""One of our ids."""

Ids = Annotated[
    tuple[str, ...],
    BeforeValidator(_ids),
    WithJsonSchema(
        {
            "type": "array",
            "items": {"type": "string", "pattern": _ID_PATTERN},
            "minItems": 1,
            "maxItems": MOST_IDS,
        }
    ),
]
"""Up to 500 of our ids, each once: comma-separated in a query, an array in a body."""

Names = Annotated[
    tuple[str, ...],
    BeforeValidator(_listed),
    WithJsonSchema({"type": "array", "items": {"type": "string"}}),
]
"""Comma-separated names, each once; what names are known is the endpoint's to check."""

Instant = Annotated[
    int,
    BeforeValidator(_instant),
    WithJsonSchema({"type": "string", "examples": ["2026-06-28T09:14:22Z", "2026-06-28"]}),
]
"""Milliseconds; asked as unix seconds or an ISO 8601 time, UTC where it names no offset, a date alone its midnight."""

Limit = Annotated[int, Field(ge=1, le=MOST_IDS)]
"""Rows of one page."""
