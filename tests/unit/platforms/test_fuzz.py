"""No bytes make a platform raise anything but a MappingError.

Answers of any shape come from Hypothesis. Golden answers with something changed are made by a plain generator: it makes
many times as many in the same time. TIDEMARK_TEST_SEED repeats them.
"""

from __future__ import annotations

import os
import random
import secrets
from contextlib import suppress
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.events import Origin, PlatformRaw, RawTarget
from schemas.metrics import CHANNEL_NAMES, INT64_MAX, INT64_MIN, MILLIS_MAX, POST_NAMES
from services.platforms import all_platforms, platform
from services.platforms.abilities import Refreshable
from services.platforms.base import MappingError, Outcome
from tests.support import properties
from tests.unit.platforms import golden

NAMES = sorted(all_platforms())
CASES = {
    name: [case for of, case in golden.cases() if of == name and "body" in golden.response(name, case)]
    for name in NAMES
}
SEED = int(os.environ.get("TIDEMARK_TEST_SEED") or secrets.randbelow(10**6))
# Of each golden answer.
CHANGED, CUT_SHORT = properties.of(100), properties.of(40)
FUZZ = settings(max_examples=properties.of(120), deadline=None, suppress_health_check=list(HealthCheck))

ODD = (
    *("", "-", "--1", "12a", "٣", "1e3", "9" * 30, "-9223372036854775809"),
    *("2026-13-45", "9999-12-31", "0001-01-01", "a,b"),
)
NUMBERS = (-1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63), 0.5, 1e300, -0.0, 1e15)
CHARACTERS = '\0\t\n "%&-./:\\_0129azAZ~\x7f\x80é٣\u2028\ufeff\uffff\U0001f30a'
ODD_TEXTS = st.sampled_from(ODD)
SCALARS = (
    st.none() | st.booleans() | st.sampled_from(NUMBERS) | st.integers(-10, 10**6) | ODD_TEXTS | st.text(max_size=5)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)

