"""`schemas/metrics.py` is the one definition: Avro fields, ClickHouse columns and insert columns follow it."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

import pytest

from schemas import metrics
from schemas.codec import schema_text
from schemas.metrics import CHANNEL_METRICS, CHANNEL_NAMES, POST_METRICS, POST_NAMES, WINDOW_METRICS, Metric
from schemas.views import public_views
from services.aggregator import rows
from services.runtime.migrations import migrations

_CREATE = re.compile(r"CREATE (?:(TABLE|VIEW) IF NOT EXISTS|OR REPLACE (VIEW)) (\w+) +\(\n")
_COLUMN = re.compile(r"^ {4}`?([A-Za-z_.]+)`? (.+?) COMMENT '((?:[^']|'')*)'")
_ADD = re.compile(
    r"ALTER TABLE (\w+)\s+ADD COLUMN IF NOT EXISTS\s+(\w+) (\S+) DEFAULT .*? COMMENT '((?:[^']|'')*)'", re.DOTALL
)
DERIVED = ("engagements", "engagement_rate")


class Relation(NamedTuple):
    """One table or view of the migrations."""

    kind: str
    columns: dict[str, tuple[str, str]]  # name -> (type, comment)
    undocumented: list[str]
    statement: str


def relations() -> dict[str, Relation]:
    found: dict[str, Relation] = {}
    for migration in migrations():
        for statement in migration.statements(None):
            if added := _ADD.match(statement):
                found[added[1]].columns[added[2]] = (added[3], added[4].replace("''", "'"))
            match = _CREATE.match(statement)
            if match is None:
                continue
            kind, name = match[1] or match[2], match[3]
            columns: dict[str, tuple[str, str]] = {}
            undocumented: list[str] = []
            for line in statement[match.end() :].splitlines():
                if line.startswith(")"):
                    break
                if line.startswith("    INDEX "):
                    continue
                column = _COLUMN.match(line)
                if column is None:
                    undocumented.append(line.strip())
                else:
                    columns[column[1]] = (column[2], column[3].replace("''", "'"))
            found[name] = Relation(kind, columns, undocumented, statement)
    return found


RELATIONS = relations()
STORES = {
    "post_snapshots_store": POST_METRICS,
    "latest_post_metrics_store": POST_METRICS,
    "post_totals_store": POST_METRICS,
    "channel_snapshots_store": CHANNEL_METRICS,
    "latest_channel_metrics_store": CHANNEL_METRICS,
    "channel_totals_store": WINDOW_METRICS,
}
VIEWS = {
    "post_snapshots": POST_METRICS,
    "latest_post_metrics": POST_METRICS,
    "post_totals": POST_METRICS,
    "channel_snapshots": CHANNEL_METRICS,
    "channel_totals": WINDOW_METRICS,
}
PUBLIC = {*VIEWS, "posts", "channels", "raw_events"}
INSERTS = [
    rows.RAW_EVENTS, rows.POST_SNAPSHOTS, rows.CHANNEL_SNAPSHOTS, rows.LATEST_POST_METRICS,
    rows.LATEST_CHANNEL_METRICS, rows.CHANNELS, rows.POSTS, rows.POST_TOTALS, rows.CHANNEL_TOTALS,
]  # fmt: skip


def test_positions_name_their_metrics() -> None:
    short = {"WATCH_TIME": "watch_time_seconds", "AVG_WATCH_TIME": "avg_watch_time_seconds"}
    for name, value in vars(metrics).items():
        if not name.isupper() or type(value) is not int or name.startswith(("INT64", "MILLIS", "_")):
            continue
        plain = name.removeprefix("CH_")
        names = CHANNEL_NAMES if name.startswith("CH_") else POST_NAMES
        assert names[value] == short.get(plain, plain.lower()), name


def test_metric_names_are_unique_and_described() -> None:
    for group in (POST_METRICS, CHANNEL_METRICS, WINDOW_METRICS):
        names = [metric.name for metric in group]
        assert len(set(names)) == len(names)
        assert all(metric.doc.endswith(".") for metric in group)


def avro_type(metric: Metric) -> Any:
    if metric.is_duration:
        return ["null", {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 3}]
    return ["null", "long"]


def avro_fields(topic: str, part: str | None = None) -> list[dict[str, Any]]:
    fields: list[dict[str, Any]] = json.loads(schema_text(topic))["fields"]
    if part is not None:
        (field,) = [field for field in fields if field["name"] == part]
        fields = field["type"]["items"]["fields"]
    return fields


@pytest.mark.parametrize(
    ("topic", "part", "group"),
    [
        ("metrics.post-snapshots", None, POST_METRICS),
        ("metrics.channel-snapshots", None, CHANNEL_METRICS),
        ("rollups.posts", None, POST_METRICS),
        ("rollups.posts", "channels", POST_METRICS),
        ("rollups.channels", None, WINDOW_METRICS),
    ],
)
def test_avro_fields_are_the_metric_columns(topic: str, part: str | None, group: tuple[Metric, ...]) -> None:
    fields = {field["name"]: field for field in avro_fields(topic, part)}
    names = [metric.name for metric in group]
    assert [name for name in fields if name in names] == names, "in the order of schemas/metrics.py"
    for metric in group:
        field = fields[metric.name]
        assert field["type"] == avro_type(metric), metric.name
        assert field["default"] is None
        assert field["doc"] == metric.comment
    for name in DERIVED:
        assert name in fields
    known = {metric.name for metric in (*POST_METRICS, *CHANNEL_METRICS)}
    assert not (set(fields) & known) - set(names) - set(DERIVED), "a metric that this topic should not have"


@pytest.mark.parametrize("name", sorted(RELATIONS))
def test_each_column_has_a_comment(name: str) -> None:
    relation = RELATIONS[name]
    assert relation.columns
    assert not relation.undocumented
    assert all(comment for _, comment in relation.columns.values())
    assert re.search(r"COMMENT '.+';?$", relation.statement), "and the relation itself"


def test_each_public_name_is_a_view() -> None:
    for name in PUBLIC:
        assert RELATIONS[name].kind == "VIEW"
        assert " FINAL" in RELATIONS[name].statement


@pytest.mark.parametrize(("name", "group"), [*STORES.items(), *VIEWS.items()])
def test_clickhouse_columns_are_the_metric_columns(name: str, group: tuple[Metric, ...]) -> None:
    columns = RELATIONS[name].columns
    names = [metric.name for metric in group]
    assert [column for column in columns if column in names] == names, "in the order of schemas/metrics.py"
    for metric in group:
        # Counts as the platform gave them, durations with milliseconds.
        kind = "Nullable(Decimal(18, 3))" if metric.is_duration else "Nullable(Int64)"
        assert columns[metric.name] == (kind, metric.comment), metric.name


@pytest.mark.parametrize("name", sorted(VIEWS))
def test_each_view_shows_the_derived_columns(name: str) -> None:
    assert set(DERIVED) <= set(RELATIONS[name].columns)


@pytest.mark.parametrize("table", INSERTS, ids=lambda table: table[0])
def test_inserts_name_columns_that_exist(table: tuple[str, tuple[str, ...]]) -> None:
    name, columns = table
    assert len(set(columns)) == len(columns)
    assert set(columns) == set(RELATIONS[name].columns), "each column, and no other"


def test_no_table_holds_secrets() -> None:
    for name, relation in RELATIONS.items():
        leaks = [column for column in relation.columns if re.search(r"token(?!_expires_at)|secret|hash|cipher", column)]
        assert not leaks, name


def test_raw_events_shows_every_field_of_the_event() -> None:
    fields = {field["name"] for field in avro_fields("platform.raw")} - {"targets"}
    nested = {f"targets.{name}" for name in ("target_id", "post_id", "external_id")}
    assert set(RELATIONS["raw_events"].columns) >= fields | nested | {"topic", "partition", "offset"}


def test_the_public_views_are_those_of_the_newest_migrations() -> None:
    found = public_views()
    assert set(found) == PUBLIC
    for name, view in found.items():
        assert {column.name: (column.type, column.comment) for column in view.columns} == RELATIONS[name].columns
        assert f"COMMENT '{view.comment.replace(chr(39), 2 * chr(39))}'" in RELATIONS[name].statement
