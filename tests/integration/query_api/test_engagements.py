"""Engagements in ClickHouse, of exports and of views: the definition of `schemas.metrics`, at the edges of 64 bits."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

from schemas.metric_sql import ENGAGEMENTS
from schemas.metrics import INT64_MAX, INT64_MIN, POST_NAMES, post_engagements, total
from services.runtime.migrations import migrations
from tests.support.engine_process import run_statements

NAMES = ("likes", "comments", "shares", "saves")
EDGES = (None, 0, -3, 7, 2**62, INT64_MAX - 1, INT64_MAX, INT64_MIN, INT64_MIN + 1, -(2**62))
CASES = [
    *product(EDGES, EDGES, (None, 1, -1), (None,)),
    *((edge, edge, edge, edge) for edge in EDGES),
    # Each sum next to a bound, the parts with every rest of a division by four.
    *((INT64_MAX - 6 + step, first, 3 - first, 0) for step in range(7) for first in range(4)),
    *((INT64_MIN + 6 - step, -first, first - 3, 0) for step in range(7) for first in range(4)),
]


def _values(case: tuple[int | None, ...]) -> tuple[int | None, ...]:
    return tuple(dict(zip(NAMES, case, strict=True)).get(name) for name in POST_NAMES)


def _answers(folder: Path, statements: list[str]) -> list[str]:
    config = folder / "config.xml"
    config.write_text("<clickhouse></clickhouse>")
    found = run_statements(folder / "data", config, statements, 120)
    assert not [error for error, _ in found if error]
    return [answer for _, answer in found]


def _sql(value: int | None) -> str:
    return "NULL" if value is None else f"toInt64('{value}')"


def test_the_expression_is_the_definition(tmp_path: Path) -> None:
    columns = ", ".join(f"CAST(held.{place}, 'Nullable(Int64)') AS {name}" for place, name in enumerate(NAMES, 1))
    rows = ", ".join(f"({', '.join(map(_sql, case))})" for case in CASES)
    kind = f"Array(Tuple({', '.join(['Nullable(Int64)'] * 4)}))"
    (answer,) = _answers(
        tmp_path,
        [f"SELECT {ENGAGEMENTS} FROM (SELECT {columns} FROM (SELECT arrayJoin(CAST([{rows}], '{kind}')) AS held))"],
    )
    expected = [post_engagements(_values(case)) for case in CASES]
    assert [None if text == "\\N" else int(text) for text in answer.split("\n")] == expected
    assert {INT64_MAX, INT64_MIN, None} < set(expected)


def test_the_views_of_analysts_bound_a_sum(tmp_path: Path) -> None:
    statements = [statement for migration in migrations() for statement in migration.statements(None)]
    values = _values((INT64_MAX, INT64_MAX, None, 5))
    figures = {
        **{name: str(value) for name, value in zip(POST_NAMES, values, strict=True) if value is not None},
        "views": 2,
    }
    common = {"generation": 0, "workspace_id": "w1", "post_id": "p1", "version": 1}
    target = {**common, "target_id": "t1", "channel_id": "c1", "captured_at": 1_780_000_000, **figures}
    rows = {
        "channels_store": {"workspace_id": "w1", "channel_id": "c1", "platform": "x", "version": 1},
        "post_snapshots_store": {**target, "event_id": "e1"},
        "latest_post_metrics_store": {**target, "is_listed": 1, "registers": "[]"},
        "post_totals_store": {**common, **figures, "targets": "[]"},
    }
    settings = "SETTINGS input_format_skip_unknown_fields = 1"
    inserts = [f"INSERT INTO {table} {settings} FORMAT JSONEachRow {json.dumps(row)}" for table, row in rows.items()]
    views = ("post_snapshots", "latest_post_metrics", "post_totals")
    *_, snapshots, latest, totals = _answers(
        tmp_path,
        [
            "CREATE DATABASE tidemark", "USE tidemark", *statements,
            "INSERT INTO active_generations (generation, version) VALUES (0, 1)", *inserts,
            *(f"SELECT engagements FROM {view}" for view in views),
        ],
    )  # fmt: skip
    assert [snapshots, latest, totals] == [str(post_engagements(total([values])))] * 3 == [str(INT64_MAX)] * 3
