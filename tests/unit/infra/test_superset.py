"""Superset's bundle: the layout and fields that its import takes, every public view, references that lead somewhere."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml

from infra.superset.__main__ import pack, read_charts
from infra.superset.bundle import VERSION, Place, documents
from schemas.views import public_views
from tests.support.superset import REQUIRED, TAKEN, TIME_GRAINS

PLACE = Place("clickhouse.example.com", 8443, "bi", "figures", secure=True)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The documents of the archive, by path, as Superset reads them."""
    file = tmp_path_factory.mktemp("superset") / "tidemark.zip"
    written = pack(file, PLACE)
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        assert len(names) == written
        assert {name.split("/")[0] for name in names} == {"tidemark"}
        return {name.partition("/")[2]: yaml.safe_load(archive.read(name)) for name in names}


def of_kind(bundle: dict[str, Any], kind: str) -> list[Any]:
    return [document for path, document in bundle.items() if path.startswith(f"{kind}/")]


def test_every_document_has_the_fields_that_an_import_takes(bundle: dict[str, Any]) -> None:
    for path, document in bundle.items():
        kind = path.split("/")[0].removesuffix(".yaml")
        assert REQUIRED[kind] <= set(document) <= TAKEN[kind], path
        assert document["version"] == VERSION
        if kind != "metadata":
            assert str(UUID(document["uuid"])) == document["uuid"]
        for part in ("column", "metric"):
            for held in document.get(f"{part}s", ()):
                assert REQUIRED[part] <= set(held) <= TAKEN[part], path
    assert bundle["metadata.yaml"]["type"] == "Dashboard"


def test_ids_are_distinct_and_lead_somewhere(bundle: dict[str, Any]) -> None:
    ids = [document["uuid"] for path, document in bundle.items() if path != "metadata.yaml"]
    assert len(set(ids)) == len(ids)
    (database,) = of_kind(bundle, "databases")
    datasets = {dataset["uuid"]: dataset for dataset in of_kind(bundle, "datasets")}
    assert {dataset["database_uuid"] for dataset in datasets.values()} == {database["uuid"]}
    charts = {chart["uuid"]: chart for chart in of_kind(bundle, "charts")}
    assert {chart["dataset_uuid"] for chart in charts.values()} <= set(datasets)
    (dashboard,) = of_kind(bundle, "dashboards")
    placed = [node["meta"]["uuid"] for node in dashboard["position"].values() if node_type(node) == "CHART"]
    assert sorted(placed) == sorted(charts)
    for one in dashboard["metadata"]["native_filter_configuration"]:
        for target in one["targets"]:
            if target:
                columns = datasets[target["datasetUuid"]]["columns"]
                assert target["column"]["name"] in {column["column_name"] for column in columns}


def node_type(node: Any) -> str | None:
    return node["type"] if isinstance(node, dict) else None


def test_the_layout_is_a_tree_of_rows_of_twelve(bundle: dict[str, Any]) -> None:
    (dashboard,) = of_kind(bundle, "dashboards")
    position = dict(dashboard["position"])
    assert position.pop("DASHBOARD_VERSION_KEY") == "v2"
    reached, waiting = set(), ["ROOT_ID"]
    while waiting:
        name = waiting.pop()
        assert position[name]["id"] == name
        reached.add(name)
        for child in position[name].get("children", ()):
            assert position[child]["parents"][-1] == name
            waiting.append(child)
    assert reached == set(position) - {"HEADER_ID"}
    for node in position.values():
        if node["type"] == "ROW":
            assert sum(position[child]["meta"]["width"] for child in node["children"]) == 12


def test_the_datasets_are_the_public_views_with_every_columns_comment(bundle: dict[str, Any]) -> None:
    datasets = {dataset["table_name"]: dataset for dataset in of_kind(bundle, "datasets")}
    assert set(datasets) == set(public_views())
    for name, view in public_views().items():
        dataset = datasets[name]
        assert (dataset["schema"], dataset["description"]) == ("figures", view.comment)
        held = [(column["column_name"], column["type"], column["description"]) for column in dataset["columns"]]
        assert held == [(column.name, column.type, column.comment) for column in view.columns]
        times = {column["column_name"] for column in dataset["columns"] if column["is_dttm"]}
        assert dataset["main_dttm_col"] in times


def test_nobody_sums_snapshots_or_people(bundle: dict[str, Any]) -> None:
    for dataset in of_kind(bundle, "datasets"):
        sums = {metric["metric_name"] for metric in dataset["metrics"] if metric["expression"].startswith("sum(")}
        assert not sums & {"sum_reach", "sum_engagement_rate", "sum_avg_watch_time_seconds"}
        assert bool(sums) is (dataset["table_name"] in {"latest_post_metrics", "post_totals", "channel_totals"})


def test_charts_have_grains_that_the_engine_knows(bundle: dict[str, Any]) -> None:
    grains = {chart["params"].get("time_grain_sqla") for chart in of_kind(bundle, "charts")} - {None}
    assert grains
    assert grains <= set(TIME_GRAINS)


def test_the_address_asks_for_the_password_at_the_import(bundle: dict[str, Any]) -> None:
    (database,) = of_kind(bundle, "databases")
    uri = "clickhousedb+connect://bi:XXXXXXXXXX@clickhouse.example.com:8443/figures?secure=true"
    assert database["sqlalchemy_uri"] == uri
    assert not any(database[name] for name in ("allow_dml", "allow_ctas", "allow_cvas", "allow_csv_upload"))


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"groupby": ["colour"]}, r"'Posts' names \['colour'\], which posts does not have"),
        ({"metric": "sum_reach"}, "'Posts' names the metric sum_reach, which posts lacks"),
    ],
)
def test_a_chart_of_what_a_view_lacks_is_refused(wrong: dict[str, Any], reason: str) -> None:
    chart = {"name": "Posts", "width": 12, "viz": "pie", "dataset": "posts", "metric": "count", "groupby": ["status"]}
    assert documents([[chart]], PLACE, "2026-12-01T00:00:00Z")
    with pytest.raises(ValueError, match=reason):
        documents([[{**chart, **wrong}]], PLACE, "2026-12-01T00:00:00Z")


def test_what_is_written_now_replaces_what_was_imported_before(tmp_path: Path) -> None:
    one, two = (documents(read_charts(), place, "2026-12-01T00:00:00Z") for place in (PLACE, Place()))
    ids = [{path: made.get("uuid") for path, made in documents_.items()} for documents_ in (one, two)]
    assert ids[0] == ids[1]
