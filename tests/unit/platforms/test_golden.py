"""The contract suite of platforms: every file of the folder has a complete header, golden cases, and keeps to them."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from schemas.events import PlatformRaw, RawKind
from schemas.metrics import PLATFORMS, POST_NAMES
from services.platforms import all_platforms, platform
from services.platforms.abilities import AnswersApart
from services.platforms.base import NOTHING, Call, Channel, MappingError, Outcome, Reading, Target
from tests.unit.platforms import golden

NAMES = sorted(all_platforms())
CASES = {name: [case for of, case in golden.cases() if of == name] for name in NAMES}
# What every platform has to be tried with; a platform adds its own.
REQUIRED_CASES = (
    "normal",
    "batch",
    "missing_metric",
    "hidden_metric",
    "one_gone",
    "rate_limited",
    "token_expired",
    "permission_missing",
    "unknown_field",
    "empty",
    "channel",
)
NOW = golden.RECEIVED_AT
CHANNEL = Channel("workspace-1", "channel-1", "1234567890", "name")


def calls_of(name: str, targets: list[Target], now: int | None = NOW) -> list[Call]:
    return platform(name).post_calls(CHANNEL, targets, now)


def targets_of(count: int) -> list[Target]:
    return [Target(f"t{n}", f"p{n}", str(10**17 + n), published_at=NOW - 3_600_000) for n in range(count)]


# A platform that reports no figure of posts is never asked for one.
WITH_POSTS = [name for name in NAMES if set(platform(name).facts.not_reported) != set(POST_NAMES)]


def test_every_platform_of_the_contract_has_a_file() -> None:
    assert set(NAMES) >= set(PLATFORMS)


@pytest.mark.parametrize("name", NAMES)
def test_header_is_complete(name: str) -> None:
    facts = platform(name).facts
    assert facts.base_url.startswith("https://")
    assert not facts.base_url.endswith("/")
    assert facts.documentation.startswith("https://")
    assert date.fromisoformat(facts.read_on) >= date(2026, 1, 1)
    assert facts.auth
    assert facts.rate_limit
    assert facts.post_batch_size >= 1
    assert set(facts.not_reported) <= set(POST_NAMES)
    assert all(facts.not_reported.values())
    header = sys.modules[type(platform(name)).__module__].__doc__ or ""
    for fact in ("Documentation:", "Auth:", "Rate limit:", "Poll interval:", "Cannot supply:"):
        assert fact in header, f"{name}: the module's header has no line {fact}"


@pytest.mark.parametrize("name", NAMES)
def test_golden_cases_are_there(name: str) -> None:
    present = {case for of_platform, case in golden.cases() if of_platform == name}
    assert present >= set(REQUIRED_CASES), f"add tests/golden/platforms/{name}/<case>.response.json"


def test_no_golden_file_is_orphaned() -> None:
    for path in golden.ROOT.glob("*/*"):
        case = Path(path.name.removesuffix(".json")).stem
        assert path.parent.name in NAMES
        assert (path.parent / f"{case}.response.json").exists()
        assert (path.parent / f"{case}.events.json").exists()


@pytest.mark.parametrize(("name", "case"), golden.cases())
def test_golden(name: str, case: str) -> None:
    answer = golden.response(name, case)
    assert answer["source"], "name where the shape comes from"
    assert golden.outcome_of(platform(name), answer) == golden.expected(name, case)


def read(name: str, event: PlatformRaw) -> Reading | str:
    """What the answer says, or why it can't be used."""
    try:
        return platform(name).read(event)
    except MappingError as error:
        return error.reason


@pytest.mark.parametrize("name", NAMES)
def test_reading_is_repeatable_and_failures_say_nothing(name: str) -> None:
    for case in CASES[name]:
        event = golden.raw_event(name, golden.response(name, case))
        first = read(name, event)
        assert first == read(name, event), case
        assert event.http_status < 300 or first == NOTHING, case


@pytest.mark.parametrize("name", NAMES)
def test_never_speaks_of_what_the_header_excludes(name: str) -> None:
    for case in CASES[name]:
        posts = golden.expected(name, case).get("posts", ())
        spoken = {metric for post in posts for metric in post["metrics"]}
        # Instagram still answers impressions and video views of old media; the header says for which.
        assert spoken.isdisjoint(platform(name).facts.not_reported), case


@pytest.mark.parametrize("name", WITH_POSTS)
def test_part_is_the_target_s_own(name: str) -> None:
    answer = golden.response(name, "batch")
    event = golden.raw_event(name, answer)
    reading = platform(name).read(event)
    parts = {post.position: platform(name).part(event, post.position) for post in reading.posts}
    assert all(parts.values())
    assert len({repr(part) for part in parts.values()}) == len(parts)
    assert platform(name).part(event, len(event.targets)) == {}


