"""Series, totals and exports of the running service, compared with what the stored snapshots give the slow way."""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import psutil
import pyarrow.ipc
import pyarrow.parquet
import pytest

from schemas.metrics import POST_NAMES
from services.runtime.clock import iso_millis, iso_seconds, to_millis
from tests.integration.query_api.histories import (
    DAY,
    METRICS,
    Answered,
    History,
    cumulative,
    growth,
    random_history,
    rate,
    stood,
)
from tests.integration.query_api.rows import Store, metric_columns
from tests.integration.query_api.running import ADMIN, CHANNEL, Service
from tests.support.engines import Engines, query_clickhouse
from tests.support.query_api import target, values
from tests.support.waiting import wait_until

BERLIN = ZoneInfo("Europe/Berlin")
# Over the night of 25 October 2026, when clocks in Berlin go back.
START = to_millis(datetime(2026, 10, 22, tzinfo=BERLIN).astimezone(UTC))
END = to_millis(datetime(2026, 10, 29, tzinfo=BERLIN).astimezone(UTC))
SPAN = {"from": "2026-10-22", "to": "2026-10-29", "tz": "Europe/Berlin"}
# The numbers of the workspaces: two of them in `make test`, the others in `make test-long`.
FEW, MORE = range(2), range(2, 6)
BIG_ROWS = 300_000
READY_SECONDS = 20


@dataclass
class Tenant:
    """A workspace with its histories and a key."""

    workspace_id: str
    headers: dict[str, str]
    histories: list[History]


def days() -> list[tuple[int, int]]:
    """The days of the span in Berlin."""
    begins = [
        to_millis((datetime(2026, 10, 22, tzinfo=BERLIN) + timedelta(days=number)).astimezone(UTC))
        for number in range(8)
    ]
    return list(pairwise(begins))


def columns(answer: Answered) -> dict[str, Any]:
    """Columns of one answer's figures."""
    figures = tuple(answer.figures.get(name) for name in POST_NAMES)
    return {
        "event_id": answer.event_id,
        "captured_at": iso_millis(answer.at),
        "spoken": sum(1 << POST_NAMES.index(name) for name in answer.figures),
        "ranged": sum(1 << POST_NAMES.index(name) for name in answer.ranged),
        **metric_columns(figures),
    }


def snapshot_row(workspace_id: str, history: History, answer: Answered) -> dict[str, Any]:
    """The row of an answer."""
    return {
        "workspace_id": workspace_id,
        "target_id": history.target_id,
        "post_id": history.post_id,
        "channel_id": history.channel_id,
        "platform": "x",
        "origin": "SCHEDULE",
        **columns(answer),
    }


