"""Parameters of changes. Pure."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from services.query_api.serving.parameters import Parameters
from services.query_api.store.changes import TYPES

# The query's cursor for the end.
NOW = "now"

MOST_CHANGES = 1_000
LONGEST_WAIT_SECONDS = 30


def _types(value: Any) -> Any:
    names = tuple(dict.fromkeys(value.split(","))) if isinstance(value, str) and value else TYPES
    if not set(names) <= set(TYPES):
        raise ValueError("must be some of post, channel and account, comma-separated")
    # In one order, so that readers of the same types have the same pages.
    return tuple(name for name in TYPES if name in names)


Types = Annotated[
    tuple[str, ...],
    BeforeValidator(_types),
    WithJsonSchema({"type": "array", "items": {"type": "string", "enum": list(TYPES)}}),
]

Cursor = Annotated[
    str,
    Field(
        description="The `next_cursor` of an earlier page, or the `id` of an event. `now` begins at the end; without "
        "a cursor everything that exists comes first."
    ),
]


class StreamParameters(Parameters):
    """Where a stream begins, and of what."""

    cursor: Cursor = ""
    types: Types = Field(
        default=TYPES,
        description="Comma-separated: post, channel, account. All of them by default. A cursor remembers the types "
        "that it was read with. Of a type that is added later, everything that exists comes first, with the deletions "
        "of meanwhile. A type that was read once and then left out for 90 days can't be added again (410).",
    )


class ChangesParameters(StreamParameters):
    """The same of a page."""

    limit: Annotated[int, Field(ge=1, le=MOST_CHANGES, description="The most changes of the page.")] = 200
    wait: Annotated[
        float,
        Field(ge=0, le=LONGEST_WAIT_SECONDS, description="For how many seconds an empty page is held back."),
    ] = 0
