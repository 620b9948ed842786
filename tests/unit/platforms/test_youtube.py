"""What is special about YouTube."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from schemas.events import PlatformRaw
from schemas.metrics import AVG_WATCH_TIME, DISLIKES, VIEWS, WATCH_TIME
from services.platforms._youtube_reports import ORIGIN, is_due
from services.platforms.abilities import OwnersFigures
from services.platforms.base import SAME_ID_MAX, Call, Channel, MappingError, Outcome, Target
from services.platforms.youtube import PLATFORM
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
    assert days.base_url == ORIGIN
    query = dict(days.query)
    assert (query["ids"], query["startDate"], query["endDate"]) == ("channel==UC1", "2026-10-18", "2026-11-20")


def test_part_of_a_report_is_its_row_by_names() -> None:
    part = PLATFORM.part(REPORT, 0)
    assert part["video"] == ID
    assert part["views"] == 340


DAY = 86_400_000
OWN = Channel("w", "c", "UC1")


def video(days_old: float, number: int = 1) -> Target:
    return Target(f"t{number}", f"p{number}", f"video{number:06d}", published_at=int(NOW - days_old * DAY))


def report_calls(targets: list[Target], now: int) -> list[Call]:
    return [call for call in PLATFORM.post_calls(OWN, targets, now) if call.limit_group == "analytics"]


@pytest.mark.parametrize(("days_old", "polls"), [(3.0, 4), (30.0, 1)])
def test_analytics_is_asked_in_one_poll_of_a_day(days_old: float, polls: int) -> None:
    times = [NOW + poll * DAY // polls for poll in range(polls)]
    asked = [now for now in times if report_calls([video(days_old)], now)]
    assert len(asked) == 1


def test_channels_ask_analytics_at_hours_of_their_own() -> None:
    hours = set()
    for number in range(20):
        channel = Channel("w", f"c{number}", "UC1")
        hours.add(next(h for h in range(24) if is_due(channel, NOW - 3 * DAY, NOW + h * 3_600_000)))
    assert len(hours) > 2


def test_the_newest_stay_out_of_reports() -> None:
    targets = [video(30.0, 1), video(40.0, 2), video(1.0, 3)]
    (call,) = report_calls(targets, NOW)
    assert [target.target_id for target in call.targets] == ["t1", "t2"]
    query = dict(call.query)
    assert query["filters"] == "video==video000001,video000002"
    assert (query["startDate"], query["endDate"], query["ids"]) == ("2005-02-14", "2026-11-20", "channel==UC1")
    assert report_calls([video(1.0)], NOW) == []


@pytest.mark.parametrize("hour", range(24))
def test_a_part_of_the_targets_is_asked_for_by_calls_of_the_same_kinds(hour: int) -> None:
    """So that a call that is refused can be split until the culprit stands alone."""
    targets = [video(days, number) for number, days in enumerate((0.5, 1.0, 3.0, 5.0, 8.0, 30.0))]
    now = NOW + hour * 3_600_000
    whole = {(call.shape, one.target_id) for call in PLATFORM.post_calls(OWN, targets, now) for one in call.targets}
    alone = {(call.shape, one.target_id) for one in targets for call in PLATFORM.post_calls(OWN, [one], now)}
    assert whole == alone


def test_a_report_takes_five_hundred() -> None:
    calls = report_calls([video(30.0, number) for number in range(501)], NOW)
    assert [len(call.targets) for call in calls] == [500, 1]


def test_a_report_has_no_more_targets_of_one_video_than_an_event_may_name() -> None:
    one = video(30.0)
    targets = [replace(one, target_id=f"t{number}") for number in range(SAME_ID_MAX + 1)]
    calls = report_calls([*targets, *(video(30.0, number) for number in range(2, 10))], NOW)
    assert [len(call.targets) for call in calls] == [SAME_ID_MAX + 8, 1]


@pytest.mark.parametrize(
    ("start", "end", "is_whole"),
    [
        ("2005-02-14", "2026-11-20", True),
        ("2005-02-14", "2026-11-19", True),
        ("2005-02-14", "2026-11-18", False),
        ("2005-02-15", "2026-11-20", False),
        ("2000-01-01", "2026-11-20", True),
        ("2005-02-14", "soon", False),
    ],
)
def test_a_report_of_a_whole_life_is_a_lifetime_figure(start: str, end: str, is_whole: bool) -> None:
    event = replace(REPORT, request={**REPORT.request, "startDate": start, "endDate": end})
    columns = {"video": "DIMENSION", "views": "METRIC", "estimatedMinutesWatched": "METRIC"}
    (reading,) = PLATFORM.read(report(columns, [[ID, 5, 7]], event)).posts
    # The Data API is ahead of Analytics, so views stay figures of a range.
    assert reading.ranged == 1 << VIEWS | (0 if is_whole else 1 << WATCH_TIME)


def test_headers_may_carry_names_only() -> None:
    body = {"columnHeaders": [{"name": "video"}, {"name": "estimatedMinutesWatched"}], "rows": [[ID, 7]]}
    (reading,) = PLATFORM.read(replace(REPORT, body=orjson.dumps(body))).posts
    assert reading.values[WATCH_TIME] == 420_000


@pytest.mark.parametrize("body", [{"kind": "youtubeAnalytics#resultTable"}, {"columnHeaders": [], "rows": []}])
def test_an_answer_without_rows_says_nothing(body: dict[str, Any]) -> None:
    assert not PLATFORM.read(replace(REPORT, body=orjson.dumps(body))).posts
    days = golden.raw_event("youtube", golden.response("youtube", "report_days"))
    assert not PLATFORM.read(replace(days, body=orjson.dumps(body))).channels


def test_posts_of_a_week_are_asked_for_by_the_other_quota() -> None:
    young, old = video(1.0, 1), video(8.0, 2)
    paths = [(c.path, c.limit_group) for c in PLATFORM.post_calls(OWN, [old], NOW) if c.limit_group != "analytics"]
    assert paths == [("/youtube/v3/videos:batchGetStats", "stats")]
    mixed = [c.path for c in PLATFORM.post_calls(OWN, [young, old], NOW) if c.limit_group != "analytics"]
    assert mixed == ["/youtube/v3/videos", "/youtube/v3/videos:batchGetStats"]
    assert [c.path for c in PLATFORM.post_calls(OWN, [old])] == ["/youtube/v3/videos"]


def test_stats_say_nothing_of_dislikes_nor_of_what_failed() -> None:
    event = golden.raw_event("youtube", golden.response("youtube", "one_gone"))
    first, *others = [target.external_id for target in event.targets]
    body = {
        "kind": "youtube#batchGetStatsResponse",
        "items": [{"id": first, "statistics": {"viewCount": "5"}}],
        "summary": {"failedVideoIds": others},
    }
    moved = replace(event, endpoint="/youtube/v3/videos:batchGetStats", body=orjson.dumps(body))
    reading = PLATFORM.read(moved)
    assert not reading.posts[0].spoken >> DISLIKES & 1
    assert not reading.gone
    del body["summary"]
    assert len(PLATFORM.read(replace(moved, body=orjson.dumps(body))).gone) == len(others)


def quota(**metadata: str) -> bytes:
    info = {"reason": "RATE_LIMIT_EXCEEDED", "domain": "googleapis.com", "metadata": metadata}
    error = {"code": 429, "message": "Quota exceeded", "errors": [{"reason": "rateLimitExceeded"}], "details": [info]}
    return orjson.dumps({"error": error})


def test_a_day_s_quota_in_a_429_is_told_from_a_minute_s() -> None:
    by_name = PLATFORM.classify(429, {}, quota(quota_limit="defaultPerDayPerProject"), NOW)
    by_unit = PLATFORM.classify(429, {}, quota(quota_limit="uploads", quota_unit="1/d/{project}"), NOW)
    for verdict in (by_name, by_unit):
        assert (verdict.outcome, verdict.retry_after_seconds) == (Outcome.QUOTA_EXHAUSTED, 7 * 3600)
    minute = PLATFORM.classify(429, {}, quota(quota_limit="defaultPerMinutePerUser", quota_unit="1/min/{user}"), NOW)
    assert minute.outcome is Outcome.RETRY_LATER
    never = PLATFORM.classify(429, {}, quota(quota_limit="defaultPerDayPerProject", quota_limit_value="0"), NOW)
    assert never.outcome is Outcome.PERMISSION_MISSING


def test_a_bare_404_is_nobody_s_end() -> None:
    assert PLATFORM.classify(404, {}, b"<html>", NOW).outcome is Outcome.PLATFORM_DOWN


def test_uploads_are_discovered_newest_first() -> None:
    call = PLATFORM.discovery_call(Channel("w", "c", "UC_x5XG1OV2P6uZZ5FSM9Ttw"), NOW)
    assert dict(call.query)["playlistId"] == "UU_x5XG1OV2P6uZZ5FSM9Ttw"
    items = [
        {"snippet": {"title": "old"}, "contentDetails": {"videoId": "a", "videoPublishedAt": "2026-11-01T00:00:00Z"}},
        {"snippet": {"title": "new"}, "contentDetails": {"videoId": "b", "videoPublishedAt": "2026-11-02T00:00:00Z"}},
        {"snippet": {"title": "Private video"}, "contentDetails": {"videoId": "c"}},
    ]
    event = replace(REPORT, kind=call.kind, endpoint=call.path, body=orjson.dumps({"items": items}))
    found = PLATFORM.discovered(event).posts
    assert [(one.external_id, one.content) for one in found] == [("b", "new"), ("a", "old")]
    assert found[1].published_at == 1_793_491_200_000
    assert not PLATFORM.read(event).posts


def test_with_our_app_s_key_the_reports_are_asked_for_with_the_owner_s_token() -> None:
    """Over a day each video's report is asked for once, and by no call of the app."""
    assert isinstance(PLATFORM, OwnersFigures)
    channel, old = Channel("w", "c", "UCx"), Target("t", "p", "aB3dE5fG7hI", published_at=NOW - 40 * 86_400_000)
    day = [call for half in range(48) for call in PLATFORM.owner_calls(channel, [old], NOW + half * 1_800_000)]
    assert day
    assert {call.path for call in day} == {"/v2/reports"}
    assert [target.target_id for call in day for target in call.targets] == ["t"] * len(day)
    assert all("reports" not in call.path for call in PLATFORM.app_post_calls([old]))