def store_history(store: Store, workspace_id: str, histories: Sequence[History], *, is_repeated: bool = True) -> None:
    """Put histories into all tables that hold them; if repeated, each snapshot in an older form first."""
    for post_id in {history.post_id for history in histories}:
        store.post(
            workspace_id,
            post_id,
            [
                target(
                    history.target_id,
                    history.channel_id,
                    published_at=history.published_at,
                    captured_at=max((answer.at for answer in history.answers), default=None),
                    values=latest(history),
                )
                for history in histories
                if history.post_id == post_id
            ],
        )
    rows = [snapshot_row(workspace_id, history, answer) for history in histories for answer in history.answers]
    Random(workspace_id).shuffle(rows)
    if rows and is_repeated:
        store.insert("post_snapshots_store", [{**row, "likes": 1, "views": 1_000_000} for row in rows])
        store.insert("post_snapshots_store", rows[: len(rows) // 2])
    if rows:
        store.insert("post_snapshots_store", rows)


def latest(history: History) -> tuple[int | None, ...]:
    """A target's latest figures."""
    return tuple(cumulative([history], name, 2**62) if name in METRICS else None for name in POST_NAMES)


def know_channels(service: Service, store: Store, workspace_id: str, channels: Sequence[str]) -> None:
    """Make channels known to the service and to ClickHouse."""
    lines = [
        json.dumps({"type": "channel", "workspace_id": workspace_id, "id": channel_id, **CHANNEL})
        for channel_id in channels
    ]
    reply = service.client.post("/admin/v1/catalog", content="\n".join(lines), headers=ADMIN)
    assert reply.json()["accepted"] == len(channels), reply.text
    for channel_id in channels:
        store.channel(workspace_id, channel_id)


def wait_until_known(service: Service, headers: dict[str, str]) -> None:
    """Wait until a workspace's channels are in the service's memory."""

    def status() -> int:
        return service.client.get("/tidemark/v1/channels/c1/totals", params=SPAN, headers=headers).status_code

    wait_until(lambda: status() == 200, READY_SECONDS, lambda: f"channel c1 reads {status()}")


@pytest.fixture(scope="module")
def store(tables: Store) -> Iterator[Store]:
    """The tables, filled by all tests of this file."""
    yield tables
    tables.clear()


@pytest.fixture(scope="module", params=[FEW, pytest.param(MORE, marks=pytest.mark.long)], ids=["few", "more"])
def tenants(request: pytest.FixtureRequest, service: Service, store: Store) -> list[Tenant]:
    """Workspaces with random histories."""
    found = []
    for number in request.param:
        random = Random(number)
        workspace_id = f"analysis-{number}"
        drawn = [random_history(random, place, START, END) for place in range(random.randrange(2, 9))]
        histories = [replace(one, channel_id="c2") if place % 3 == 2 else one for place, one in enumerate(drawn)]
        know_channels(service, store, workspace_id, ["c0", "c1", "c2"])
        store_history(store, workspace_id, histories)
        # In nobody's reply: of no listed target, and of a deleted channel.
        store.snapshot(workspace_id, "unlisted", "e1", START + DAY, values(likes=10**6))
        store.post(workspace_id, "p-gone", [target("t-gone", "c-gone", captured_at=START, values=values(likes=10**6))])
        store.snapshot(workspace_id, "t-gone", "e1", START + DAY, values(likes=10**6))
        store.channel(workspace_id, "c-gone", is_deleted=1)
        found.append(Tenant(workspace_id, service.make_key(workspace_id)[1], histories))
    for tenant in found:
        wait_until_known(service, tenant.headers)
    return found


def read(service: Service, path: str, headers: dict[str, str], **params: str) -> Any:
    """A JSON reply, its decimals exact."""
    reply = service.client.get(f"/tidemark/v1/{path}", params={**SPAN, **params}, headers=headers)
    assert reply.status_code == 200, reply.text
    return json.loads(reply.text, parse_float=Decimal)


def shown(name: str, value: int | None) -> Any:
    """A figure as replies hold it."""
    return Decimal(value).scaleb(-3) if value is not None and name.endswith("_seconds") else value


def some_channels(tenant: Tenant) -> tuple[str, list[History], dict[str, str]]:
    """The workspace's path, the histories of two of its channels, and the parameter that chooses these."""
    return "", [one for one in tenant.histories if one.channel_id != "c1"], {"channel_ids": "c2,c0"}


def test_series_are_what_the_snapshots_say(service: Service, tenants: list[Tenant]) -> None:
    compared = 0
    for tenant in tenants:
        subjects = [
            *((f"targets/{one.target_id}", [one]) for one in tenant.histories),
            *(
                (f"posts/{post}", [one for one in tenant.histories if one.post_id == post])
                for post in {one.post_id for one in tenant.histories}
            ),
            *((f"channels/{c}", [one for one in tenant.histories if one.channel_id == c]) for c in ("c0", "c1")),
            ("", tenant.histories),
        ]
        whole: list[tuple[str, list[History], dict[str, str]]] = [(path, held, {}) for path, held in subjects]
        for path, histories, chosen in [*whole, some_channels(tenant)]:
            reply = read(service, f"{path}/series".strip("/"), tenant.headers, metrics=",".join(METRICS), **chosen)
            assert [(point["start"], point["end"]) for point in reply["points"]] == [
                (iso_seconds(start), iso_seconds(end)) for start, end in days()
            ]
            for point, (_, end) in zip(reply["points"], days(), strict=True):
                for name in METRICS:
                    assert point[name] == shown(name, cumulative(histories, name, end)), (path, name, point)
                    compared += point[name] is not None
            growing = [name for name in METRICS if name not in ("reach", "avg_watch_time_seconds")]
            asked = {"metrics": ",".join(growing), "mode": "increments", **chosen}
            reply = read(service, f"{path}/series".strip("/"), tenant.headers, **asked)
            for point, bucket in zip(reply["points"], days(), strict=True):
                for name in growing:
                    expected = growth(histories, name, (START, END), bucket)
                    assert point[name] == shown(name, expected), (path, name, point)
                    compared += point[name] is not None
    assert compared > 80 * len(tenants)


def test_the_rate_of_several_targets_is_of_those_that_have_one(service: Service, tenants: list[Tenant]) -> None:
    """At each instant, and of what they grew by."""
    names, compared = ("likes", "comments", "reach", "views"), 0
    for tenant in tenants:
        for path, histories in [
            *((f"channels/{c}", [one for one in tenant.histories if one.channel_id == c]) for c in ("c0", "c1")),
            *(
                (f"posts/{post}", [one for one in tenant.histories if one.post_id == post])
                for post in {one.post_id for one in tenant.histories}
            ),
        ]:
            for mode in ("cumulative", "increments"):
                reply = read(service, f"{path}/series".strip("/"), tenant.headers, metrics="engagement_rate", mode=mode)
                for point, bucket in zip(reply["points"], days(), strict=True):
                    parts = [
                        {name: stood(one.answers, name, bucket[1]) for name in names}
                        if mode == "cumulative"
                        else {name: growth([one], name, (START, END), bucket) for name in names}
                        for one in histories
                    ]
                    expected, found = rate(parts), point["engagement_rate"]
                    assert (found is None) == (expected is None), (path, mode, point)
                    assert expected is None or float(found) == pytest.approx(expected), (path, mode, point)
                    compared += found is not None
        received = read(service, "totals", tenant.headers, attribution="received")["metrics"]["engagement_rate"][
            "value"
        ]
        expected = rate(
            {name: growth([one], name, (START, END), (START, END)) for name in names} for one in tenant.histories
        )
        assert (received is None) == (expected is None)
        assert expected is None or float(received) == pytest.approx(expected)
    assert compared > 8 * len(tenants)


def test_hours_add_up_to_their_day(service: Service, tenants: list[Tenant]) -> None:
    for tenant in tenants[:4]:
        asked = {"metrics": "likes", "mode": "increments"}
        hourly = read(service, "channels/c0/series", tenant.headers, step="hour", **asked)["points"]
        daily = read(service, "channels/c0/series", tenant.headers, **asked)["points"]
        assert len(hourly) == 7 * 24 + 1  # one night has an hour more
        for day in daily:
            hours = [one["likes"] for one in hourly if day["start"] <= one["start"] < day["end"]]
            assert len(hours) == (25 if day["start"] == "2026-10-24T22:00:00Z" else 24)
            known = [value for value in hours if value is not None]
            assert (sum(known) if known else None) == day["likes"]


def test_totals_are_what_the_snapshots_say(service: Service, tenants: list[Tenant]) -> None:
    before = (START - 7 * DAY, START)
    for tenant in tenants:
        for path, histories, chosen in [
            ("", tenant.histories, {}),
            ("channels/c1/", [one for one in tenant.histories if one.channel_id == "c1"], {}),
            some_channels(tenant),
        ]:
            asked = {"compare": "previous", **chosen}
            received = read(service, f"{path}totals", tenant.headers, attribution="received", **asked)
            assert received["compared_with"] == {"from": iso_seconds(before[0]), "to": iso_seconds(START)}
            published = read(service, f"{path}totals", tenant.headers, **asked)
            assert received.get("channel_ids") == published.get("channel_ids") == (["c2", "c0"] if chosen else None)
            for name in METRICS:
                for reply, (value, previous) in [
                    (received, [growth(histories, name, span, span) for span in ((START, END), before)]),
                    (
                        published,
                        [
                            cumulative([one for one in histories if span[0] <= one.published_at < span[1]], name, 2**62)
                            for span in ((START, END), before)
                        ],
                    ),
                ]:
                    found = reply["metrics"][name]
                    assert (found["value"], found["previous"]) == (shown(name, value), shown(name, previous)), name
                    if value is None or not previous:
                        assert found["change"] is None
                    else:
                        assert float(found["change"]) == pytest.approx((value - previous) / previous)


def test_a_channels_own_figures(service: Service, store: Store, tenants: list[Tenant]) -> None:
    tenant = tenants[0]
    day = [start for start, _ in days()]
    store.channel_snapshot(tenant.workspace_id, "c0", "a", day[0] - 5, followers=100, views=7)
    store.channel_snapshot(tenant.workspace_id, "c0", "b", day[1] + 5, followers=90)
    store.channel_snapshot(tenant.workspace_id, "c0", "c", day[2], followers=130)
    store.channel_snapshot(tenant.workspace_id, "c0", "d", day[3], ("day", day[2], day[3]), followers=1)

    def series(**params: str) -> list[Any]:
        points = read(service, "channels/c0/series", tenant.headers, **params)["points"]
        return [point[params["metrics"]] for point in points]

    assert series(metrics="followers") == [100, 90, 130, 130, 130, 130, 130]
    assert series(metrics="followers", mode="increments") == [None, -10, 40, None, None, None, None]
    assert series(metrics="views", source="channel") == [7] * 7
    received = read(service, "channels/c0/totals", tenant.headers, attribution="received")
    assert received["metrics"]["followers"]["value"] == 30
    # Levels of several channels are added up, of those asked for only.
    store.channel_snapshot(tenant.workspace_id, "c1", "e", day[0] - 5, followers=1_000)
    store.channel_snapshot(tenant.workspace_id, "c2", "f", day[0] - 5, followers=10_000)
    for chosen, more in (("c0,c2", 10_000), ("c2,c1,c0", 11_000), ("c0", 0)):
        points = read(service, "series", tenant.headers, metrics="followers", channel_ids=chosen)["points"]
        assert [point["followers"] for point in points] == [more + own for own in (100, 90, *[130] * 5)]


def test_a_channel_that_is_not_there_is_not_chosen(service: Service, tenants: list[Tenant]) -> None:
    for path in ("totals", "series?metrics=likes", "insights/decay", "insights/unusual", "insights/best-times"):
        for chosen, status in (("c0,c1", 200), ("c0,c-none", 404), ("c0,no way", 422), ("", 422)):
            address = f"/tidemark/v1/{path}{'&' if '?' in path else '?'}channel_ids={chosen}"
            assert service.client.get(address, headers=tenants[0].headers).status_code == status, address


def test_another_workspace_reads_nothing(service: Service, tenants: list[Tenant]) -> None:
    _, stranger = service.make_key("analysis-stranger")
    for path in ("posts/p0/series", "targets/t0/series", "channels/c0/series", "channels/c0/totals"):
        reply = service.client.get(f"/tidemark/v1/{path}", params={**SPAN, "metrics": "likes"}, headers=stranger)
        if path.endswith("totals"):
            reply = service.client.get(f"/tidemark/v1/{path}", params=SPAN, headers=stranger)
        assert reply.status_code == 404, path
    for dataset in ("posts", "targets", "channels", "post-snapshots", "channel-snapshots"):
        reply = service.client.get(f"/tidemark/v1/exports/{dataset}?format=ndjson", headers=stranger)
        assert (reply.status_code, reply.text) == (200, "")
    everything = read(service, "totals", stranger, attribution="received")["metrics"]
    assert {metric["value"] for metric in everything.values()} == {None}


def export(service: Service, dataset: str, headers: dict[str, str], **params: str) -> httpx.Response:
    """A whole export."""
    reply = service.client.get(f"/tidemark/v1/exports/{dataset}", params=params, headers=headers, timeout=60)
    assert reply.status_code == 200, reply.text
    return reply


def test_every_format_holds_the_same_rows(service: Service, tenants: list[Tenant]) -> None:
    tenant = tenants[1]
    expected = sorted(
        (
            one.target_id,
            answer.event_id,
            answer.at,
            answer.figures.get("likes"),
            answer.figures.get("watch_time_seconds"),
        )
        for one in tenant.histories
        for answer in one.answers
        if START <= answer.at < END
    )
    assert expected
    reply = export(service, "post-snapshots", tenant.headers, format="ndjson", **SPAN)
    assert reply.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line, parse_float=Decimal) for line in reply.text.splitlines()]
    assert [
        (
            line["target_id"],
            line["event_id"],
            to_millis(datetime.fromisoformat(line["captured_at"])),
            line["likes"],
            None if line["watch_time_seconds"] is None else int(line["watch_time_seconds"].scaleb(3)),
        )
        for line in lines
    ] == expected
    rows = list(csv.DictReader(io.StringIO(export(service, "post-snapshots", tenant.headers, **SPAN).text)))
    for row, line in zip(rows, lines, strict=True):
        assert row.keys() == line.keys()
        assert row["likes"] == ("" if line["likes"] is None else str(line["likes"]))
        assert row["captured_at"] == line["captured_at"]
        assert row["captured_at"].endswith("Z")
    arrow = service.client.get(
        "/tidemark/v1/exports/post-snapshots",
        params=SPAN,
        headers={**tenant.headers, "accept": "application/vnd.apache.arrow.stream"},
    )
    parquet = export(service, "post-snapshots", tenant.headers, format="parquet", **SPAN)
    assert parquet.headers["content-type"] == "application/vnd.apache.parquet"
    for table in (
        pyarrow.ipc.open_stream(arrow.content).read_all(),
        pyarrow.parquet.read_table(io.BytesIO(parquet.content)),
    ):
        assert table.column("event_id").to_pylist() == [event_id for _, event_id, *_ in expected]
        assert table.column("likes").to_pylist() == [likes for *_, likes, _ in expected]
        assert [int(at.timestamp() * 1000 + 0.5) for at in table.column("captured_at").to_pylist()] == [
            at for _, _, at, *_ in expected
        ]


