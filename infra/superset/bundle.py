"""The documents of Superset's import: a database, a dataset for each public view, charts, and their dashboard. Pure.

Names and fields are those of Superset's import of version 1.0.0. Ids are made of names, so that a later import replaces
what an earlier one made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from schemas.metrics import CHANNEL_METRICS, POST_METRICS, WINDOW_METRICS, Kind
from schemas.views import View, public_views

VERSION = "1.0.0"
DATABASE = "Tidemark"
# Superset asks for the password at the import where the address has this one.
_PASSWORD_MASK = "XXXXXXXXXX"
_CHART_HEIGHT = 50
_TABLE_ROWS = 1000
_SERIES_ROWS = 10_000
_TIMES = {"raw_events": "captured_at", "posts": "published_at", "channels": "updated_at"}
_KINDS = {metric.name: metric.kind for metric in (*WINDOW_METRICS, *CHANNEL_METRICS, *POST_METRICS)}
# A ratio, a mean and people that were reached have no sums over rows; neither have snapshots, which are one figure
# again and again.
_SUMMED = (Kind.CUMULATIVE, Kind.DURATION, Kind.GAUGE)

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Where Superset finds ClickHouse; the user may only read.

    Attributes:
        database: of the views, which Superset calls a schema.
    """

    host: str = "127.0.0.1"
    port: int = 8123
    user: str = "analyst"
    database: str = "tidemark"
    secure: bool = False

    @property
    def uri(self) -> str:
        """The address in SQLAlchemy's form, with a mask for the password."""
        query = "?secure=true" if self.secure else ""
        return f"clickhousedb+connect://{self.user}:{_PASSWORD_MASK}@{self.host}:{self.port}/{self.database}{query}"


def documents(charts: Sequence[Sequence[Mapping[str, Any]]], place: Place, made_at: str) -> dict[str, Document]:
    """Every file of the bundle by its path.

    Args:
        charts: rows of charts, as in `charts.json`.
        made_at: ISO 8601.

    Raises:
        ValueError: a chart asks for what its view does not have.
    """
    found: dict[str, Document] = {
        "metadata.yaml": {"version": VERSION, "type": "Dashboard", "timestamp": made_at},
        f"databases/{DATABASE}.yaml": {
            "database_name": DATABASE,
            "sqlalchemy_uri": place.uri,
            "expose_in_sqllab": True,
            "allow_run_async": False,
            "allow_ctas": False,
            "allow_cvas": False,
            "allow_dml": False,
            "allow_csv_upload": False,
            "extra": {"allows_virtual_table_explore": True},
            "uuid": _uuid("database"),
            "version": VERSION,
        },
    }
    for view in public_views().values():
        found[f"datasets/{DATABASE}/{view.name}.yaml"] = _dataset(view, place)
    for row in charts:
        for chart in row:
            found[f"charts/{chart['name'].replace(' ', '_')}.yaml"] = _chart(chart)
    found["dashboards/Tidemark.yaml"] = _dashboard(charts)
    return found


def _uuid(name: str) -> str:
    return str(uuid5(NAMESPACE_URL, f"tidemark/superset/{name}"))


def _metrics(view: View) -> dict[str, str]:
    """Saved metrics of a view: expressions by name."""
    found = {"count": "count()"}
    for column in view.columns:
        kind = Kind.CUMULATIVE if column.name == "engagements" else _KINDS.get(column.name)
        if kind in _SUMMED and not view.name.endswith("_snapshots"):
            found[f"sum_{column.name}"] = f"sum({column.name})"
        if kind is Kind.GAUGE:
            found[f"max_{column.name}"] = f"max({column.name})"
    return found


def _dataset(view: View, place: Place) -> Document:
    return {
        "table_name": view.name,
        "main_dttm_col": _TIMES.get(view.name, "captured_at"),
        "description": view.comment,
        "schema": place.database,
        "sql": None,
        "params": None,
        "filter_select_enabled": True,
        "uuid": _uuid(f"dataset/{view.name}"),
        "columns": [
            {
                "column_name": column.name,
                "type": column.type,
                "description": column.comment,
                "is_dttm": column.is_time,
                "is_active": True,
                "groupby": True,
                "filterable": True,
            }
            for column in view.columns
        ],
        "metrics": [
            {"metric_name": name, "verbose_name": name.replace("_", " "), "expression": expression}
            for name, expression in _metrics(view).items()
        ],
        "version": VERSION,
        "database_uuid": _uuid("database"),
    }


def _chart(chart: Mapping[str, Any]) -> Document:
    view = public_views()[chart["dataset"]]
    _check(chart, view)
    return {
        "slice_name": chart["name"],
        "viz_type": chart["viz"],
        "params": _params(chart),
        "query_context": None,
        "cache_timeout": None,
        "uuid": _uuid(f"chart/{chart['name']}"),
        "version": VERSION,
        "dataset_uuid": _uuid(f"dataset/{view.name}"),
    }


