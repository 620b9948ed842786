"""Dashboards of other tools run as the analyst: each query as the tool sends it, on tables with rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy
from clickhouse_connect.cc_sqlalchemy.dialect import ClickHouseDialect

from infra.superset.__main__ import read_charts
from infra.superset.bundle import Document, Place, documents
from schemas.views import public_views
from services.runtime.clock import utc
from tests.support.analysts import CHANNELS, DAY, OTHER_WORKSPACE, POSTS, WORKSPACE, Analyst, filled
from tests.support.deployments import INFRA
from tests.support.engines import Engines
from tests.support.grafana import ALL, View, with_ad_hoc_filters
from tests.support.superset import mutated, statement

READONLY = "164"
GRAFANA = json.loads((INFRA / "grafana" / "dashboards" / "analysts.json").read_text(encoding="utf-8"))
PANELS = [pytest.param(panel, id=panel["title"]) for panel in GRAFANA["panels"]]
VARIABLES = {one["name"]: one for one in GRAFANA["templating"]["list"] if one["type"] == "query"}


@pytest.fixture(scope="module")
def analyst(engines: Engines) -> Iterator[Analyst]:
    with filled(engines) as found:
        yield found


def view(analyst: Analyst, **variables: Any) -> View:
    """The last 28 days in points of a day, of all platforms and channels unless told."""
    return View(
        start=utc(analyst.now - 28 * DAY),
        end=utc(analyst.now),
        interval_seconds=86_400,
        variables={"workspace": WORKSPACE, "platform": ALL, "channel": ALL, **variables},
        every={"platform": sorted(set(CHANNELS.values())), "channel": sorted(CHANNELS)},
    )


def shown(analyst: Analyst, title: str, **variables: Any) -> list[dict[str, object]]:
    """The rows of a panel of Grafana's dashboard."""
    (panel,) = [panel for panel in GRAFANA["panels"] if panel["title"] == title]
    return analyst.rows(view(analyst, **variables).expanded(panel["targets"][0]["rawSql"]))


@pytest.mark.parametrize("panel", PANELS)
@pytest.mark.parametrize(
    "variables",
    [{}, {"workspace": OTHER_WORKSPACE, "platform": ["x"], "channel": ["ch-x", "ch-instagram"]}],
    ids=["all", "chosen"],
)
def test_each_panel_of_grafana_has_rows(analyst: Analyst, panel: dict[str, Any], variables: dict[str, Any]) -> None:
    for target in panel["targets"]:
        rows = analyst.rows(view(analyst, **variables).expanded(target["rawSql"]))
        assert rows
        if panel["type"] == "timeseries":
            times = [str(row["time"]) for row in rows]
            assert times == sorted(times)
            assert all(isinstance(datetime.fromisoformat(time), datetime) for time in times)


def test_the_variables_of_grafana_list_what_there_is(analyst: Analyst) -> None:
    def options(name: str, **variables: Any) -> list[object]:
        rows = analyst.rows(view(analyst, **variables).expanded(VARIABLES[name]["query"]))
        return [value for row in rows for value in row.values()]

    assert options("workspace") == sorted((WORKSPACE, OTHER_WORKSPACE))
    assert options("platform") == ["instagram", "x"]
    assert options("channel") == ["ch-instagram", "ch-x"]
    assert options("channel", platform=["x"]) == ["ch-x"]


