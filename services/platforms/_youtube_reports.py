"""YouTube Analytics v2 reports: what is asked of them, and how their columns are read. No platform of its own.

Documentation: https://developers.google.com/youtube/analytics/reference/reports/query, .../metrics; read 2026-11-30.

Uncertain, and how it is read here:
- Columns are known by their names. Some answers' headers carry nothing else, so a column is a dimension where its
  header says so, where the request names it as one, or where its name is a known dimension's.
- An answer without rows says nothing: its days were not processed yet.
- Figures cover the dates asked for. A report that begins before YouTube did and ends no earlier than the day of its
  answer covers the whole life of each video, as far as Analytics has come (2 to 3 days ago). What the Data API has no
  figure of is then the lifetime's; views, likes, dislikes and comments stay figures of a range, since those of the Data
  API are ahead of them.
- Rows of a report that is split by anything but video (posts) or day (channels) are refused.
- `videosAddedToPlaylists` is no save: one video in two lists counts twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from fractions import Fraction
from typing import Any

from schemas import metrics, tiers
from schemas.events import PlatformRaw, RawKind
from services.platforms import base, json_reading, report_days

ORIGIN = "https://youtubeanalytics.googleapis.com"
GROUP = "analytics"
# Most ids in one `filters=video==`.
BATCH_SIZE = 500
# Days asked for of a channel: 28 reported days, and the days that are not reported yet.
REPORT_DAYS = 33
# The first video of YouTube is of 2005-04-23; no video's life began before this day.
FIRST_DAY = date(2005, 2, 14)
# Days after which Analytics may have processed a first day of a video.
LATE_DAYS = 2
_DAY_MS = 86_400_000

# Position, and milliseconds in one unit of a duration (0: a count).
_POST_COLUMNS = {
    "views": (metrics.VIEWS, 0),
    "likes": (metrics.LIKES, 0),
    "dislikes": (metrics.DISLIKES, 0),
    "comments": (metrics.COMMENTS, 0),
    "shares": (metrics.SHARES, 0),
    "subscribersGained": (metrics.FOLLOWS, 0),
    "videoThumbnailImpressions": (metrics.IMPRESSIONS, 0),
    "estimatedMinutesWatched": (metrics.WATCH_TIME, 60_000),
    "averageViewDuration": (metrics.AVG_WATCH_TIME, 1000),
}
_CHANNEL_COLUMNS = {
    "views": (metrics.CH_VIEWS, 0),
    "likes": (metrics.CH_LIKES, 0),
    "comments": (metrics.CH_COMMENTS, 0),
    "shares": (metrics.CH_SHARES, 0),
    "videoThumbnailImpressions": (metrics.CH_IMPRESSIONS, 0),
    "estimatedMinutesWatched": (metrics.CH_WATCH_TIME, 60_000),
}
_POST_ASKED = "estimatedMinutesWatched,averageViewDuration,shares,subscribersGained"
_CHANNEL_ASKED = "views,likes,comments,shares,estimatedMinutesWatched"
_OWN_BITS = json_reading.bits(metrics.SHARES, metrics.FOLLOWS, metrics.WATCH_TIME, metrics.AVG_WATCH_TIME)
"""What the Data API has no figure of."""
_DIMENSIONS = frozenset({"video", "day", "month", "channel", "country", "playlist", "group", "deviceType", "ageGroup"})


def is_due(channel: base.Channel, published_at: int, now: int) -> bool:
    """Whether a poll at an instant (ms) is the one of the day that asks Analytics for a video.

    Reports change once a day, and a poll knows nothing of those before it. So each channel has its own hour of the day,
    and the first poll of a target after that hour asks: the hour lies within the target's interval before the poll.
    """
    interval = tiers.rule_of("youtube").interval(now - published_at) or tiers.CHANNEL_INTERVAL
    hour = int(tiers.jitter(f"{channel.workspace_id}/{channel.channel_id}") * _DAY_MS)
    return (now - hour) // _DAY_MS != (now - interval - hour) // _DAY_MS


def post_calls(channel: base.Channel, targets: Sequence[base.Target], now: int) -> list[base.Call]:
    """Lifetime reports of those videos that are due for theirs.

    Videos that are too young for any day of theirs to be processed, and those of unknown age, are left out. Each video
    is judged alone, so that a part of a call's targets is asked for by the same kind of call.
    """
    ages = [(target, target.published_at) for target in targets if target.published_at is not None]
    old = [target for target, at in ages if now - at >= LATE_DAYS * _DAY_MS and is_due(channel, at, now)]
    calls = []
    for part in _batches(old):
        ids = ",".join(dict.fromkeys(target.external_id for target in part))
        query = (
            ("ids", f"channel=={channel.external_id}"),
            ("startDate", FIRST_DAY.isoformat()),
            ("endDate", report_days.pacific_day(now).isoformat()),
            ("metrics", _POST_ASKED),
            ("dimensions", "video"),
            ("filters", f"video=={ids}"),
        )
        calls.append(_call(RawKind.POST_METRICS, query, "posts/report", part))
    return calls


def _batches(targets: Sequence[base.Target]) -> Iterator[tuple[base.Target, ...]]:
    """Batches of 500 targets, of which no more have one video than an event may name."""
    seen: dict[str, int] = {}
    rounds: dict[int, list[base.Target]] = {}
    for target in targets:
        before = seen[target.external_id] = seen.get(target.external_id, -1) + 1
        rounds.setdefault(before // base.SAME_ID_MAX, []).append(target)
    for of_round in rounds.values():
        for start in range(0, len(of_round), BATCH_SIZE):
            yield tuple(of_round[start : start + BATCH_SIZE])


def channel_call(channel: base.Channel, now: int) -> base.Call:
    """The channel's last reported days; `now` in ms."""
    today = report_days.pacific_day(now)
    query = (
        ("ids", f"channel=={channel.external_id}"),
        ("startDate", (today - timedelta(days=REPORT_DAYS)).isoformat()),
        ("endDate", today.isoformat()),
        ("metrics", _CHANNEL_ASKED),
        ("dimensions", "day"),
        ("sort", "day"),
    )
    return _call(RawKind.CHANNEL_METRICS, query, "channel/report")