def test_catalog_exports(service: Service, store: Store) -> None:
    workspace_id = "analysis-catalog"
    _, headers = service.make_key(workspace_id)
    know_channels(service, store, workspace_id, ["c0", "c1"])
    content = '=HYPERLINK("http://evil","x")'
    store.post(
        workspace_id,
        "p1",
        [
            target(
                "t1", "c0", content=content, captured_at=START, values=values(likes=3, views=10), published_at=START
            ),
            target("t2", "c1", content='fine, "quoted"\nlines', external_id="-1", published_at=START),
            target("t3", "c-deleted", captured_at=START, values=values(likes=9)),
        ],
    )
    store.post(workspace_id, "p2", [target("t4", "c0", published_at=END)])
    store.post(workspace_id, "p3", [target("t5", "c0")], is_deleted=1)
    store.channel_period(workspace_id, "c0", "lifetime", None, None, followers=12)
    wait_until_known(service, headers)

    def rows(dataset: str, **params: str) -> list[dict[str, Any]]:
        text = export(service, dataset, headers, format="ndjson", **params).text
        return [json.loads(line) for line in text.splitlines()]

    targets = rows("targets")
    assert [row["target_id"] for row in targets] == ["t1", "t2", "t4"]
    assert targets[0]["content"] == content
    assert (targets[0]["likes"], targets[0]["engagements"], targets[0]["engagement_rate"]) == (3, 3, 0.3)
    assert targets[1]["captured_at"] is None
    assert targets[0]["published_at"] == iso_millis(START)
    assert [row["target_id"] for row in rows("targets", channel_id="c1")] == ["t2"]
    assert [row["target_id"] for row in rows("targets", **SPAN)] == ["t1", "t2"]
    assert [row["post_id"] for row in rows("posts")] == ["p1", "p2"]
    assert [row["post_id"] for row in rows("posts", channel_id="c1")] == ["p1"]
    channels = rows("channels")
    assert [(row["channel_id"], row["followers"]) for row in channels] == [("c0", 12), ("c1", None)]
    assert channels[1]["captured_at"] is None
    table = list(csv.DictReader(io.StringIO(export(service, "targets", headers).text)))
    assert [row["content"] for row in table] == ["'" + content, 'fine, "quoted"\nlines', ""]
    assert table[1]["external_id"] == "'-1"
    assert service.client.get("/tidemark/v1/exports/posts?channel_id=c9", headers=headers).status_code == 404


