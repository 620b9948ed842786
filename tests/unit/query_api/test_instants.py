"""`from`, `to`, `since`, `until`: one table of texts, held against every endpoint and command that takes an instant."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.query_api.reads.query import AccountHistoryQuestion
from services.runtime.instants import EARLIEST, LATEST, parse_instant, parse_timestamp
from services.runtime.since import parse_since
from tests.support.query_api import NOW, FakeApi, fake_api

MIDNIGHT = 1_781_395_200_000  # 2026-06-14
KNOWN = {
    "0": 0,
    "1781395200": MIDNIGHT,
    "7258118399": 7_258_118_399_000,
    "1970-01-01": 0,
    "2026-06-14": MIDNIGHT,
    "2026-06-14T00": MIDNIGHT,
    "2026-06-14T00:00": MIDNIGHT,
    "2026-06-14 00:00:00": MIDNIGHT,
    "2026-06-14t00:00:00z": MIDNIGHT,
    "20260614T000000Z": MIDNIGHT,
    "2026-06-14T02:00:00+02:00": MIDNIGHT,
    "2026-06-14T02:00:00 02:00": MIDNIGHT,
    "2026-06-14T02:00+0200": MIDNIGHT,
    "2026-06-14 02:00 02:00": MIDNIGHT,
    "2026-06-14T02:00:00+02": MIDNIGHT,
    "2026-06-13T22:00:00-0200": MIDNIGHT,
    "2026-06-14T00:00:00.1239Z": MIDNIGHT + 123,
    "2199-12-31T23:59:59.999Z": LATEST,
    "2199-12-31T12:00:00+14:00": LATEST + 1 - 26 * 3_600_000,
}
REFUSED = (
    "", " ", "x", "-1", "1.5", "2026-13-01", "2026-02-30", "2026-06-14T25:00", "2026-06-14T", "99999999999",
    "7258118400", "2026-W01-1", "\u0663", "1781395200 ", "2200-01-01", "0000-01-01", "0001-01-01T00:00:00+14:00",
    "1969-12-31", "1970-01-01T00:00:00+00:01", "9999-12-31T23:59:59-23:59", "NaN", "now", "15m",
)  # fmt: skip


def account(api: FakeApi) -> list[int]:
    """The bounds that PostFuze's account question was asked with."""
    return [bound for asked in api.read_model.asked if isinstance(asked, AccountHistoryQuestion)
            for bound in (asked.since, asked.until)]  # fmt: skip


def rows(api: FakeApi) -> list[int]:
    """Every bound that ClickHouse was asked with."""
    names = ("from", "to", "start", "end")
    return [int(values[name]) for _, values in api.store.asked for name in names if name in values]


# Path, name of the parameter, what else is asked, and where the instant can be seen to arrive.
ENDPOINTS: list[tuple[str, str, dict[str, str], Callable[[FakeApi], list[int]]]] = [
    ("/api/v1/social-accounts/c1/metrics", "since", {}, account),
    ("/api/v1/social-accounts/c1/metrics", "until", {}, account),
    ("/tidemark/v1/posts", "from", {}, rows),
    ("/tidemark/v1/posts", "to", {}, rows),
    ("/tidemark/v1/targets", "from", {}, rows),
    ("/tidemark/v1/top/posts", "from", {"metric": "likes"}, rows),
    ("/tidemark/v1/top/posts", "to", {"metric": "likes"}, rows),
    ("/tidemark/v1/totals", "to", {}, rows),
    ("/tidemark/v1/exports/posts", "from", {"to": "2199-12-31T23:59:59.999Z", "format": "csv"}, rows),
    ("/tidemark/v1/exports/posts", "to", {"format": "csv"}, rows),
]


def asked(path: str, name: str, text: str, rest: dict[str, str]) -> str:
    """The address with a text as it stands, but for what no address may hold; a + stays one."""
    parameters = {name: text, **rest}
    return path + "?" + "&".join(f"{key}={quote(value, safe='+:.,')}" for key, value in parameters.items())