def _call(
    kind: str, query: tuple[tuple[str, str], ...], shape: str, targets: tuple[base.Target, ...] = ()
) -> base.Call:
    return base.Call(
        kind, "GET", "/v2/reports", query, targets=targets, limit_group=GROUP, base_url=ORIGIN, shape=shape
    )


class Report:
    """An Analytics answer: named columns, positional rows.

    Args:
        asked: the request's parameters.

    Raises:
        MappingError: `unexpected_shape`.
    """

    def __init__(self, answer: dict[str, Any], asked: Mapping[str, str]) -> None:
        rows = answer.get("rows") or []
        if not isinstance(rows, list):
            raise base.MappingError("unexpected_shape", f"rows is a JSON {type(rows).__name__}, expected a list")
        headers = json_reading.objects(answer.get("columnHeaders") or ([] if not rows else None), "columnHeaders")
        self.names = [json_reading.text(header.get("name")) for header in headers]
        named = _DIMENSIONS | frozenset(asked.get("dimensions", "").split(","))
        self.dimensions = [
            name
            for name, header in zip(self.names, headers, strict=True)
            if header.get("columnType", "DIMENSION" if name in named else "METRIC") == "DIMENSION"
        ]
        for row in rows:
            if not isinstance(row, list) or len(row) != len(self.names):
                raise base.MappingError("unexpected_shape", "a row doesn't fit the column headers")
        self.rows: list[list[Any]] = rows

    def figures(
        self, row: list[Any], columns: Mapping[str, tuple[int, int]], empty: tuple[int | None, ...]
    ) -> tuple[int, tuple[int | None, ...]]:
        """The figures of one row: the mask of reported metrics, and values."""
        values = list(empty)
        spoken = 0
        for name, cell in zip(self.names, row, strict=True):
            column = columns.get(name)
            if column is not None:
                values[column[0]] = _figure(cell, name, column[1])
                spoken |= 1 << column[0]
        return spoken, tuple(values)


