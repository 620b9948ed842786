"""Which answers tell why something is unknown, and what they mean."""

from __future__ import annotations

from typing import Any

import orjson

from schemas.events import PlatformRaw, RawTarget
from services.platforms.base import Outcome
from services.query_api.tidemark.resources.evidence import (
    Meaning,
    PlatformAnswer,
    PlatformCall,
    is_telling,
    meaning,
    newest_to_each,
    question_of,
    understood,
)
from services.query_api.tidemark.resources.states import Evidence
from tests.support.query_api import NOW
from tests.unit.platforms import golden


def asked(ids: str, fields: str = "likes", endpoint: str = "/v1/posts", **external_ids: str) -> PlatformCall:
    return PlatformCall(endpoint, {"ids": ids, "fields": fields}, external_ids or {"t1": "7001"})


def test_the_same_question_differs_in_ids_and_numbers_only() -> None:
    same = {
        question_of(asked("7001"), "t1"),
        question_of(asked("7001,7002"), "t1"),
        question_of(asked("x7001", endpoint="/v2/posts"), "t1"),
    }
    assert len(same) == 1
    assert question_of(asked("7001", fields="saves"), "t1") not in same
    assert question_of(asked("7001", endpoint="/v1/insights"), "t1") not in same
    apart = [question_of(asked("", endpoint=f"/v1/{name}/insights", t1=name), "t1") for name in ("urn:a", "urn:b")]
    assert apart[0] == apart[1]


def test_of_the_answers_to_one_question_the_newest_counts() -> None:
    answers = [
        PlatformAnswer("e3", 403, 3),
        PlatformAnswer("e1", 200, 1),
        PlatformAnswer("e2", 503, 2),
        PlatformAnswer("e0", 403, 0),
    ]
    questions = {"e1": asked("7001"), "e3": asked("7001"), "e2": asked("7001", fields="saves")}
    # The question of e0 is lost.
    assert {answer.event_id for answer in newest_to_each(answers, questions, "t1")} == {"e0", "e2", "e3"}


def test_only_failed_and_silent_answers_tell() -> None:
    spoke = {"e5": 5}
    assert not is_telling([], spoke)
    assert not is_telling([PlatformAnswer("e5", 200, 5), PlatformAnswer("e4", 200, 4)], spoke)
    assert is_telling([PlatformAnswer("e6", 200, 6)], spoke)
    assert is_telling([PlatformAnswer("e4", 403, 4)], spoke)
    assert is_telling([PlatformAnswer("e4", 200, 4)], {})
    assert is_telling([PlatformAnswer("e5", 200, 5), PlatformAnswer("e4", 200, 4)], spoke, looks_back=True)
    assert not is_telling([PlatformAnswer("e5", 200, 5)], spoke, looks_back=True)


def event(body: Any, status: int = 200, platform: str = "tiktok") -> PlatformRaw:
    return PlatformRaw(
        event_id="e1",
        workspace_id="w1",
        channel_id="c1",
        platform=platform,
        kind="POST_METRICS",
        endpoint="/v2/video/query/",
        request={"fields": "id,like_count"},
        targets=(RawTarget("t1", "p1", "1"), RawTarget("t2", "p2", "2")),
        http_status=status,
        body=orjson.dumps(body),
        captured_at=NOW,
        origin="SCHEDULE",
    )


def test_an_answer_means_what_its_platform_says() -> None:
    ok = {"error": {"code": "ok"}, "data": {"videos": [{"id": "1", "like_count": 4}]}}
    assert meaning(event(ok), NOW) == Meaning(Outcome.OK, frozenset({"t2"}))
    denied = {"error": {"code": "scope_not_authorized"}}
    assert meaning(event(denied, 401), NOW).outcome is Outcome.PERMISSION_MISSING
    assert meaning(event(ok, platform="unknown"), NOW).outcome is Outcome.REQUEST_WRONG
    assert meaning(event({"error": {"code": "ok"}, "data": {"videos": 3}}), NOW).outcome is Outcome.REQUEST_WRONG


def test_what_a_good_answer_refuses_of_one_post_is_told_of_that_one() -> None:
    partial = golden.raw_event("x", golden.response("x", "foreign_fields_of_one"))
    told = meaning(partial, NOW)
    assert told == Meaning(Outcome.OK, frozenset(), {"t2": Outcome.METRIC_FORBIDDEN})
    answer = PlatformAnswer(partial.event_id, 200, 1)
    evidence = {subject: understood(answer, subject, {partial.event_id: told}) for subject in ("t1", "t2")}
    assert {subject: one.outcome for subject, one in evidence.items()} == {
        "t1": Outcome.OK, "t2": Outcome.METRIC_FORBIDDEN,
    }  # fmt: skip


def test_without_its_body_an_answer_means_what_its_status_says() -> None:
    meanings = {"e1": Meaning(Outcome.OK, frozenset({"t1"}))}
    assert understood(PlatformAnswer("e1", 200, 1), "t1", meanings) == Evidence("e1", 1, Outcome.OK, True)
    assert understood(PlatformAnswer("e1", 200, 1), "t2", meanings) == Evidence("e1", 1, Outcome.OK, False)
    assert understood(PlatformAnswer("e2", 200, 1), "t1", meanings) == Evidence("e2", 1, Outcome.OK, False)
    assert understood(PlatformAnswer("e2", 500, 1), "t1", meanings) == Evidence("e2", 1, Outcome.REQUEST_WRONG, False)
