"""What is special about TikTok."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from schemas.metrics import SHARES, VIEWS
from services.platforms.base import NOTHING, Channel, MappingError, Outcome, Target
from services.platforms.tiktok import PLATFORM
from tests.unit.platforms import golden

NOW = golden.RECEIVED_AT
NORMAL = golden.raw_event("tiktok", golden.response("tiktok", "normal"))
ID = NORMAL.targets[0].external_id


def answer(videos: list[Any], code: str = "ok") -> bytes:
    return orjson.dumps({"data": {"videos": videos}, "error": {"code": code}})


def test_ids_travel_in_the_body_and_come_back_in_the_request() -> None:
    targets = [Target(f"t{n}", "p", str(7 * 10**18 + n)) for n in range(21)]
    first, second = PLATFORM.post_calls(Channel("w", "c", "o"), targets, NOW)
    assert first.method == "POST"
    assert first.json == {"filters": {"video_ids": [target.external_id for target in targets[:20]]}}
    assert orjson.loads(second.request_map()["body"]) == {"filters": {"video_ids": [targets[20].external_id]}}
    assert first.request_map()["fields"] == "id,view_count,like_count,comment_count,share_count"


@pytest.mark.parametrize("code", ["access_token_invalid", "rate_limit_exceeded", "anything", "0"])
def test_another_code_than_ok_says_nothing_on_any_status(code: str) -> None:
    event = replace(NORMAL, body=answer([{"id": ID, "view_count": 5}], code))
    assert PLATFORM.read(event) == NOTHING
    assert PLATFORM.classify(200, {}, event.body, NOW).outcome is not Outcome.OK


def test_a_code_weighs_more_than_the_status() -> None:
    assert PLATFORM.classify(500, {}, answer([], "access_token_invalid"), NOW).outcome is Outcome.TOKEN_EXPIRED
    assert PLATFORM.classify(401, {}, answer([], "rate_limit_exceeded"), NOW).outcome is Outcome.RETRY_LATER


def test_without_the_request_s_fields_a_video_with_counts_was_asked_for_all() -> None:
    event = replace(NORMAL, request={}, body=answer([{"id": ID, "view_count": 5}]))
    (reading,) = PLATFORM.read(event).posts
    assert reading.values[VIEWS] == 5
    assert reading.values[SHARES] is None
    assert reading.spoken >> SHARES & 1
    event = replace(NORMAL, request={}, body=answer([{"id": ID, "title": "no counts"}]))
    assert not PLATFORM.read(event).posts


def test_a_video_without_an_id_belongs_to_nobody() -> None:
    with pytest.raises(MappingError, match="unexpected_shape"):
        PLATFORM.read(replace(NORMAL, body=answer([{"view_count": 5}])))
    with pytest.raises(MappingError, match="unexpected_shape"):
        PLATFORM.read(replace(NORMAL, body=answer([{"id": True, "view_count": 5}])))


def test_a_missing_list_says_nothing_and_loses_nobody() -> None:
    body = orjson.dumps({"data": {}, "error": {"code": "ok"}})
    assert PLATFORM.read(replace(NORMAL, body=body)) == NOTHING


CODES = {
    "access_token_invalid": Outcome.TOKEN_EXPIRED,
    "scope_not_authorized": Outcome.PERMISSION_MISSING,
    "scope_permission_missed": Outcome.PERMISSION_MISSING,
    "rate_limit_exceeded": Outcome.RETRY_LATER,
    "invalid_params": Outcome.REQUEST_WRONG,
    "invalid_file_upload": Outcome.REQUEST_WRONG,
    "internal_error": Outcome.PLATFORM_DOWN,
}


@pytest.mark.parametrize("code", CODES)
def test_a_code_outweighs_whatever_status_it_comes_with(code: str) -> None:
    for status in (200, 400, 401, 403, 404, 429, 500, 503):
        assert PLATFORM.classify(status, {}, answer([], code), NOW).outcome is CODES[code], status


def test_a_bare_404_is_nobody_s_end() -> None:
    assert PLATFORM.classify(404, {}, b"<html>", NOW).outcome is Outcome.PLATFORM_DOWN


def test_a_page_of_videos_is_discovered_newest_first() -> None:
    call = PLATFORM.discovery_call(Channel("w", "c", "o"), NOW)
    assert (call.method, call.path, call.json) == ("POST", "/v2/video/list/", {"max_count": 20})
    videos = [
        {"id": 1, "create_time": 10, "title": "old"},
        {"id": "2", "create_time": 20, "share_url": "https://tiktok.example/2", "video_description": "new"},
        {"id": "3"},
    ]
    event = replace(NORMAL, kind=call.kind, endpoint=call.path, body=answer(videos))
    found = PLATFORM.discovered(event).posts
    told = [(one.external_id, one.published_at, one.content) for one in found]
    assert told == [("2", 20_000, "new"), ("1", 10_000, "old")]
    assert not PLATFORM.discovered(replace(event, http_status=500)).posts
    assert not PLATFORM.discovered(replace(event, body=answer(videos, "access_token_invalid"))).posts
    assert PLATFORM.read(event) == NOTHING
