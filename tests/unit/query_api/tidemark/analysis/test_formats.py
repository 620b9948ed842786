"""Which format is asked for, and small tables in it."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from typing import Any

import orjson
import pytest

from services.query_api.tidemark.analysis.formats import MEDIA_TYPES, Format, as_json, asked_format, write_rows

OFFERED = (Format.CSV, Format.NDJSON, Format.PARQUET)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, Format.CSV),
        ("*/*", Format.CSV),
        ("application/json", Format.CSV),
        ("application/x-ndjson", Format.NDJSON),
        ("text/csv;q=0.5, application/vnd.apache.parquet", Format.PARQUET),
        ("application/*;q=0.8, text/csv;q=0.1", Format.NDJSON),
        ("text/*;q=0, */*;q=0.1", Format.NDJSON),
        ("Text/CSV; charset=utf-8; q=1", Format.CSV),
        ("application/x-ndjson;q=much, text/csv;q=0.1", Format.CSV),
    ],
)
def test_accept(accept: str | None, expected: Format) -> None:
    headers = () if accept is None else ((b"host", b"a"), (b"accept", accept.encode()))
    assert asked_format(None, headers, OFFERED) is expected


def test_a_name_wins_over_accept() -> None:
    assert asked_format("parquet", ((b"accept", b"text/csv"),), OFFERED) is Format.PARQUET


def test_each_format_has_a_media_type() -> None:
    assert len(set(MEDIA_TYPES.values())) == len(Format)


def test_rows() -> None:
    rows: list[dict[str, Any]] = [
        {"start": "2026-06-28T00:00:00Z", "likes": 2**63 - 1, "watch": Decimal("1.500"), "other": 1},
        {"start": "2026-06-29T00:00:00Z", "likes": None, "watch": None, "other": 1},
    ]
    columns = ("start", "likes", "watch")
    assert list(csv.reader(io.StringIO(write_rows(rows, columns, Format.CSV).decode()))) == [
        ["start", "likes", "watch"],
        ["2026-06-28T00:00:00Z", "9223372036854775807", "1.500"],
        ["2026-06-29T00:00:00Z", "", ""],
    ]
    lines = write_rows(rows, columns, Format.NDJSON).splitlines()
    assert lines[0] == b'{"start":"2026-06-28T00:00:00Z","likes":9223372036854775807,"watch":1.500}'
    assert json.loads(lines[1]) == {"start": "2026-06-29T00:00:00Z", "likes": None, "watch": None}


def test_decimals_keep_their_places() -> None:
    value = {"a": [Decimal("999999999999999.999"), None], "b": {"c": Decimal("0.000"), "d": 0.5}}
    assert orjson.dumps(as_json(value)) == b'{"a":[999999999999999.999,null],"b":{"c":0.000,"d":0.5}}'
