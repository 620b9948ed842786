"""The formats of a reply: which one is asked for, and small tables written in them. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from enum import Enum
from typing import Any

import orjson

from services.query_api.errors import Header


class Format(Enum):
    """A format by its name in `format=`."""

    JSON = "json"
    CSV = "csv"
    NDJSON = "ndjson"
    PARQUET = "parquet"
    ARROW = "arrow"


MEDIA_TYPES: Mapping[Format, str] = {
    Format.JSON: "application/json",
    Format.CSV: "text/csv",
    Format.NDJSON: "application/x-ndjson",
    Format.PARQUET: "application/vnd.apache.parquet",
    Format.ARROW: "application/vnd.apache.arrow.stream",
}
"""What each is called in Accept and Content-Type."""

CONTENT_TYPES: Mapping[Format, str] = {**MEDIA_TYPES, Format.CSV: "text/csv; charset=utf-8; header=present"}


def asked_format(name: str | None, headers: Iterable[Header], offered: Sequence[Format]) -> Format:
    """The format of a reply: the one named, else the one that Accept likes best, else the first offered.

    An Accept that names none of them is answered in the first: that is more use to its sender than a refusal.

    Args:
        name: of one that is offered.
        headers: names in lower case.
        offered: the server's own liking, best first.
    """
    if name is not None:
        return Format(name)
    weights = _weights(b",".join(value for header, value in headers if header == b"accept").decode("latin-1"))
    liked = {kind: _weight(MEDIA_TYPES[kind], weights) for kind in offered}
    best = max(liked.values())
    return next(kind for kind in offered if liked[kind] == best)


def _weights(accept: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for part in accept.lower().split(","):
        kind, *options = (text.strip() for text in part.split(";"))
        weight = 1.0
        for option in options:
            if option.startswith("q="):
                try:
                    weight = float(option[2:])
                except ValueError:
                    weight = 0.0
        if kind:
            found[kind] = weight
    return found


def _weight(media_type: str, weights: Mapping[str, float]) -> float:
    """How much a type is liked: as the most exact name that covers it says."""
    family = media_type.partition("/")[0] + "/*"
    return next((weights[name] for name in (media_type, family, "*/*") if name in weights), 0.0)


def as_json(value: Any) -> Any:
    """A JSON value with decimals written as they are, three places and all; a float would lose the longest."""
    if isinstance(value, Decimal):
        return orjson.Fragment(f"{value:f}")
    if isinstance(value, Mapping):
        return {key: as_json(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(held) for held in value]
    return value


def write_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], kind: Format) -> bytes:
    """Rows of times and figures as CSV with a header, or as NDJSON; CSV leaves null empty.

    There is no free text in them, so that nothing can run in a spreadsheet; where there is, see `exports`.
    """
    if kind is Format.NDJSON:
        return b"".join(
            orjson.dumps(as_json({name: row[name] for name in columns}), option=orjson.OPT_APPEND_NEWLINE)
            for row in rows
        )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([["" if row[name] is None else row[name] for name in columns] for row in rows])
    return text.getvalue().encode()
