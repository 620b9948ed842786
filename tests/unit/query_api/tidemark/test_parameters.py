"""Parameters of Tidemark's own API: as documented, and in no other spelling."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from services.platforms import all_platforms
from services.query_api.apis import read_apis
from services.query_api.reads.query import Post, PostQuestion, SnapshotsQuestion
from services.query_api.serving.parameters import Parameters
from services.query_api.tidemark.analysis.ranges import Span, Step, buckets, zone
from services.runtime.instants import parse_instant, parse_timestamp
from tests.support.query_api import NOW, FakeApi, fake_api, target

ODD_NUMBERS = [
    "1_0",
    " 10 ",
    "+10",
    "10.0",
    "1e1",
    "\N{ARABIC-INDIC DIGIT THREE}",
    "\N{FULLWIDTH DIGIT ONE}",
    "0x1",
    "True",
]


def _numbers() -> Iterator[Any]:
    models = {endpoint.action.parameters for api in read_apis() for endpoint in api.endpoints if endpoint.body is None}
    for model in sorted(models, key=lambda one: one.__name__):
        properties = model.model_json_schema().get("properties", {}) if issubclass(model, Parameters) else {}
        for name, held in properties.items():
            kinds = {part.get("type") for part in (held, *held.get("anyOf", ()))}
            if kinds & {"integer", "number"}:
                yield pytest.param(model, name, "number" in kinds, id=f"{model.__name__}-{name}")


@pytest.mark.parametrize(("model", "name", "is_decimal"), [*_numbers()])
def test_a_number_is_written_in_digits(model: type[BaseModel], name: str, is_decimal: bool) -> None:
    def problems(text: str) -> list[str]:
        try:
            model.model_validate({name: text})
        except ValueError as error:
            return [problem["msg"] for problem in error.errors() if problem["loc"] == (name,)]  # type: ignore[attr-defined]
        return []

    for odd in ODD_NUMBERS:
        assert any("must be a" in text for text in problems(odd)) or (is_decimal and odd == "10.0"), odd
    assert not any("must be a" in text for text in problems("10"))


def test_some_numbers_are_checked() -> None:
    assert len(list(_numbers())) > 6


@pytest.fixture
def api() -> FakeApi:
    made = fake_api()
    made.add_channel("w1", "c1")
    return made


REFUSED = [
    ("/tidemark/v1/posts?limit=1_0", "limit: must be a whole number, in digits alone"),
    ("/tidemark/v1/posts?since=2026-01-01", "since: is not a known field"),
    ("/tidemark/v1/totals?start=2026-01-01&end=2026-01-02", "start: is not a known field"),
    ("/tidemark/v1/posts?limit=1&limit=2", "limit: must be given once"),
    ("/tidemark/v1/posts?ids=a&ids=b", "ids: must be given once"),
    ("/tidemark/v1/posts?platform=twitter", f"platform: must be one of {', '.join(all_platforms())}"),
    ("/tidemark/v1/channels?platform=", "platform: must be one of"),
    ("/tidemark/v1/top/posts?metric=likes&platform=X", "platform: must be one of"),
    ("/tidemark/v1/totals?tz=localtime", "tz: must be the IANA name"),
    ("/tidemark/v1/posts?from=2026-06-28T00:00:00%2B05:99", "from: must be unix seconds"),
    ("/tidemark/v1/posts?limit=x&limit=y&secret=1&secret=2", "limit: must be a whole number"),
]


@pytest.mark.parametrize(("path", "message"), REFUSED)
async def test_a_bad_parameter_is_422_that_says_what_is_wrong(api: FakeApi, path: str, message: str) -> None:
    reply = await api.client.get(path, headers=api.add_key("w1", "good"))
    assert (reply.status_code, reply.json()["code"]) == (422, "invalid_parameter")
    assert reply.json()["message"].startswith(message)


@pytest.mark.parametrize("path", ["totals?channel_ids=c1,c9", "exports/posts?channel_id=c9"])
async def test_an_unknown_channel_has_no_sums_and_no_file(api: FakeApi, path: str) -> None:
    """A list of posts passes over it instead: it filters."""
    api.add_channel("w2", "c9")
    reply = await api.client.get(f"/tidemark/v1/{path}", headers=api.add_key("w1", "good"))
    assert (reply.status_code, reply.json()["code"]) == (404, "not_found")
    assert not api.store.asked


@pytest.mark.parametrize("subject", ["posts", "targets", "channels"])
async def test_a_query_by_body_takes_a_list_in_the_body_alone(api: FakeApi, subject: str) -> None:
    key, path = api.add_key("w1", "good"), f"/tidemark/v1/{subject}/query"
    assert (await api.client.post(path, json={"ids": ["a"]}, headers=key)).status_code == 200
    as_text = await api.client.post(path, json={"ids": "a,b"}, headers=key)
    assert (as_text.status_code, as_text.json()["message"]) == (422, "ids: must be a list of ids")
    with_query = await api.client.post(f"{path}?limit=1", json={"ids": ["a"]}, headers=key)
    assert (with_query.status_code, with_query.json()["code"]) == (422, "invalid_parameter")


async def test_a_condition_may_span_lines_and_binds_get_and_head_alone(api: FakeApi) -> None:
    api.read_model.answers[PostQuestion("w1", "p1")] = Post("p1", "published", None, None, NOW, (target("t1"),))
    key = api.add_key("w1", "good")
    path = "/api/v1/posts/p1/insights"
    tag = (await api.client.get(path, headers=key)).headers["etag"]
    for method in ("GET", "HEAD"):
        for lines, status in (((tag, '"z"'), 304), (('"z"', tag), 304), (('"z"', '"y"'), 200), ((tag,), 304)):
            headers = [*key.items(), *(("if-none-match", line) for line in lines)]
            assert (await api.client.request(method, path, headers=headers)).status_code == status
    posted = await api.client.post(
        "/tidemark/v1/posts/query", json={"ids": ["p1"]}, headers={**key, "if-none-match": "*"}
    )
    assert (posted.status_code, posted.json()["missing"]) == (200, ["p1"])


async def test_products_take_the_last_of_a_repeated_parameter(api: FakeApi) -> None:
    """Their documents leave it open, and a client that worked goes on working."""
    await api.client.get("/v1/analytics?days=0&days=7", headers=api.add_key("w1", "good"))
    assert api.read_model.asked == [SnapshotsQuestion("w1", None, NOW - 7 * 86_400_000, 500)]


@pytest.mark.parametrize("text", ["2026-06-28T00:00:00+05:99", "2026-06-28T00:00:00-00:60", "20260628T000000+0560"])
def test_an_offset_has_at_most_59_minutes(text: str) -> None:
    for parse in (parse_instant, parse_timestamp):
        with pytest.raises(ValueError, match="must be"):
            parse(text)
    assert parse_instant("2026-06-28T00:00:00+05:59") == parse_timestamp("2026-06-28T00:00:00+05:59")


@pytest.mark.parametrize("name", ["localtime", "posixrules", "Factory", "posix/UTC", "right/UTC"])
def test_a_zone_is_no_file_beside_the_zones(name: str) -> None:
    with pytest.raises(ValueError, match="IANA"):
        zone(name)


def test_a_longer_step_is_offered_where_there_is_one() -> None:
    hours = Span(0, 20_000 * 3_600_000)
    days = Span(0, 20_000 * 86_400_000)
    for span, step, has_steps, ending in (
        (hours, Step.HOUR, True, "shorter span or a longer step"),
        (hours, Step.HOUR, False, "shorter span"),
        (days, Step.DAY, True, "shorter span"),
    ):
        with pytest.raises(ValueError, match=f"ask for a {ending}$"):
            buckets(span, step, zone("UTC"), has_steps=has_steps)
