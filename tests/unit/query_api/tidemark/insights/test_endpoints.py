"""Parameters, refusals and replies of insights, over fakes."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import httpx
import pytest

from schemas.tiers import COMMON, MILLIS_PER_DAY, MILLIS_PER_HOUR
from services.query_api.errors import ReadsUnavailable
from services.query_api.tidemark.analysis.ranges import Span, Step, buckets
from services.query_api.tidemark.insights import sql
from services.query_api.tidemark.insights.cells import cells_of
from services.query_api.tidemark.insights.measures import AGES, METRICS, ages_up_to, parts_of, within
from services.runtime.clock import to_millis
from tests.support.query_api import NOW, FakeApi, fake_api

NAMES = ("best-times", "decay", "unusual")
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture
def api() -> FakeApi:
    """A workspace with one channel."""
    found = fake_api()
    found.add_channel("w1", "c1")
    return found


async def get(api: FakeApi, path: str, **params: str) -> httpx.Response:
    return await api.client.get(f"/tidemark/v1/insights/{path}", params=params or None, headers=api.add_key("w1", "k"))


@pytest.mark.parametrize(
    ("path", "params", "said"),
    [
        *((name, {"metric": "watch_time_seconds"}, "metric") for name in NAMES),
        *((name, {"tz": "Nowhere"}, "tz: must be the IANA name") for name in NAMES),
        *((name, {"from": "2026-06-02", "to": "2026-06-01"}, "from: must be before to") for name in NAMES),
        *((name, {"days": "3"}, "days") for name in NAMES),
        ("best-times", {"age_hours": "0"}, "age_hours"),
        ("best-times", {"age_hours": "673"}, "age_hours"),
        ("best-times", {"from": "2020-01-01"}, "more than 10000 points"),
        ("decay", {"base_days": "91"}, "base_days"),
        ("unusual", {"factor": "1"}, "factor"),
        ("unusual", {"limit": "501"}, "limit"),
    ],
)
async def test_bad_parameters(api: FakeApi, path: str, params: dict[str, str], said: str) -> None:
    reply = await get(api, path, **params)
    assert (reply.status_code, reply.json()["code"]) == (422, "invalid_parameter")
    assert said in reply.json()["message"]
    assert not api.store.asked


@pytest.mark.parametrize("path", NAMES)
async def test_another_workspaces_channel_is_not_there(api: FakeApi, path: str) -> None:
    api.add_channel("w2", "c9")
    reply = await get(api, path, channel_id="c9")
    assert (reply.status_code, reply.json()["code"]) == (404, "not_found")
    assert not api.store.asked


@pytest.mark.parametrize("path", NAMES)
async def test_clickhouse_is_away(api: FakeApi, path: str) -> None:
    api.store.error = ReadsUnavailable()
    assert (await get(api, path)).status_code == 503


async def test_a_cell_of_too_few_posts_has_no_score(api: FakeApi) -> None:
    api.store.answers["best_times"] = [[0, 3, 7, 1.5], [167, 2, 9, 8.0]]
    cells = (await get(api, "best-times", metric="likes")).json()["cells"]
    assert len(cells) == 7 * 24
    assert cells[0] == {"weekday": 1, "hour": 0, "score": 1.5, "posts": 3, "targets": 7}
    assert cells[167] == {"weekday": 7, "hour": 23, "score": None, "posts": 2, "targets": 9}
    assert cells[5] == {"weekday": 1, "hour": 5, "score": None, "posts": 0, "targets": 0}
    ((_, asked),) = api.store.asked
    assert asked["end"] == NOW // 1000 * 1000 - MILLIS_PER_DAY or asked["end"] == NOW - MILLIS_PER_DAY
    assert len(asked["edges"]) == len(asked["cells"])


async def test_an_age_of_too_few_targets_has_no_share(api: FakeApi) -> None:
    api.store.answers["decay"] = [[1, 2, 4, 0.5], [2, 2, 5, 0.75]]
    ages = (await get(api, "decay", base_days="2")).json()["ages"]
    assert [age["age_hours"] for age in ages] == [1, 3, 6, 12, 24, 48]
    assert ages[0] == {"age_hours": 1, "share": None, "posts": 2, "targets": 4}
    assert ages[1] == {"age_hours": 3, "share": 0.75, "posts": 2, "targets": 5}


async def test_posts_that_are_too_young_are_not_read(api: FakeApi) -> None:
    since = datetime.fromtimestamp(NOW / 1000, UTC).isoformat()[:10]
    for path in ("best-times", "decay"):
        reply = await get(api, path, **{"from": since})
        assert reply.status_code == 200
    assert not api.store.asked


def test_hours_of_the_night_when_clocks_go_back() -> None:
    start = to_millis(datetime(2026, 10, 25, tzinfo=BERLIN).astimezone(UTC))
    hours = buckets(Span(start, start + 25 * MILLIS_PER_HOUR), Step.HOUR, BERLIN)
    assert cells_of(hours, BERLIN) == [144, 145, 146, 146, *range(147, 168)]


def test_ages() -> None:
    assert ages_up_to(AGES[3]) == AGES[:4]
    assert ages_up_to(MILLIS_PER_HOUR) == (MILLIS_PER_HOUR,)
    assert ages_up_to(5 * MILLIS_PER_DAY)[-2:] == (3 * MILLIS_PER_DAY, 5 * MILLIS_PER_DAY)
    assert [within(age) for age in (MILLIS_PER_HOUR, 8 * MILLIS_PER_HOUR)] == [MILLIS_PER_HOUR, 2 * MILLIS_PER_HOUR]


STATEMENTS = {
    **{f"best times {metric}": sql.best_times(parts_of(metric)) for metric in METRICS},
    "decay": sql.decay(parts_of("engagements")),
    "unusual": sql.unusual_posts(parts_of("likes")),
    "falls": sql.falls(parts_of("engagements")),
    "quiet": sql.quiet_targets(COMMON),
}


@pytest.mark.parametrize("text", STATEMENTS.values(), ids=STATEMENTS)
def test_rows_are_found_by_their_workspace(text: str) -> None:
    reads = len(re.findall(r"\w+_store\b", text))
    assert text.count("workspace_id = {workspace:String}") == reads
    # Answers are read once each by numbering them; all else by FINAL.
    answers = text.count("FROM post_snapshots_store")
    assert text.count("_store FINAL") == reads - answers
    assert ("telling = 1" in text or "event_id != event_before" in text) is (answers > 0)
    assert text.count("SETTINGS do_not_merge_across_partitions_select_final = 0,") == 1
