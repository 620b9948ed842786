"""Exports whole data sets as files, which are passed on from ClickHouse chunk by chunk.

Guarantee: a file that ends is whole. A failure on the way breaks the connection, and a caller that leaves stops the
query.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any

from services.query_api.errors import Invalid, NotFound
from services.query_api.reads.sources import Sources
from services.query_api.serving.endpoint import Request
from services.query_api.serving.streams import Stream
from services.query_api.tidemark.analysis.datasets import DATASETS, statement
from services.query_api.tidemark.analysis.formats import CONTENT_TYPES, Format, asked_format
from services.query_api.tidemark.analysis.parameters import ExportParameters, span_between, zone_of
from services.query_api.tidemark.analysis.slots import Slots
from services.runtime.instants import EARLIEST, LATEST

FORMATS = (Format.CSV, Format.NDJSON, Format.PARQUET, Format.ARROW)
_CLICKHOUSE_FORMATS: Mapping[Format, str] = {
    Format.CSV: "CSVWithNames",
    Format.NDJSON: "JSONEachRow",
    Format.PARQUET: "Parquet",
    Format.ARROW: "ArrowStream",
}
_SETTINGS: Mapping[str, Any] = {
    "date_time_output_format": "iso",
    "format_csv_null_representation": "",
    "output_format_decimal_trailing_zeros": 1,
    "output_format_json_escape_forward_slashes": 0,
    # The rows in a block and in a row group of a Parquet file: ClickHouse holds this part of a file in memory.
    "max_block_size": 16_384,
    "output_format_parquet_row_group_size": 65_536,
    "output_format_parquet_compression_method": "zstd",
    "output_format_arrow_string_as_string": 1,
    "output_format_parquet_string_as_string": 1,
}

# An export holds a connection and a thread of ClickHouse for as long as its reader takes. A reader that takes nothing
# loses its place to a waiting caller.
MOST = 6
MOST_PER_WORKSPACE = 3
MOST_PER_KEY = 2


class Exports:
    """Answers the export endpoint.

    Args:
        slots: limits the exports that run at once; None for the slots of one process.
    """

    def __init__(self, slots: Slots | None = None) -> None:
        self._slots = slots or Slots(MOST, MOST_PER_WORKSPACE, MOST_PER_KEY)

    async def answer(self, sources: Sources, request: Request[ExportParameters]) -> Stream:
        """The data set of the path as a file.

        Raises:
            Invalid: a parameter is bad.
            NotFound: there is no such data set, or the workspace has no such channel.
        """
        asked = request.parameters
        dataset = DATASETS.get(request.path["dataset"])
        if dataset is None:
            raise NotFound
        values = _values(request, has_time=dataset.time is not None)
        if asked.channel_id is not None:
            sources.check_channels(request.workspace_id, (asked.channel_id,))
        kind = asked_format(asked.format, request.headers, FORMATS)
        return Stream(
            CONTENT_TYPES[kind],
            self._chunks(
                sources,
                (request.workspace_id, request.key_id),
                f"export_{dataset.name}",
                statement(dataset, is_for_spreadsheets=kind is Format.CSV),
                values,
                _CLICKHOUSE_FORMATS[kind],
            ),
            ((b"content-disposition", f'attachment; filename="{dataset.name}.{kind.value}"'.encode()),),
            partial(self._slots.is_wanted, request.workspace_id),
        )

    async def _chunks(
        self,
        sources: Sources,
        key: tuple[str, str],
        name: str,
        sql: str,
        values: dict[str, Any],
        fmt: str,
    ) -> AsyncIterator[bytes]:
        stream = sources.store.stream
        async with self._slots.take(*key), aclosing(stream(name, sql, values, fmt, _SETTINGS)) as chunks:
            async for chunk in chunks:
                yield chunk


def _values(request: Request[ExportParameters], *, has_time: bool) -> dict[str, Any]:
    asked = request.parameters
    if not has_time and (asked.start is not None or asked.end is not None):
        raise Invalid("from, to: this data set has no times to choose by; leave them out")
    span = span_between(asked.start, asked.end, zone_of(asked.tz), EARLIEST, LATEST)
    return {
        "workspace": request.workspace_id,
        "channel": asked.channel_id or "",
        "from": span.start,
        "to": span.end,
        "is_open": int(asked.start is None and asked.end is None),
    }