def _check(chart: Mapping[str, Any], view: View) -> None:
    named = [*chart.get("columns", ()), *chart.get("groupby", ()), *chart.get("filters", {})]
    named += [chart[key] for key in ("time", "order") if key in chart]
    if unknown := set(named) - {column.name for column in view.columns}:
        raise ValueError(f"the chart {chart['name']!r} names {sorted(unknown)}, which {view.name} does not have")
    if "metric" in chart and chart["metric"] not in _metrics(view):
        raise ValueError(f"the chart {chart['name']!r} names the metric {chart['metric']}, which {view.name} lacks")


def _params(chart: Mapping[str, Any]) -> Document:
    """The form of a chart, as Superset's explore page saves it."""
    filters = [
        {"clause": "WHERE", "expressionType": "SIMPLE", "subject": name, "operator": "==", "comparator": value}
        for name, value in chart.get("filters", {}).items()
    ]
    if "time" in chart:
        filters.append(
            {
                "clause": "WHERE",
                "expressionType": "SIMPLE",
                "subject": chart["time"],
                "operator": "TEMPORAL_RANGE",
                "comparator": "No filter",
            }
        )
    params: Document = {"viz_type": chart["viz"], "adhoc_filters": filters}
    if chart["viz"] == "table":
        return {
            **params,
            "query_mode": "raw",
            "all_columns": list(chart["columns"]),
            "order_by_cols": [json.dumps([chart["order"], False])],
            "row_limit": _TABLE_ROWS,
        }
    if chart["viz"] == "big_number_total":
        return {**params, "metric": chart["metric"]}
    if chart["viz"] == "pie":
        return {**params, "metric": chart["metric"], "groupby": list(chart["groupby"]), "row_limit": _TABLE_ROWS}
    return {
        **params,
        "x_axis": chart["time"],
        "time_grain_sqla": chart["grain"],
        "metrics": [chart["metric"]],
        "groupby": list(chart.get("groupby", ())),
        "row_limit": _SERIES_ROWS,
    }


def _dashboard(charts: Sequence[Sequence[Mapping[str, Any]]]) -> Document:
    return {
        "dashboard_title": "Tidemark",
        "description": "The public views of Tidemark; every column is explained in its dataset.",
        "css": "",
        "slug": None,
        "uuid": _uuid("dashboard"),
        "position": _position(charts),
        "metadata": {
            "native_filter_configuration": [
                _filter("Workspace", "workspace_id"),
                _filter("Platform", "platform"),
                {
                    "id": "NATIVE_FILTER-time",
                    "name": "Time",
                    "filterType": "filter_time",
                    "type": "NATIVE_FILTER",
                    "targets": [{}],
                    "scope": {"rootPath": ["ROOT_ID"], "excluded": []},
                    "cascadeParentIds": [],
                    "controlValues": {},
                    "defaultDataMask": {"extraFormData": {}, "filterState": {}},
                },
            ],
            "cross_filters_enabled": True,
        },
        "version": VERSION,
    }


def _filter(label: str, column: str) -> Document:
    return {
        "id": f"NATIVE_FILTER-{column}",
        "name": label,
        "filterType": "filter_select",
        "type": "NATIVE_FILTER",
        "targets": [{"column": {"name": column}, "datasetUuid": _uuid("dataset/channels")}],
        "scope": {"rootPath": ["ROOT_ID"], "excluded": []},
        "cascadeParentIds": [],
        "controlValues": {"multiSelect": True, "enableEmptyFilter": False},
        "defaultDataMask": {"extraFormData": {}, "filterState": {}},
    }


def _position(charts: Sequence[Sequence[Mapping[str, Any]]]) -> Document:
    """The dashboard's layout: a grid of rows of charts."""
    rows = [f"ROW-{number}" for number in range(len(charts))]
    found: Document = {
        "DASHBOARD_VERSION_KEY": "v2",
        "ROOT_ID": {"id": "ROOT_ID", "type": "ROOT", "children": ["GRID_ID"]},
        "GRID_ID": {"id": "GRID_ID", "type": "GRID", "children": rows, "parents": ["ROOT_ID"]},
        "HEADER_ID": {"id": "HEADER_ID", "type": "HEADER", "meta": {"text": "Tidemark"}},
    }
    for row, held in zip(rows, charts, strict=True):
        children = []
        for number, chart in enumerate(held):
            name = f"CHART-{row}-{number}"
            children.append(name)
            found[name] = {
                "id": name,
                "type": "CHART",
                "children": [],
                "parents": ["ROOT_ID", "GRID_ID", row],
                "meta": {
                    "chartId": len(found),
                    "uuid": _uuid(f"chart/{chart['name']}"),
                    "sliceName": chart["name"],
                    "width": chart["width"],
                    "height": _CHART_HEIGHT,
                },
            }
        found[row] = {
            "id": row,
            "type": "ROW",
            "children": children,
            "parents": ["ROOT_ID", "GRID_ID"],
            "meta": {"background": "BACKGROUND_TRANSPARENT"},
        }
    return found