def posts(event: PlatformRaw, report: Report) -> base.Reading:
    """Rows split by video, or the one row of the one video that the report was filtered to.

    Raises:
        MappingError: `unexpected_shape`, `bad_count`.
    """
    if not report.rows:
        return base.NOTHING
    wanted = json_reading.positions(event)
    only = _filtered_videos(event)
    if report.dimensions == ["video"]:
        column = report.names.index("video")
        named = [(row[column], row) for row in report.rows]
    elif not report.dimensions and len(only) == 1:
        named = [(only[0], row) for row in report.rows[:1]]
    else:
        raise base.MappingError("unexpected_shape", f"a report of posts is split by {report.dimensions}")
    whole = _OWN_BITS if _covers_a_life(event) else 0
    found: dict[str, json_reading.Figures] = {}
    for external_id, row in named:
        if not isinstance(external_id, str) or external_id not in wanted:
            continue
        spoken, values = report.figures(row, _POST_COLUMNS, metrics.NO_POST_VALUES)
        if spoken:
            found.setdefault(external_id, (spoken, spoken & ~whole, values))
    return base.Reading(json_reading.readings(found, wanted))


def periods(event: PlatformRaw, report: Report) -> tuple[base.ChannelReading, ...]:
    """Rows split by day, or the one row of the whole range; nothing of a report that is filtered to some videos.

    Raises:
        MappingError: `unexpected_shape`, `bad_count`.
    """
    if _filtered_videos(event) or not report.rows:
        return ()
    if report.dimensions == ["day"]:
        column = report.names.index("day")
        named = [(_day(row[column], "day"), _day(row[column], "day"), row) for row in report.rows]
    elif not report.dimensions:
        first, last = (_day(event.request.get(name), name) for name in ("startDate", "endDate"))
        named = [(first, last, row) for row in report.rows[:1]]
    else:
        raise base.MappingError("unexpected_shape", f"a report of a channel is split by {report.dimensions}")
    readings: dict[tuple[date, date], base.ChannelReading] = {}
    for first, last, row in named:
        if first is None or last is None or last < first:
            continue
        spoken, values = report.figures(row, _CHANNEL_COLUMNS, metrics.NO_CHANNEL_VALUES)
        if spoken:
            period = "day" if first == last else "window"
            start, end = report_days.pacific_midnight(first), report_days.pacific_midnight(last + timedelta(days=1))
            readings.setdefault((first, last), base.ChannelReading(period, start, end, spoken, values))
    return tuple(readings.values())


def _covers_a_life(event: PlatformRaw) -> bool:
    """Whether a report's dates cover all that a video can have had until its answer."""
    try:
        first, last = (_day(event.request.get(name), name) for name in ("startDate", "endDate"))
        answered = report_days.pacific_day(event.captured_at)
    except (base.MappingError, ValueError, OverflowError):
        return False
    # The answer may come a moment after midnight.
    return first is not None and last is not None and first <= FIRST_DAY and last >= answered - timedelta(days=1)


def _figure(value: Any, name: str, millis_of_unit: int) -> int | None:
    """A cell of a report: a count, or a duration in whole milliseconds.

    Raises:
        MappingError: `bad_count`.
    """
    if not millis_of_unit or value is None:
        return json_reading.count(value, name)
    if type(value) in (int, float) and abs(value) < metrics.MILLIS_MAX // millis_of_unit:
        # By its digits, so that 12.3455 s is not the binary fraction just below it.
        return metrics.round_half_up(Fraction(repr(value)) * millis_of_unit)
    raise base.MappingError("bad_count", f"{name} is no duration: a {type(value).__name__}")


def _day(text: Any, name: str) -> date | None:
    """An ISO date; None when there is none.

    Raises:
        MappingError: `unexpected_shape`.
    """
    if text is None:
        return None
    try:
        day = date.fromisoformat(text)
    except (TypeError, ValueError):
        raise base.MappingError("unexpected_shape", f"{name} is no date") from None
    if not report_days.EARLIEST < report_days.pacific_midnight(day) < report_days.LATEST - 2 * _DAY_MS:
        raise base.MappingError("unexpected_shape", f"{name} is no date of a report")
    return day


def _filtered_videos(event: PlatformRaw) -> list[str]:
    """Ids of a report's `filters=video==a,b`."""
    for part in event.request.get("filters", "").split(";"):
        name, _, ids = part.partition("==")
        if name == "video":
            return ids.split(",")
    return []
