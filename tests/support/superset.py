"""A chart's statement as Superset makes it of the chart's form, and the fields that Superset's import takes.

Source: apache/superset, `superset/db_engine_specs/clickhouse.py` (`ClickHouseConnectEngineSpec`: time grains,
`convert_dttm`, `_mutate_label`), `superset/models/helpers.py` (`get_sqla_query`), and the classes `ImportV1...Schema`
of `superset/databases/schemas.py`, `datasets/schemas.py`, `charts/schemas.py` and `dashboards/schemas.py`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect

TIME_GRAINS = {
    "PT1M": "toStartOfMinute(toDateTime({col}))",
    "PT1H": "toStartOfHour(toDateTime({col}))",
    "P1D": "toStartOfDay(toDateTime({col}))",
    "P1W": "toMonday(toDateTime({col}))",
    "P1M": "toStartOfMonth(toDateTime({col}))",
}

REQUIRED: Mapping[str, frozenset[str]] = {
    "metadata": frozenset({"version"}),
    "databases": frozenset({"database_name", "sqlalchemy_uri", "uuid", "version"}),
    "datasets": frozenset({"table_name", "uuid", "version", "database_uuid"}),
    "charts": frozenset({"slice_name", "viz_type", "uuid", "version", "dataset_uuid"}),
    "dashboards": frozenset({"dashboard_title", "uuid", "version"}),
    "column": frozenset({"column_name"}),
    "metric": frozenset({"metric_name", "expression"}),
}
"""Fields without which an import is refused, by the kind of document."""

# Fields that every version since 2.0 takes: marshmallow refuses those that a schema does not name.
_TAKEN = {
    "metadata": "type timestamp",
    "databases": "password cache_timeout expose_in_sqllab allow_run_async allow_ctas allow_cvas allow_dml"
    " allow_csv_upload extra",
    "datasets": "main_dttm_col description default_endpoint offset cache_timeout schema sql params template_params"
    " filter_select_enabled fetch_values_predicate extra columns metrics",
    "charts": "params query_context cache_timeout",
    "dashboards": "description css slug position metadata",
    "column": "verbose_name is_dttm is_active type groupby filterable expression description python_date_format",
    "metric": "verbose_name metric_type description d3format extra warning_text",
}
TAKEN: Mapping[str, frozenset[str]] = {kind: REQUIRED[kind] | set(names.split()) for kind, names in _TAKEN.items()}
"""All fields that an import takes, by the kind of document."""


def mutated(label: str) -> str:
    """The alias of a column or metric, which differs from every column's name."""
    return f"{label}_{hashlib.md5(label.encode(), usedforsecurity=False).hexdigest()[:6]}"


def statement(
    chart: Mapping[str, Any], dataset: Mapping[str, Any], dialect: Dialect, since: datetime, until: datetime
) -> str:
    """The statement of a chart with a time chosen, as text.

    Args:
        chart, dataset: documents of the import.
        since, until: of the chart's filter of time, where it has one.
    """
    form = chart["params"]
    expressions = {metric["metric_name"]: metric["expression"] for metric in dataset["metrics"]}
    table = sa.table(dataset["table_name"], schema=dataset["schema"])
    if form.get("query_mode") == "raw":
        ordered: list[Any] = [
            sa.column(name).asc() if ascending else sa.column(name).desc()
            for name, ascending in map(json.loads, form["order_by_cols"])
        ]
        query = sa.select(*[sa.column(name).label(name) for name in form["all_columns"]]).order_by(*ordered)
    else:
        metrics = form.get("metrics") or [form["metric"]]
        dimensions: list[Any] = [sa.column(name).label(mutated(name)) for name in form.get("groupby", ())]
        if "x_axis" in form:
            text = TIME_GRAINS[form["time_grain_sqla"]].format(col=form["x_axis"])
            dimensions.insert(0, sa.literal_column(text).label(mutated(form["x_axis"])))
        figures: list[Any] = [sa.literal_column(expressions[name]).label(mutated(name)) for name in metrics]
        query = sa.select(*dimensions, *figures).group_by(*[one.element for one in dimensions])
        query = query.order_by(figures[0].desc())
    for one in form["adhoc_filters"]:
        column: Any = sa.column(one["subject"])
        if one["operator"] == "TEMPORAL_RANGE":
            query = query.where(column >= _literal(since), column < _literal(until))
        else:
            assert one["operator"] == "=="
            query = query.where(column == sa.literal(one["comparator"]))
    if "row_limit" in form:
        query = query.limit(form["row_limit"])
    return str(query.select_from(table).compile(dialect=dialect, compile_kwargs={"literal_binds": True}))


def _literal(at: datetime) -> Any:
    return sa.literal_column(f"toDateTime('{at.replace(tzinfo=None).isoformat(sep=' ', timespec='seconds')}')")