@pytest.mark.parametrize("name", NAMES)
def test_failed_answers_at_any_path_say_nothing(name: str) -> None:
    answer = {**golden.response(name, "normal"), "endpoint": "/nowhere", "http_status": 500}
    assert platform(name).read(golden.raw_event(name, answer)) == NOTHING


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", list(RawKind))
def test_unknown_endpoint(name: str, kind: RawKind) -> None:
    answer = {**golden.response(name, "normal"), "endpoint": "/v9/no/such/path/here", "kind": kind}
    with pytest.raises(MappingError) as raised:
        platform(name).read(golden.raw_event(name, answer))
    assert raised.value.reason == "unknown_endpoint"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "body_not_json"),
        (b"<html>", "body_not_json"),
        (b'{"data": ', "body_not_json"),
        (b'{"a": NaN}', "body_not_json"),
        ("{}".encode("utf-16"), "body_not_json"),
        (b"[" * 5000 + b"]" * 5000, "body_not_json"),
        (b"[]", "unexpected_shape"),
        (b'"text"', "unexpected_shape"),
        (b"null", "unexpected_shape"),
    ],
)
def test_success_that_is_no_answer(name: str, body: bytes, reason: str) -> None:
    event = golden.raw_event(name, golden.response(name, "normal"))
    with pytest.raises(MappingError) as raised:
        platform(name).read(replace(event, body=body))
    assert raised.value.reason == reason
    assert platform(name).part(replace(event, body=body), 0) == {}


@pytest.mark.parametrize("name", NAMES)
def test_host_version_and_query_of_the_endpoint_are_ignored(name: str) -> None:
    answer = golden.response(name, "normal")
    event = golden.raw_event(name, answer)
    path = answer["endpoint"]
    for endpoint in (
        f"https://api.example{path}",
        f"{path}?x=1",
        path.replace("v25.0", "v19.0").replace("/2/", "/v3/"),
    ):
        moved = golden.raw_event(name, {**answer, "endpoint": endpoint})
        assert platform(name).read(moved) == platform(name).read(event)


@pytest.mark.parametrize("name", WITH_POSTS)
def test_post_calls_ask_for_every_target_once_in_whole_batches(name: str) -> None:
    targets = targets_of(230)
    calls = calls_of(name, targets)
    size = platform(name).facts.post_batch_size
    asked = [target.target_id for call in calls for target in call.targets]
    assert sorted(asked) == sorted(target.target_id for target in targets)
    assert len(calls) == -(-230 // size)
    assert all(1 <= len(call.targets) <= size for call in calls)
    assert all(call.kind == RawKind.POST_METRICS and call.path.startswith("/") for call in calls)
    for call in calls:
        # In the query, in a path, or in a body.
        said = " ".join([call.path, *call.request_map().values()])
        named = [target.external_id in said for target in call.targets]
        # A list names none of them: its answer tells which it holds.
        assert all(named) or (not any(named) and isinstance(platform(name), AnswersApart))
    assert calls_of(name, []) == []


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(WITH_POSTS)))
def test_without_figures_of_posts_nothing_is_asked(name: str) -> None:
    assert calls_of(name, targets_of(3)) == []


@pytest.mark.parametrize("name", WITH_POSTS)
def test_one_external_id_for_two_targets_is_read_for_both(name: str) -> None:
    answer = golden.response(name, "normal")
    first = answer["targets"][0]
    twice = [first, {**first, "target_id": "t9"}]
    reading = platform(name).read(golden.raw_event(name, {**answer, "targets": twice}))
    assert [post.position for post in sorted(reading.posts)] == [0, 1]
    assert reading.posts[0].values == reading.posts[1].values


@pytest.mark.parametrize("name", NAMES)
def test_channel_and_identity_calls(name: str) -> None:
    calls = platform(name).channel_calls(CHANNEL, NOW)
    assert calls
    assert all(call.kind == RawKind.CHANNEL_METRICS and not call.targets for call in calls)
    assert platform(name).identity_call(CHANNEL).kind == RawKind.IDENTITY


@pytest.mark.parametrize("name", NAMES)
def test_tokens_travel_in_headers_only(name: str) -> None:
    assert "secret-token" in " ".join(platform(name).authorize("secret-token").values())
    assert platform(name).authorize(None) == {}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (500, Outcome.PLATFORM_DOWN),
        (503, Outcome.PLATFORM_DOWN),
        (429, Outcome.RETRY_LATER),
        # Only the platform's own words refuse a token: `test_foreign_bodies.py`.
        (401, Outcome.PLATFORM_DOWN),
        (403, Outcome.PLATFORM_DOWN),
        (400, Outcome.REQUEST_WRONG),
    ],
)
def test_a_failure_without_a_known_body_is_read_by_its_status(name: str, status: int, outcome: Outcome) -> None:
    verdict = platform(name).classify(status, {"retry-after": "7"}, b"<html>", NOW)
    assert verdict.outcome is outcome
    if outcome is Outcome.RETRY_LATER:
        assert verdict.retry_after_seconds == 7.0
