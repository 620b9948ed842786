"""The data sets that can be exported, each as one SQL statement whose rows come in the order of their ids. Pure.

Values are server-side parameters. Joins read the tables of one workspace, and the larger table is the one that streams
through the join; `sql` says why FINAL is right here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from schemas.metric_sql import ENGAGEMENTS, RATED_TARGETS, TOTAL_ENGAGEMENT_RATE
from schemas.metrics import CHANNEL_METRICS, POST_METRICS
from services.query_api.tidemark.analysis.sql import GENERATION, LIVE_CHANNELS

# Sorts and joins that need more memory use the disk, so that a few exports at once leave ClickHouse its memory.
_SORTED_BYTES = 64 * 2**20
_JOINED_BYTES = 128 * 2**20
_SETTINGS = (
    "SETTINGS do_not_merge_across_partitions_select_final = 0, max_threads = 1, query_plan_join_swap_table = 'false',"
    f" max_bytes_before_external_sort = {_SORTED_BYTES}, max_bytes_in_join = {_JOINED_BYTES},"
    " join_algorithm = 'grace_hash'"
)
# Snapshots are many and their targets few: snapshots are read in stored order, and a join that looks up each row keeps
# this order.
_SETTINGS_IN_ORDER = (
    "SETTINGS do_not_merge_across_partitions_select_final = 0, max_threads = 1, query_plan_join_swap_table = 'false',"
    " query_plan_remove_redundant_sorting = 0, join_algorithm = 'hash'"
)
# Characters that show nothing or a space: separators, control and format characters (a byte order mark, zero widths),
# marks, and letters and signs that are blank.
_BLANK = r"[\\s\\p{Z}\\p{C}\\p{M}\\x{115F}\\x{1160}\\x{2800}\\x{3164}\\x{FFA0}]*"
# A spreadsheet may read these signs, in all their forms, as the beginning of a formula; also after blank characters,
# which some programs drop. A tab or a line's end alone may begin another cell.
_SIGN = r"[=+@\\x{FF1D}\\x{FF0B}\\x{FF0D}\\x{FF20}\\x{FE62}\\x{FE63}\\x{FE66}\\x{FE6B}\\x{2212}-]"
FORMULA = rf"^{_BLANK}{_SIGN}|^[\\t\\r\\n]"

_ENGAGEMENTS = f"{ENGAGEMENTS} AS engagements"
RATE = (
    "multiIf(engagements IS NULL, NULL, impressions > 0, engagements / impressions, reach > 0, engagements / reach,"
    " views > 0, engagements / views, NULL) AS engagement_rate"
)
_TEXT = re.compile(r"<(\w+\.\w+)>")
_POST_COLUMNS = ", ".join(metric.name for metric in POST_METRICS)
_CHANNEL_COLUMNS = ", ".join(metric.name for metric in CHANNEL_METRICS)


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set that can be exported.

    Attributes:
        doc: describes the rows, for the API's description.
        sql: the statement; columns that hold others' text stand in angle brackets.
        time: the column that `from` and `to` limit; None for a data set without times.
    """

    name: str
    doc: str
    sql: str
    time: str | None = None


def _within(column: str) -> str:
    """The SQL condition that a column lies within the span; an open end is passed as the latest instant."""
    return (
        f"{column} >= fromUnixTimestamp64Milli({{from:Int64}}, 'UTC')"
        f" AND {column} < fromUnixTimestamp64Milli({{to:Int64}}, 'UTC')"
    )


_OF_CHANNEL = "({channel:String} = '' OR channel_id = {channel:String})"
_LISTED = f"""
    SELECT target_id, post_id, channel_id FROM latest_post_metrics_store FINAL
    WHERE workspace_id = {{workspace:String}} AND generation = {GENERATION} AND is_listed = 1
        AND {_OF_CHANNEL} AND channel_id IN ({LIVE_CHANNELS})
"""
_CHANNELS = f"""
    SELECT channel_id, platform, external_id, username, status, updated_at FROM channels_store FINAL
    WHERE workspace_id = {{workspace:String}} AND is_deleted = 0 AND {_OF_CHANNEL}
"""
# Without a span every row counts, also rows without a time.
_PUBLISHED = f"({{is_open:UInt8}} = 1 OR ({_within('published_at')}))"

POSTS = Dataset(
    "posts",
    "One row for each post, with its figures summed over its targets. The span limits the time of publishing.",
    f"""
SELECT post_id, status, created_at, published_at, updated_at, captured_at, {_POST_COLUMNS}, {_ENGAGEMENTS},
    engagement_rate
FROM (
    SELECT post_id, status, created_at, published_at, updated_at FROM posts_store FINAL
    WHERE workspace_id = {{workspace:String}} AND is_deleted = 0 AND {_PUBLISHED}
        AND ({{channel:String}} = '' OR post_id IN (SELECT post_id FROM ({_LISTED})))
) AS held
LEFT JOIN (
    WITH {RATED_TARGETS} AS rated_targets
    SELECT post_id, captured_at, {_POST_COLUMNS}, {TOTAL_ENGAGEMENT_RATE} AS engagement_rate
    FROM post_totals_store FINAL
    WHERE workspace_id = {{workspace:String}} AND generation = {GENERATION} AND is_deleted = 0
) AS totals USING (post_id)
ORDER BY post_id
{_SETTINGS}
""",
    time="published_at",
)