HEADERS = [
    *("retry-after", "x-rate-limit-reset", "x-rate-limit-limit", "x-rate-limit-remaining", "x-app-usage"),
    *("ratelimit-reset", "ratelimit-limit", "ratelimit-remaining", "x-business-use-case-usage"),
    *("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "x-ratelimit-used", "www-authenticate"),
]
ODD_HEADERS = [
    *("nan", "inf", "1e400", "7", "[]", "[" * 3000),
    *('{"1": [{"call_count": "x"}]}', '{"call_count": 1e300}', '{"1": [{"estimated_time_to_regain_access": true}]}'),
]


def spots(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    found = [path]
    if isinstance(value, dict):
        for key, part in value.items():
            found += spots(part, (*path, key))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            found += spots(part, (*path, index))
    return found


def replaced(value: Any, path: tuple[Any, ...], by: Any) -> Any:
    """A copy with one place changed; `...` removes it."""
    if not path:
        return None if by is ... else by
    copy = dict(value) if isinstance(value, dict) else list(value)
    if len(path) == 1 and by is ...:
        del copy[path[0]]
    else:
        copy[path[0]] = replaced(copy[path[0]], path[1:], by)
    return copy


def check(name: str, event: PlatformRaw, headers: dict[str, str]) -> None:
    """Read, take parts and classify; values that come out must fit their columns."""
    subject = platform(name)
    for position in range(-1, len(event.targets) + 1):
        orjson.dumps(subject.part(event, position))
    verdict = subject.classify(event.http_status, headers, event.body, event.captured_at)
    assert isinstance(verdict.outcome, Outcome)
    assert verdict.retry_after_seconds is None or verdict.retry_after_seconds >= 0
    subject.limits(headers, event.captured_at)
    try:
        reading = subject.read(event)
    except MappingError as error:
        raised = error.reason
    else:
        raised = ""
    if raised:
        assert raised in {"body_not_json", "unexpected_shape", "bad_count", "unknown_endpoint"}
        return
    assert all(0 <= position < len(event.targets) for position in reading.gone)
    assert len({post.position for post in reading.posts}) == len(reading.posts)
    for post in reading.posts:
        assert 0 <= post.position < len(event.targets)
        check_values(post.spoken, post.values, POST_NAMES)
        assert post.ranged & ~post.spoken == 0
    for channel in reading.channels:
        check_values(channel.spoken, channel.values, CHANNEL_NAMES)
        if channel.period == "lifetime":
            assert channel.period_start is None
        else:
            assert channel.period_start is not None
            assert channel.period_end is not None
            # What ClickHouse's times can hold.
            assert 0 <= channel.period_start < channel.period_end < 4_102_444_800_000


def check_values(spoken: int, values: tuple[int | None, ...], names: tuple[str, ...]) -> None:
    assert len(values) == len(names)
    assert 0 < spoken < 1 << len(names)
    for position, value in enumerate(values):
        if value is not None:
            assert type(value) is int
            assert spoken >> position & 1
            assert INT64_MIN <= value <= INT64_MAX
            if names[position].endswith("_seconds"):
                assert abs(value) <= MILLIS_MAX


@pytest.mark.parametrize("name", NAMES)
@FUZZ
@given(
    body=st.binary(max_size=60) | st.builds(orjson.dumps, VALUES),
    endpoint=st.text(max_size=30)
    | st.sampled_from(["", "/", "//", "://", "/v2/reports", "/2/tweets", "/v25.0", "?", "/v1/1/insights"]),
    kind=st.sampled_from(["POST_METRICS", "CHANNEL_METRICS", "IDENTITY", "OTHER"]),
    status=st.sampled_from([200, 201, 299, 304, 400, 401, 403, 404, 429, 500, 0, 999]),
    request_map=st.dictionaries(
        st.sampled_from(["ids", "fields", "metric", "filters", "since"]), ODD_TEXTS, max_size=3
    ),
)
def test_any_bytes(name: str, body: bytes, endpoint: str, kind: str, status: int, request_map: dict[str, str]) -> None:
    targets = (RawTarget("t1", "p1", "1"), RawTarget("t2", "p2", ""))
    event = PlatformRaw("e", "w", "c", name, kind, endpoint, request_map, targets, status, body, 0, Origin.LIVE)
    check(name, event, {})


def odd_text(chance: random.Random) -> str:
    return "".join(chance.choices(CHARACTERS, k=chance.randint(0, 5)))


def odd_value(chance: random.Random, depth: int = 2) -> Any:
    """A JSON value of any kind, the awkward ones more often."""
    kind = chance.randrange(8 if depth else 6)
    if kind == 0:
        return chance.choice((None, True, False))
    if kind == 1:
        return chance.choice(NUMBERS)
    if kind == 2:
        return chance.randint(-10, 10**6)
    if kind == 3:
        return odd_text(chance)
    if kind < 6:
        return chance.choice(ODD)
    parts = [odd_value(chance, depth - 1) for _ in range(chance.randint(0, 3))]
    return parts if kind == 6 else {odd_text(chance): part for part in parts}


@pytest.mark.hypothesis
@pytest.mark.parametrize("name", NAMES)
def test_golden_answers_with_something_changed(name: str) -> None:
    for case in CASES[name]:
        answer, chance = golden.response(name, case), random.Random(f"{SEED} {case}")
        for number in range(CHANGED):
            body, request = answer["body"], dict(answer["request"])
            for _ in range(chance.randint(1, 3)):
                body = replaced(body, chance.choice(spots(body)), ... if chance.random() < 0.3 else odd_value(chance))
            for key in request:
                if chance.random() < 0.2:
                    request[key] = chance.choice(ODD)
            changed = {**answer, "body": body, "request": request}
            changed["http_status"] = chance.choice((answer["http_status"], 200))
            checked(name, f"{case} {number}", golden.raw_event(name, changed))


@pytest.mark.hypothesis
@pytest.mark.parametrize("name", NAMES)
def test_golden_answers_cut_short(name: str) -> None:
    for case in CASES[name]:
        answer, chance = golden.response(name, case), random.Random(f"{SEED} {case}")
        whole = golden.raw_event(name, answer)
        for length in chance.choices(range(len(whole.body) + 1), k=CUT_SHORT):
            checked(name, f"{case} {length}", replace(whole, body=whole.body[:length]))


def checked(name: str, what: str, event: PlatformRaw) -> None:
    """`check`, whose failure names the seed and shows the answer."""
    try:
        check(name, event, {})
    except Exception as error:
        error.add_note(f"TIDEMARK_TEST_SEED={SEED}, {what}: {event}")
        raise


@pytest.mark.parametrize("name", NAMES)
@FUZZ
@given(
    headers=st.dictionaries(st.sampled_from(HEADERS), ODD_TEXTS | st.sampled_from(ODD_HEADERS)),
    status=st.sampled_from([200, 400, 403, 429, 500]),
    now=st.integers(0, 4 * 10**12),
)
def test_any_headers(name: str, headers: dict[str, str], status: int, now: int) -> None:
    platform(name).limits(headers, now)
    platform(name).classify(status, headers, b"{}", now)
    answer = golden.response(name, "rate_limited")
    platform(name).classify(answer["http_status"], headers, golden.body_of(answer), now)


@pytest.mark.hypothesis
@pytest.mark.parametrize("name", NAMES)
def test_deep_nesting_anywhere_in_a_golden_answer(name: str) -> None:
    """Just as deep as a JSON decoder goes, and deeper than Python shows a value."""
    for case in properties.part_of(CASES[name]):
        try:
            check_deep_nesting(name, golden.response(name, case))
        except Exception as error:
            error.add_note(f"{name}, {case}")
            raise


def check_deep_nesting(name: str, answer: dict[str, Any]) -> None:
    deep, subject = b"[" * 950 + b"]" * 950, platform(name)
    # Of the items of a list the first and the last: those between them are read alike.
    places = {
        tuple(part if isinstance(part, str) else part > 0 for part in spot): spot for spot in spots(answer["body"])
    }
    for spot in places.values():
        body = orjson.dumps(replaced(answer["body"], spot, "@deep")).replace(b'"@deep"', deep)
        for status in {200, answer["http_status"]}:
            event = replace(golden.raw_event(name, answer), body=body, http_status=status)
            assert isinstance(subject.classify(status, {}, body, 0).outcome, Outcome)
            if isinstance(subject, Refreshable):
                subject.read_refresh(status, {}, body)
            subject.part(event, 0)
            with suppress(MappingError):
                subject.read(event)


NO_FIGURES = {"id", "pin_id", "year", "month", "day"}


def without_figures(value: Any, key: str = "") -> Any:
    """A copy with null in place of each number, also of those in texts."""
    if isinstance(value, dict):
        return {name: without_figures(part, name) for name, part in value.items()}
    if isinstance(value, list):
        return [without_figures(part, key) for part in value]
    is_number = type(value) in (int, float) or (isinstance(value, str) and value.lstrip("-").isdigit())
    return None if is_number and key not in NO_FIGURES else value


@pytest.mark.parametrize("name", NAMES)
def test_no_figure_comes_of_an_answer_without_one(name: str) -> None:
    for case in CASES[name]:
        check_no_figure(name, case)


def check_no_figure(name: str, case: str) -> None:
    answer = golden.response(name, case)
    event = golden.raw_event(name, {**answer, "body": without_figures(answer["body"])})
    with suppress(MappingError):
        reading = platform(name).read(event)
        # Google leaves the value of a zero out.
        zeros = name == "google_business" and case in ("hidden_metric", "foreign_absent_value")
        values = [said.values for said in reading.posts] + [said.values for said in reading.channels]
        told = {value for of_one in values for value in of_one if value is not None}
        assert told <= ({0} if zeros else set()), case
