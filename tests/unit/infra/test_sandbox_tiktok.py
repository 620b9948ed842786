"""What is special about the sandbox's TikTok."""

from __future__ import annotations

import orjson
import pytest

from infra.sandbox.ids import make_id
from schemas.events import RawKind
from services.platforms import platform
from services.platforms.base import Call, Outcome, Target
from tests.unit.infra.test_sandbox_routes import NOW, Bench, bench, channel_of, shown, target

__all__ = ["bench"]
NAME = "tiktok"


async def test_gone_and_odd_videos_cost_the_others_nothing(bench: Bench) -> None:
    targets = [target(NAME, 1), target(NAME, 2, "gone"), target(NAME, 3, "number"), target(NAME, 4, "no_stats")]
    (call,) = platform(NAME).post_calls(channel_of(NAME), targets, NOW)
    _, verdict, reading = await bench.call(NAME, call)
    assert verdict.outcome is Outcome.OK
    assert list(reading.gone) == [1]
    assert shown(reading, 2)["views"] is not None
    assert set(shown(reading, 3).values()) == {None}


async def test_too_many_ids_and_unknown_fields_are_refused(bench: Bench) -> None:
    targets = [target(NAME, number) for number in range(20)]
    (call,) = platform(NAME).post_calls(channel_of(NAME), targets, NOW)
    ids = [*call.json["filters"]["video_ids"], make_id(NAME, NOW, 99)]
    for wrong in (
        Call(call.kind, "POST", call.path, call.query, {"filters": {"video_ids": ids}}),
        Call(call.kind, "POST", call.path, (("fields", "id,saves"),), call.json),
        Call(call.kind, "POST", call.path, (), call.json),
        Call(call.kind, "POST", call.path, call.query, {}),
    ):
        answer, verdict, _ = await bench.call(NAME, wrong)
        assert answer.status_code == 400
        assert verdict.outcome is Outcome.REQUEST_WRONG


async def test_reading_is_posting(bench: Bench) -> None:
    call = Call(RawKind.POST_METRICS, "GET", "/v2/video/query/", (("fields", "id"),))
    answer, _, _ = await bench.call(NAME, call)
    assert answer.status_code == 405


@pytest.mark.parametrize("size", [1, 20])
async def test_a_page_of_videos(bench: Bench, size: int) -> None:
    body = {"max_count": size}
    answer, _, _ = await bench.call(
        NAME, Call(RawKind.POST_METRICS, "POST", "/v2/video/list/", (("fields", "id,view_count"),), body)
    )
    videos = orjson.loads(answer.content)["data"]["videos"]
    assert len(videos) == size
    asked = Target("t", "p", videos[0]["id"])
    call = Call(RawKind.POST_METRICS, "POST", "/v2/video/list/", (("fields", "id,view_count"),), body, (asked,))
    _, _, reading = await bench.call(NAME, call)
    assert shown(reading) == {"views": videos[0]["view_count"]}
    assert not reading.gone