def _blanks() -> list[str]:
    """Every character that shows nothing or a space: separators, control and format characters, marks."""
    blank = {"Zs", "Zl", "Zp", "Cc", "Cf", "Mn", "Me", "Mc"}
    # As old and new tables have it: ClickHouse has some of its own.
    found = [
        chr(code)
        for code in range(1, 0x110000)
        if unicodedata.category(chr(code)) in blank and unicodedata.ucd_3_2_0.category(chr(code)) in blank
    ]
    return [*found, "\u115f", "\u1160", "\u2800", "\u3164", "\uffa0"]


def test_what_begins_as_a_formula_after_anything_blank_is_text_in_csv(service: Service, store: Store) -> None:
    workspace_id = "analysis-formulas"
    _, headers = service.make_key(workspace_id)
    know_channels(service, store, workspace_id, ["c0", "c1"])
    rng = Random(7)
    blanks = _blanks()
    signs = ["=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20", "\u2212"]
    formulas = [blank + rng.choice(signs) + "1+1" for blank in blanks]
    formulas += ["".join(rng.choices(blanks, k=rng.randint(0, 6))) + sign + "x" for sign in signs for _ in range(30)]
    formulas += ["\t1", "\r1", "\n1"]
    plain = ["a" + blank + "=1" for blank in rng.sample(blanks, 50)] + ["1", "\u00a0a", "'=1", "#=1"]
    texts = formulas + plain
    store.post(
        workspace_id,
        "p1",
        [
            target(f"t{number:05}", "c0", content=text, values=values(likes=-3), captured_at=START, published_at=START)
            for number, text in enumerate(texts)
        ],
    )
    wait_until_known(service, headers)
    # A column of numbers holds numbers, also below zero.
    reply = export(service, "targets", headers)
    table = list(csv.DictReader(io.StringIO(reply.content.decode(), newline="")))
    assert [row["content"] for row in table] == ["'" + text for text in formulas] + plain
    assert {row["likes"] for row in table} == {"-3"}


