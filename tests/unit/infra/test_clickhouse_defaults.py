"""Settings that say nothing are left out before a reader's settings are judged."""

from __future__ import annotations

import pytest

from infra.embedded.clickhouse.defaults import without_meaning

VALUES = {"max_threads": "auto(2)", "allow_ddl": "1", "max_result_rows": "0", "format_schema": "", "readonly": "0"}


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ({"allow_ddl": "1"}, {}),
        ({"allow_ddl": "true"}, {}),
        ({"allow_ddl": "0"}, {"allow_ddl": "0"}),
        ({"max_result_rows": "0", "format_schema": ""}, {}),
        ({"format_schema": "/etc/passwd"}, {"format_schema": "/etc/passwd"}),
        ({"async_insert": "1", "wait_for_async_insert": "0", "insert_deduplication_token": "x"}, {}),
        ({"no_such_setting": "1", "max_threads": "1"}, {"no_such_setting": "1", "max_threads": "1"}),
    ],
)
def test_what_is_left_to_be_judged(given: dict[str, str], left: dict[str, str]) -> None:
    assert without_meaning(given, VALUES) == left
