"""What is special about YouTube."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from schemas.events import PlatformRaw
from schemas.metrics import AVG_WATCH_TIME, VIEWS, WATCH_TIME
from services.platforms.base import Channel, MappingError, Outcome
from services.platforms.youtube import ANALYTICS_URL, PLATFORM
from tests.unit.platforms import golden

NOW = golden.RECEIVED_AT
REPORT = golden.raw_event("youtube", golden.response("youtube", "report_videos"))
ID = REPORT.targets[0].external_id


def report(columns: dict[str, str], rows: list[Any], event: PlatformRaw = REPORT) -> PlatformRaw:
    headers = [{"name": name, "columnType": kind, "dataType": "INTEGER"} for name, kind in columns.items()]
    return replace(event, body=orjson.dumps({"columnHeaders": headers, "rows": rows}))


def test_minutes_and_seconds_become_milliseconds() -> None:
    columns = {"video": "DIMENSION", "estimatedMinutesWatched": "METRIC", "averageViewDuration": "METRIC"}
    (reading,) = PLATFORM.read(report(columns, [[ID, 7, 12.3455]])).posts
    assert reading.values[WATCH_TIME] == 420_000
    assert reading.values[AVG_WATCH_TIME] == 12_346
    assert reading.ranged == reading.spoken


def test_one_filtered_video_needs_no_dimension() -> None:
    event = replace(REPORT, request={"filters": f"video=={ID};country==US"})
    (reading,) = PLATFORM.read(report({"views": "METRIC"}, [[5]], event)).posts
    assert reading.values[VIEWS] == 5


@pytest.mark.parametrize(
    "columns", [{"views": "METRIC"}, {"country": "DIMENSION"}, {"video": "DIMENSION", "day": "DIMENSION"}]
)
def test_reports_split_otherwise_are_refused(columns: dict[str, str]) -> None:
    with pytest.raises(MappingError, match="unexpected_shape"):
        PLATFORM.read(report(columns, [["x"] * len(columns)]))


def test_a_report_of_some_videos_is_not_the_channel_s() -> None:
    event = golden.raw_event("youtube", golden.response("youtube", "report_days"))
    assert PLATFORM.read(event).channels
    assert not PLATFORM.read(replace(event, request={**event.request, "filters": "video==a"})).channels


def test_rows_must_fit_the_columns() -> None:
    with pytest.raises(MappingError, match="unexpected_shape"):
        PLATFORM.read(report({"video": "DIMENSION", "views": "METRIC"}, [[ID]]))


def test_an_absent_row_leaves_the_video_unspoken() -> None:
    reading = PLATFORM.read(report({"video": "DIMENSION", "views": "METRIC"}, []))
    assert not reading.posts
    assert not reading.gone


@pytest.mark.parametrize("value", ["12", 12, "012"])
def test_counts_are_strings_or_numbers(value: Any) -> None:
    event = golden.raw_event("youtube", golden.response("youtube", "normal"))
    items = [{"id": event.targets[0].external_id, "statistics": {"viewCount": value}}]
    (reading,) = PLATFORM.read(replace(event, body=orjson.dumps({"items": items}))).posts
    assert reading.values[VIEWS] == 12


def test_the_quota_turns_at_pacific_midnight() -> None:
    body = golden.body_of(golden.response("youtube", "quota_exhausted"))
    summer = 1_780_311_600_000  # 2026-06-01T11:00:00Z, 04:00 in Pacific daylight time
    assert PLATFORM.classify(403, {}, body, summer).retry_after_seconds == 20 * 3600
    assert PLATFORM.classify(403, {}, body, NOW).retry_after_seconds == 7 * 3600


def test_a_revoked_token_says_so() -> None:
    body = {"error": {"code": 401, "message": "Token has been revoked.", "status": "UNAUTHENTICATED"}}
    assert PLATFORM.classify(401, {}, orjson.dumps(body), NOW).outcome is Outcome.TOKEN_REVOKED


def test_days_are_asked_of_analytics() -> None:
    _, days = PLATFORM.channel_calls(Channel("w", "c", "UC1"), NOW)
    assert days.base_url == ANALYTICS_URL
    query = dict(days.query)
    assert (query["ids"], query["startDate"], query["endDate"]) == ("channel==UC1", "2026-10-18", "2026-11-20")


def test_part_of_a_report_is_its_row_by_names() -> None:
    part = PLATFORM.part(REPORT, 0)
    assert part["video"] == ID
    assert part["views"] == 340