@pytest.fixture(scope="module")
def big(service: Service, store: Store) -> dict[str, str]:
    """A workspace with many snapshots; the headers of its key."""
    workspace_id = "analysis-big"
    know_channels(service, store, workspace_id, ["c0"])
    store.post(workspace_id, "p0", [target(f"t{number}", "c0") for number in range(30)])
    store.execute(
        "INSERT INTO post_snapshots_store (workspace_id, target_id, post_id, channel_id, platform, event_id,"
        " captured_at, origin, spoken, likes, views, watch_time_seconds, version)"
        f" SELECT '{workspace_id}', concat('t', toString(number % 30)), 'p0', 'c0', 'x', toString(cityHash64(number)),"
        f" toDateTime64('2026-10-01 00:00:00', 3, 'UTC') + number, 'SCHEDULE', 16393, number,"
        f" cityHash64(number) % 1000000, number / 8, 1 FROM numbers({BIG_ROWS})"
    )
    return service.make_key(workspace_id)[1]


@pytest.mark.parametrize(
    "kind", ["csv", "parquet", *(pytest.param(k, marks=pytest.mark.long) for k in ("ndjson", "arrow"))]
)
def test_an_export_needs_no_memory_for_its_rows(
    service: Service, big: dict[str, str], kind: str, tmp_path: Path
) -> None:
    assert service.process is not None
    process = psutil.Process(service.process.pid)
    path, params = "/tidemark/v1/exports/post-snapshots", {"format": kind}
    service.client.get(path, params={**params, "to": "2026-10-01T00:10:00Z"}, headers=big)
    before = most = process.memory_info().rss
    file = tmp_path / f"rows.{kind}"
    with service.client.stream("GET", path, params=params, headers=big, timeout=60) as reply, file.open("wb") as out:
        assert reply.status_code == 200
        # Packed on the way, as this client accepts it.
        assert "content-encoding" in reply.headers or kind == "parquet"
        for chunk in reply.iter_bytes():
            out.write(chunk)
            most = max(most, process.memory_info().rss)
    print(f"{kind}: {file.stat().st_size} bytes, {(most - before) / 2**20:.1f} MiB more")
    assert most - before < 24 * 2**20
    if kind == "parquet":
        assert pyarrow.parquet.ParquetFile(file).metadata.num_rows == BIG_ROWS
    elif kind == "arrow":
        with pyarrow.ipc.open_stream(file) as reader:
            assert sum(batch.num_rows for batch in reader) == BIG_ROWS
    elif kind == "csv":
        with file.open(newline="") as lines:
            ids = [(row["target_id"], row["event_id"]) for row in csv.DictReader(lines)]
        assert len(ids) == BIG_ROWS
        assert ids == sorted(ids)
    else:
        assert sum(1 for _ in file.open("rb")) == BIG_ROWS