@pytest.mark.parametrize("text", KNOWN)
@pytest.mark.parametrize(
    ("path", "name", "rest", "arrived"), ENDPOINTS, ids=lambda part: part if isinstance(part, str) else ""
)
async def test_every_endpoint_reads_it_alike(
    path: str, name: str, rest: dict[str, str], arrived: Callable[[FakeApi], list[int]], text: str
) -> None:
    api = fake_api()
    api.add_channel("w1", "c1", "x")
    reply = await api.client.get(asked(path, name, text, rest), headers=api.add_key("w1", "good"))
    is_empty = "before" in reply.text  # nothing lies before the earliest, nor after now
    assert reply.status_code in ((200, 404, 422) if is_empty else (200, 404)), reply.text
    assert is_empty or KNOWN[text] in arrived(api), reply.text


@pytest.mark.parametrize("text", REFUSED)
@pytest.mark.parametrize(
    ("path", "name", "rest", "arrived"), ENDPOINTS, ids=lambda part: part if isinstance(part, str) else ""
)
async def test_every_endpoint_refuses_it_alike(
    path: str, name: str, rest: dict[str, str], arrived: Any, text: str
) -> None:
    api = fake_api()
    api.add_channel("w1", "c1", "x")
    reply = await api.client.get(asked(path, name, text, rest), headers=api.add_key("w1", "good"))
    assert (reply.status_code, reply.json()["code"]) == (422, "invalid_parameter"), reply.text
    assert name in reply.json()["detail"]
    assert not arrived(api)


@pytest.mark.parametrize("text", KNOWN)
def test_commands_read_it_alike(text: str) -> None:
    assert parse_since(text, NOW) == KNOWN[text]


@pytest.mark.parametrize("text", [text for text in REFUSED if text != "15m"])
def test_commands_refuse_it_alike(text: str) -> None:
    with pytest.raises(ValueError, match="--since"):
        parse_since(text, NOW)
    assert parse_since("15m", NOW) == NOW - 900_000


@given(
    st.integers(EARLIEST, LATEST),
    st.sampled_from(["", "Z", "+02:00", " 05:30", "-0930"]),
    st.sampled_from(["T", " ", "t"]),
)
def test_what_was_written_is_read(instant: int, offset: str, between: str) -> None:
    moment = datetime.fromtimestamp(instant // 1000, UTC)
    sign = -1 if offset.startswith("-") else 1
    digits = offset.strip(" +-").replace(":", "")
    shift = timedelta() if offset in ("", "Z") else sign * timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    text = (moment + shift).strftime(f"%Y-%m-%d{between}%H:%M:%S") + f".{instant % 1000:03d}" + offset
    assert parse_instant(text) == instant


def test_a_zone_is_of_dates_and_of_times_without_an_offset() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    assert parse_instant("2026-06-14", berlin) == parse_instant("2026-06-13T22:00Z", berlin)
    assert parse_instant("2026-06-14T02:00", berlin) == MIDNIGHT
    assert parse_instant("1781395200", berlin) == MIDNIGHT


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-06-14T00:00:00Z", MIDNIGHT),
        ("2026-06-14t02:00:00.123456789012+02:00", MIDNIGHT + 123),
        ("1970-01-01T00:00:00Z", EARLIEST),
        ("2199-12-31T23:59:59.9999Z", LATEST),
    ],
)
def test_bodies_hold_whole_rfc_3339_times(text: str, expected: int) -> None:
    assert parse_timestamp(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2026-06-14", "with an offset"),
        ("2026-06-14T00:00:00", "with an offset"),
        ("2026-06-14 00:00:00Z", "with an offset"),
        ("2026-06-14T00:00Z", "with an offset"),
        ("1781395200", "with an offset"),
        ("2026-02-30T00:00:00Z", "that exists"),
        ("2026-06-14T25:00:00Z", "that exists"),
        ("1969-12-31T23:59:59.9999Z", "1970 to 2199"),
        ("2200-01-01T00:00:00Z", "1970 to 2199"),
    ],
)
def test_bodies_hold_no_other_times(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_timestamp(text)
