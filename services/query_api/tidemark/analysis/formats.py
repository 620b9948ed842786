"""The formats of replies: chooses the one that a request asks for, and writes small tables. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from enum import Enum
from typing import Any

import orjson

from services.query_api.errors import Header
from services.query_api.serving.accept import accept_of, best_media_type


class Format(Enum):
    """A reply's format, by its name in the parameter `format`."""

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
"""The media type of each format in Accept and Content-Type."""

CONTENT_TYPES: Mapping[Format, str] = {**MEDIA_TYPES, Format.CSV: "text/csv; charset=utf-8; header=present"}


def asked_format(name: str | None, headers: Iterable[Header], offered: Sequence[Format]) -> Format:
    """The format of a reply: the named format, else the format that Accept prefers, else the first offered.

    Args:
        name: the name of an offered format, or None.
        headers: the request's headers, with names in lower case.
        offered: the formats that the endpoint offers, in the server's order of preference.
    """
    if name is not None:
        return Format(name)
    media_type = best_media_type(accept_of(headers), [MEDIA_TYPES[kind] for kind in offered])
    return next(kind for kind in offered if MEDIA_TYPES[kind] == media_type)


def as_json(value: Any) -> Any:
    """A JSON value with decimals written exactly, trailing zeros included; a float would lose digits of long ones."""
    if isinstance(value, Decimal):
        return orjson.Fragment(f"{value:f}")
    if isinstance(value, Mapping):
        return {key: as_json(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(held) for held in value]
    return value


def write_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], kind: Format) -> bytes:
    """Rows of times and figures as CSV with a header, or as NDJSON; null is an empty cell in CSV.

    The rows hold no free text, so no spreadsheet can read a cell as a formula; exports hold text (see `datasets`).
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