def running(engines: Engines) -> int:
    """Exports that run in ClickHouse."""
    return int(query_clickhouse(engines.clickhouse_url, f"SELECT count() FROM system.processes WHERE {_EXPORTING}"))


_EXPORTING = "query LIKE '%post_snapshots_store FINAL%' AND query NOT LIKE '%system.processes%'"


@contextmanager
def begun(service: Service, headers: dict[str, str], kind: str) -> Iterator[Iterator[bytes]]:
    """An export of which the first chunk has come; its next ones."""
    path, params = "/tidemark/v1/exports/post-snapshots", {"format": kind}
    with service.client.stream("GET", path, params=params, headers=headers) as reply:
        assert reply.status_code == 200
        chunks = reply.iter_raw()
        next(chunks)
        yield chunks


def test_whoever_leaves_stops_the_query_and_a_key_has_two_exports(
    service: Service, big: dict[str, str], engines: Engines
) -> None:
    with begun(service, big, "ndjson"), begun(service, big, "ndjson"):
        assert running(engines) == 2
        refused = service.client.get("/tidemark/v1/exports/posts", headers=big)
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        assert int(refused.headers["retry-after"]) > 0
    wait_until(lambda: running(engines) == 0, READY_SECONDS, lambda: "the queries of callers that left go on")
    assert service.client.get("/tidemark/v1/exports/posts", headers=big).status_code == 200


def test_an_export_that_breaks_is_no_file(service: Service, big: dict[str, str], engines: Engines) -> None:
    seen: list[bytes] = []
    with begun(service, big, "csv") as chunks:
        query_clickhouse(engines.clickhouse_url, f"KILL QUERY WHERE {_EXPORTING} ASYNC")
        with pytest.raises(httpx.RemoteProtocolError):
            seen.extend(chunks)
    assert b"exception" not in b"".join(seen).lower()