def test_the_figures_of_grafana_are_those_of_the_rows(analyst: Analyst) -> None:
    measured = range(1, POSTS)
    (totals,) = shown(analyst, "Figures of the posts published in this time")
    assert int(str(totals["likes"])) == 2 * sum(10 * number for number in measured)
    assert totals["views"] is None
    (of_x,) = shown(analyst, "Figures of the posts published in this time", platform=["x"])
    assert int(str(of_x["impressions"])) == sum(1_000 * number for number in measured)
    top = shown(analyst, "Top posts", channel=["ch-x"])
    assert [row["post_id"] for row in top] == [f"ch-x-{number - 1}" for number in reversed(measured)]
    grown = shown(analyst, "Growth received", platform=["x"])
    first_to_last = sum(10 * number - 10 * number // 4 for number in measured)
    within_a_day = sum(int(str(row["likes"])) for row in grown)
    assert 0 <= within_a_day <= first_to_last
    windows = shown(analyst, "Windows of channels", channel=["ch-instagram"])
    assert [(row["range"], int(str(row["impressions"]))) for row in windows] == [
        ("24h", 100),
        ("28d", 2_800),
        ("7d", 700),
    ]


def test_growth_is_counted_from_answer_to_answer(analyst: Analyst) -> None:
    (panel,) = [panel for panel in GRAFANA["panels"] if panel["title"] == "Growth received"]
    hourly = View(
        start=utc(analyst.now - DAY),
        end=utc(analyst.now),
        interval_seconds=3600,
        variables={"workspace": WORKSPACE, "platform": ["x"], "channel": ALL},
    )
    rows = analyst.rows(hourly.expanded(panel["targets"][0]["rawSql"]))
    # Three answers six hours apart: the first has nothing before it.
    steps = [sum(10 * n // share for n in range(1, POSTS)) for share in (4, 2, 1)]
    assert [int(str(row["likes"])) for row in rows] == [0, steps[1] - steps[0], steps[2] - steps[1]]


def test_ad_hoc_filters_of_grafana_are_refused_to_who_may_only_read(analyst: Analyst) -> None:
    """The page says so: if this passes some day, the dashboard may have them."""
    sql = view(analyst).expanded("SELECT count() AS posts FROM latest_post_metrics WHERE $__timeFilter(published_at)")
    assert analyst.rows(sql)
    reply = analyst.ask(with_ad_hoc_filters(sql, "latest_post_metrics", [("platform", "=", "x")]))
    assert reply.headers["X-ClickHouse-Exception-Code"] == READONLY, reply.text


@pytest.fixture(scope="module")
def superset(analyst: Analyst) -> dict[str, Document]:
    """The documents of Superset's bundle for the filled database."""
    parts = urlsplit(analyst.url)
    place = Place(str(parts.hostname), parts.port or 0, "analyst", parts.path.strip("/"))
    return documents(read_charts(), place, "2026-12-01T00:00:00Z")


@pytest.mark.parametrize("name", [chart["name"] for row in read_charts() for chart in row])
def test_each_chart_of_superset_has_rows(analyst: Analyst, superset: dict[str, Document], name: str) -> None:
    (chart,) = [one for one in superset.values() if one.get("slice_name") == name]
    (dataset,) = [one for one in superset.values() if one.get("uuid") == chart["dataset_uuid"]]
    since, until = utc(analyst.now - 28 * DAY), utc(analyst.now + DAY)
    sql = statement(chart, dataset, ClickHouseDialect(), since, until)
    rows = analyst.rows(sql)
    assert rows, sql
    if "x_axis" in chart["params"]:
        assert {mutated(chart["params"]["x_axis"])} <= set(rows[0])
    values = [value for row in rows for value in row.values()]
    assert any(value not in (None, 0, "0") for value in values), sql


def test_superset_adds_up_what_the_rows_hold(analyst: Analyst, superset: dict[str, Document]) -> None:
    (chart,) = [one for one in superset.values() if one.get("slice_name") == "Impressions"]
    (dataset,) = [one for one in superset.values() if one.get("uuid") == chart["dataset_uuid"]]
    sql = statement(chart, dataset, ClickHouseDialect(), utc(analyst.now - 28 * DAY), utc(analyst.now))
    (row,) = analyst.rows(sql)
    of_a_channel = sum(1_000 * number for number in range(1, POSTS))
    assert int(str(row[mutated("sum_impressions")])) == of_a_channel * len(CHANNELS) * 2


def test_sqlalchemy_finds_the_views_and_their_columns(analyst: Analyst) -> None:
    """Superset asks this of the dialect where somebody adds a dataset or brings its columns up to date."""
    parts = urlsplit(analyst.url)
    database = parts.path.strip("/")
    engine = sqlalchemy.create_engine(
        f"clickhousedb+connect://analyst:{parts.password}@{parts.hostname}:{parts.port}/{database}"
    )
    try:
        inspector = sqlalchemy.inspect(engine)
        assert database in inspector.get_schema_names()
        found = {*inspector.get_table_names(schema=database), *inspector.get_view_names(schema=database)}
        assert set(public_views()) <= found
        for view in public_views().values():
            columns = inspector.get_columns(view.name, schema=database)
            assert [(one["name"], one.get("comment")) for one in columns] == [
                (column.name, column.comment) for column in view.columns
            ]
            times = {one["name"] for one in columns if isinstance(one["type"], sqlalchemy.types.DateTime)}
            assert times == {column.name for column in view.columns if column.is_time}
            nullable = {one["name"] for one in columns if one["nullable"]}
            assert nullable == {column.name for column in view.columns if column.is_nullable}
        with engine.connect() as connection:
            assert connection.scalar(sqlalchemy.text("SELECT count() FROM posts")) == 4 * POSTS
    finally:
        engine.dispose()