_CATALOG_TARGET = (
    "Array(Tuple(target_id String, channel_id String, post_type String, status String, external_id String,"
    " permalink Nullable(String), content Nullable(String)))"
)
TARGETS = Dataset(
    "targets",
    "One row for each target, with its latest figures. The span limits the time of publishing.",
    f"""
SELECT target_id, post_id, channel_id, platform, <catalog.post_type>, status, <catalog.external_id>,
    <catalog.permalink>, <catalog.content>, published_at, captured_at, {_POST_COLUMNS}, {_ENGAGEMENTS}, {RATE}
FROM (
    SELECT target_id, post_id, channel_id, published_at, captured_at, {_POST_COLUMNS}
    FROM latest_post_metrics_store FINAL
    WHERE workspace_id = {{workspace:String}} AND generation = {GENERATION} AND is_listed = 1
        AND {_OF_CHANNEL} AND {_PUBLISHED}
) AS latest
INNER JOIN (
    SELECT post_id, entry.target_id AS target_id, entry.post_type AS post_type, entry.status AS status,
        entry.external_id AS external_id, entry.permalink AS permalink, entry.content AS content
    FROM (
        SELECT post_id, arrayJoin(JSONExtract(targets, '{_CATALOG_TARGET}')) AS entry FROM posts_store FINAL
        WHERE workspace_id = {{workspace:String}} AND is_deleted = 0
    )
    WHERE entry.status != 'deleted'
) AS catalog USING (post_id, target_id)
INNER JOIN (SELECT channel_id, platform FROM ({_CHANNELS})) AS channels USING (channel_id)
ORDER BY target_id
{_SETTINGS}
""",
    time="published_at",
)

CHANNELS = Dataset(
    "channels",
    "One row for each channel, with its latest lifetime figures.",
    f"""
SELECT channel_id, platform, <channels.external_id>, <channels.username>, status, updated_at, captured_at,
    {_CHANNEL_COLUMNS}
FROM ({_CHANNELS}) AS channels
LEFT JOIN (
    SELECT channel_id, toNullable(captured_at) AS captured_at, {_CHANNEL_COLUMNS}
    FROM latest_channel_metrics_store FINAL
    WHERE workspace_id = {{workspace:String}} AND generation = {GENERATION} AND period = 'lifetime'
) AS latest USING (channel_id)
ORDER BY channel_id
{_SETTINGS}
""",
)

POST_SNAPSHOTS = Dataset(
    "post-snapshots",
    "One row for each target in each answer: the answer's figures, null for figures that the answer does not hold. "
    "The span limits the time of the answer.",
    f"""
SELECT <snapshots.event_id>, target_id, listed.post_id AS post_id, listed.channel_id AS channel_id, platform,
    captured_at, origin, {_POST_COLUMNS}, {_ENGAGEMENTS}, {RATE}
FROM (
    SELECT event_id, target_id, platform, captured_at, origin, {_POST_COLUMNS} FROM post_snapshots_store FINAL
    WHERE workspace_id = {{workspace:String}} AND generation = {GENERATION} AND {_within("captured_at")}
    ORDER BY target_id, event_id
) AS snapshots
INNER JOIN ({_LISTED}) AS listed USING (target_id)
{_SETTINGS_IN_ORDER}
""",
    time="captured_at",
)

CHANNEL_SNAPSHOTS = Dataset(
    "channel-snapshots",
    "One row for each channel's period in each answer: the answer's figures. The span limits the time of the answer.",
    f"""
SELECT <snapshots.event_id>, channel_id, platform, captured_at, origin, period, period_start, period_end,
    {_CHANNEL_COLUMNS}
FROM channel_snapshots_store AS snapshots FINAL
WHERE workspace_id = {{workspace:String}} AND generation = {GENERATION} AND {_within("captured_at")}
    AND {_OF_CHANNEL} AND channel_id IN ({LIVE_CHANNELS})
ORDER BY channel_id, snapshots.event_id, period, period_start, period_end
{_SETTINGS}
""",
    time="captured_at",
)

DATASETS = {held.name: held for held in (POSTS, TARGETS, CHANNELS, POST_SNAPSHOTS, CHANNEL_SNAPSHOTS)}


def statement(dataset: Dataset, *, is_for_spreadsheets: bool) -> str:
    """The statement of a data set.

    Args:
        is_for_spreadsheets: put an apostrophe before text that a spreadsheet would read as a formula. Ids of the
            catalog stay unchanged: they hold no character that a formula needs to call or reach anything.
    """

    def column(found: re.Match[str]) -> str:
        name = found.group(1)
        shown = f"if(match({name}, '{FORMULA}'), concat('\\'', {name}), {name})" if is_for_spreadsheets else name
        return f"{shown} AS {name.partition('.')[2]}"

    return _TEXT.sub(column, dataset.sql)
