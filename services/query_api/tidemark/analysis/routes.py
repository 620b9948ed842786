"""The endpoints of series, totals and exports."""

from __future__ import annotations

from typing import Any

from services.query_api.reads.sources import Sources
from services.query_api.serving.actions import reads
from services.query_api.serving.endpoint import Endpoint
from services.query_api.tidemark import PREFIX
from services.query_api.tidemark.analysis.datasets import DATASETS
from services.query_api.tidemark.analysis.exports import FORMATS as FILE_FORMATS
from services.query_api.tidemark.analysis.exports import Exports
from services.query_api.tidemark.analysis.figures import CHANNEL_FIGURES, POST_FIGURES
from services.query_api.tidemark.analysis.formats import MEDIA_TYPES, Format
from services.query_api.tidemark.analysis.models import sample_series, sample_totals, series_schema, totals_schema
from services.query_api.tidemark.analysis.parameters import (
    ChannelSeriesParameters,
    ExportParameters,
    SeriesParameters,
    TotalsParameters,
    WorkspaceSeriesParameters,
    WorkspaceTotalsParameters,
)
from services.query_api.tidemark.analysis.series import (
    FORMATS,
    channel_series,
    post_series,
    target_series,
    workspace_series,
)
from services.query_api.tidemark.analysis.totals import channel_totals, workspace_totals

_TABLE_TYPES = tuple(MEDIA_TYPES[kind] for kind in FORMATS)

_SERIES_DOC = (
    "One point for each hour or day of the zone within [from, to); the first and the last may be cut short. null means"
    " that the figure is unknown. Increments are differences of successive answers, counted in the bucket of the later"
    " answer; a counter that fell counts 0, and later differences start from the lower count. A post's first answer"
    " counts from 0 if the post was published within the span, or at most a day before that answer. reach and"
    " avg_watch_time_seconds have no increments, since unique people and means can't be added up over time."
)
_TOTALS_DOC = (
    "Each metric's value, its value in the window before, and the change as a fraction of the latter; the change is"
    " null if either value is missing or the earlier one is 0. A window of whole days of the zone is compared with as"
    " many days, any other window with the same number of seconds."
)


ENDPOINTS: tuple[Endpoint[Sources, Any, Any], ...] = (
    Endpoint(
        id="getPostSeries",
        path=f"{PREFIX}/posts/{{id}}/series",
        summary="Time series of a post",
        description=f"Summed over the post's targets. {_SERIES_DOC}",
        action=reads(SeriesParameters, post_series),
        sample=sample_series({"post_id": "post-1"}),
        schema=series_schema("Post", ("post_id",), POST_FIGURES),
        media_types=_TABLE_TYPES,
    ),
    Endpoint(
        id="getTargetSeries",
        path=f"{PREFIX}/targets/{{id}}/series",
        summary="Time series of a target",
        description=_SERIES_DOC,
        action=reads(SeriesParameters, target_series),
        sample=sample_series({"target_id": "target-1"}),
        schema=series_schema("Target", ("target_id",), POST_FIGURES),
        media_types=_TABLE_TYPES,
    ),
    Endpoint(
        id="getChannelSeries",
        path=f"{PREFIX}/channels/{{id}}/series",
        summary="Time series of a channel",
        description=f"{_SERIES_DOC} Levels such as followers may fall: their increments are signed.",
        action=reads(ChannelSeriesParameters, channel_series),
        sample=sample_series({"channel_id": "ch-x", "source": "posts"}),
        schema=series_schema("Channel", ("channel_id", "source"), CHANNEL_FIGURES),
        media_types=_TABLE_TYPES,
    ),
    Endpoint(
        id="getWorkspaceSeries",
        path=f"{PREFIX}/series",
        summary="Time series of the workspace",
        description="Summed over the posts of all channels or of those named, levels such as followers over the"
        f" channels. {_SERIES_DOC}"
        " Levels may fall: their increments are signed.",
        action=reads(WorkspaceSeriesParameters, workspace_series),
        sample=sample_series({}),
        schema=series_schema("Workspace", (), CHANNEL_FIGURES, ("channel_ids",)),
        media_types=_TABLE_TYPES,
    ),
    Endpoint(
        id="getChannelTotals",
        path=f"{PREFIX}/channels/{{id}}/totals",
        summary="Totals of a channel over a window",
        description=_TOTALS_DOC,
        action=reads(TotalsParameters, channel_totals),
        sample=sample_totals({"channel_id": "ch-x"}),
        schema=totals_schema("Channel", ("channel_id",)),
        media_types=_TABLE_TYPES,
    ),
    Endpoint(
        id="getWorkspaceTotals",
        path=f"{PREFIX}/totals",
        summary="Totals of the workspace over a window",
        description=_TOTALS_DOC,
        action=reads(WorkspaceTotalsParameters, workspace_totals),
        sample=sample_totals({}),
        schema=totals_schema("Workspace", (), ("channel_ids",)),
        media_types=_TABLE_TYPES,
    ),
    Endpoint(
        id="exportDataset",
        path=f"{PREFIX}/exports/{{dataset}}",
        summary="A whole data set as a file",
        description="The file is streamed. A file that ends is whole; a failure breaks the connection. "
        + " ".join(f"{dataset.name}: {dataset.doc}" for dataset in DATASETS.values())
        + " In CSV, an apostrophe stands before text that a spreadsheet would run as a formula. A key may run two"
        " exports at a time.",
        action=reads(ExportParameters, Exports().answer),
        media_types=tuple(MEDIA_TYPES[kind] for kind in FILE_FORMATS),
        path_values={"dataset": tuple(DATASETS)},
        text_samples={
            MEDIA_TYPES[Format.CSV]: '"post_id","status","likes"\n"post-1","published",1894\n',
            MEDIA_TYPES[Format.NDJSON]: '{"post_id":"post-1","status":"published","likes":1894}\n',
        },
    ),
)
