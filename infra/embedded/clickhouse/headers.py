"""Values of a reply's headers: the media type of its format, and the counts of its statement.

In: a format's name, totals, a text from the client. Out: header values. Pure.
"""

from __future__ import annotations

import json

from infra.embedded.clickhouse.running import Totals

_CONTENT_TYPES = {
    "TabSeparated": "text/tab-separated-values; charset=UTF-8",
    "TSV": "text/tab-separated-values; charset=UTF-8",
    "CSV": "text/csv; charset=UTF-8; header=absent",
    "CSVWithNames": "text/csv; charset=UTF-8; header=present",
    "JSON": "application/json; charset=UTF-8",
    "JSONCompact": "application/json; charset=UTF-8",
    "JSONEachRow": "application/x-ndjson; charset=UTF-8",
}
_BINARY_FORMATS = (
    "Native",
    "RowBinary",
    "Arrow",
    "Parquet",
    "ORC",
    "MsgPack",
    "Protobuf",
    "Avro",
    "Npy",
    "BSON",
)


def content_type(fmt: str) -> str:
    """The media type of a format's rows."""
    if fmt.startswith(_BINARY_FORMATS):
        return "application/octet-stream"
    return _CONTENT_TYPES.get(fmt, "text/plain; charset=UTF-8")


def summary(totals: Totals) -> str:
    """The value of X-ClickHouse-Summary: the statement's counts as JSON of strings, like a server's."""
    return json.dumps(
        {
            "read_rows": str(totals.read_rows),
            "read_bytes": str(totals.read_bytes),
            "written_rows": str(totals.written_rows),
            "written_bytes": str(totals.written_bytes),
            "total_rows_to_read": "0",
            "result_rows": str(totals.result_rows or totals.written_rows),
            "result_bytes": str(totals.result_bytes or totals.written_bytes),
            "elapsed_ns": str(int(totals.elapsed_seconds * 1_000_000_000)),
        },
        separators=(",", ":"),
    )


def header_text(text: str) -> str:
    """A client's own text as a header's value, cut down to printable ASCII."""
    return "".join(character if " " <= character <= "~" else "?" for character in text)
