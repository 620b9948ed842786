"""What stands for Grafana's data source in tests replaces its macros as the data source's own tests say."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.support.grafana import ALL, View, with_ad_hoc_filters

VIEW = View(
    start=datetime(2014, 11, 12, 11, 45, 26, 371000, UTC),
    end=datetime(2015, 11, 12, 11, 45, 26, 371000, UTC),
    interval_seconds=20,
    variables={"one": "it's", "many": ["a", "b'"], "all": ALL},
    every={"all": ["p", "q"]},
)


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        # From the data source's macros_test.go: times as seconds, both ends included.
        ("$__timeFilter(cast(sth as timestamp))",
         "cast(sth as timestamp) >= toDateTime(1415792726) AND cast(sth as timestamp) <= toDateTime(1447328726)"),
        ("col >= $__fromTime", "col >= toDateTime(1415792726)"),
        ("col <= $__toTime", "col <= toDateTime(1447328726)"),
        ("$__timeInterval(col)", "toStartOfInterval(toDateTime(col), INTERVAL 20 second)"),
        ("count() / $__interval_s", "count() / 20"),
        ("${one:singlequote}", "'it\\'s'"),
        ("IN (${many:singlequote})", "IN ('a','b\\'')"),
        ("$one", "it's"),
        ("IN ($many)", "IN ('a','b'')"),
        ("$__conditionalAll(x IN (${many:singlequote}), $many)", "x IN ('a','b\\'')"),
        ("$__conditionalAll(x IN (${all:singlequote}), $all) AND y", "1=1 AND y"),
        ("x IN (${all:singlequote})", "x IN ('p','q')"),
    ],
)  # fmt: skip
def test_a_macro_becomes_sql(written: str, sent: str) -> None:
    assert VIEW.expanded(written) == sent


@pytest.mark.parametrize(
    "written",
    ["$unknown", "$__timeFilter(a, b)", "$__conditionalAll(x)", "$__noSuchMacro(x)", "${one:regex}", "$__timeFilter(a",
     "$__conditionalAll(x = 1, ${many:singlequote})"],
)  # fmt: skip
def test_what_the_data_source_would_leave_as_it_is_is_refused(written: str) -> None:
    with pytest.raises(ValueError):
        VIEW.expanded(written)


def test_ad_hoc_filters_go_into_the_settings() -> None:
    # From the data source's adHocFilter.test.ts.
    sent = with_ad_hoc_filters("SELECT * FROM foo", "foo", [("key", "=", "val"), ("keyNum", "=", "123")])
    assert sent == (
        "SELECT * FROM foo settings additional_table_filters={'foo' : ' key = \\'val\\' AND keyNum = \\'123\\' '}"
    )
