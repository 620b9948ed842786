"""Writes `infra/dbt/tidemark/models/sources.yml`: the public views with their descriptions and tests, for dbt.

    python -m infra.dbt          writes it
    python -m infra.dbt --check  says whether it is up to date, and changes nothing

Views, columns and comments are those of the migrations; which tests a view has stands here.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from infra.generated import write_or_check
from schemas.views import Column, public_views

SOURCES = Path(__file__).parent / "tidemark" / "models" / "sources.yml"

_HEADER = """# Written by `python -m infra.dbt` from the migrations of ClickHouse; change those instead.
version: 2

sources:
  - name: tidemark
    description: Figures of social platforms about published posts and accounts. Null means that no figure was reported.
    schema: "{{ var('tidemark_database', 'tidemark') }}"
    tables:
"""


@dataclass(frozen=True, slots=True)
class Checks:
    """What dbt tests of one view.

    Attributes:
        key: columns that are unique together.
        fresh_by: the column that says how new a row is; empty where a quiet time is nothing unusual.
    """

    key: tuple[str, ...]
    fresh_by: str = ""


CHECKS = {
    "post_snapshots": Checks(("workspace_id", "target_id", "event_id"), "captured_at"),
    "channel_snapshots": Checks(
        ("workspace_id", "channel_id", "event_id", "period", "period_start", "period_end"), "captured_at"
    ),
    "latest_post_metrics": Checks(("workspace_id", "target_id"), "captured_at"),
    "post_totals": Checks(("workspace_id", "post_id")),
    "channel_totals": Checks(("workspace_id", "channel_id", "range")),
    "posts": Checks(("workspace_id", "post_id")),
    "channels": Checks(("workspace_id", "channel_id")),
    "raw_events": Checks(("workspace_id", "event_id"), "ingested_at"),
}
VALUES = {
    ("channels", "status"): ("active", "token_expired", "revoked", "disabled"),
    ("posts", "status"): ("draft", "scheduled", "publishing", "published", "failed"),
    ("channel_snapshots", "period"): ("lifetime", "day", "window"),
    ("channel_totals", "range"): ("24h", "7d", "28d"),
    ("channel_totals", "source"): ("channel", "posts", "none"),
    ("raw_events", "kind"): ("POST_METRICS", "CHANNEL_METRICS", "IDENTITY"),
    **{
        (view, "origin"): ("SCHEDULE", "LIVE", "BACKFILL")
        for view in ("post_snapshots", "channel_snapshots", "raw_events")
    },
}
"""The values that a column may have; platforms are a variable of the project."""


def document() -> str:
    """The file's text."""
    return _HEADER + "".join(f"{line}\n" for name in public_views() for line in _table(name))


def _table(name: str) -> Iterator[str]:
    view, checks = public_views()[name], CHECKS[name]
    yield f"      - name: {name}"
    yield f"        description: {_text(view.comment)}"
    if checks.fresh_by:
        yield f"        loaded_at_field: {checks.fresh_by}"
        yield "        config:"
        yield "          freshness:"
        yield "            warn_after: {count: 12, period: hour}"
        yield "            error_after: {count: 48, period: hour}"
    yield "        data_tests:"
    yield "          - unique_together:"
    yield f"              arguments: {{columns: [{', '.join(checks.key)}]}}"
    yield "        columns:"
    for column in view.columns:
        yield f"          - name: {_text(column.name) if '.' in column.name else column.name}"
        yield f"            description: {_text(column.comment)}"
        tests = list(_tests(name, column))
        if tests:
            yield "            data_tests:"
            yield from (f"              {line}" for line in tests)


def _tests(view: str, column: Column) -> Iterator[str]:
    if not column.is_nullable and "(" not in column.type.removeprefix("LowCardinality(").removeprefix("DateTime64("):
        yield "- not_null"
    values = VALUES.get((view, column.name))
    if column.name == "platform":
        yield "- accepted_values:"
        yield "    arguments: {values: \"{{ var('platforms') }}\"}"
    elif values is not None:
        yield "- accepted_values:"
        yield f"    arguments: {{values: [{', '.join(values)}]}}"


def _text(text: str) -> str:
    """A text as YAML, which JSON is."""
    return json.dumps(text, ensure_ascii=False)


def main() -> int:
    """Write or check the file; the exit code."""
    return write_or_check(SOURCES, document(), "infra.dbt", sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
