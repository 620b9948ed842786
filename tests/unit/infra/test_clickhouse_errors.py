"""chDB's error texts as ClickHouse's replies."""

from __future__ import annotations

import pytest

from infra.embedded.clickhouse.errors import from_engine, http_status, refusal


@pytest.mark.parametrize(
    ("code", "status"),
    [(60, 404), (81, 404), (115, 404), (46, 404), (62, 400), (36, 400), (27, 400), (516, 403), (497, 403), (194, 401),
     (164, 500), (48, 501), (159, 408), (241, 500), (395, 500), (229, 413), (209, 503)],
)  # fmt: skip
def test_status_of_a_code(code: int, status: int) -> None:
    assert http_status(code) == status


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        (
            "Code: 60. DB::Exception: Table t does not exist. (UNKNOWN_TABLE)",
            60,
            "Table t does not exist. (UNKNOWN_TABLE)",
        ),
        (
            "Streaming query failed: Code: 395. DB::Exception: Boom. (FUNCTION_THROW_IF_VALUE_IS_NON_ZERO)"
            " (version 26.9.2.1)",
            395,
            "Boom. (FUNCTION_THROW_IF_VALUE_IS_NON_ZERO)",
        ),
        (
            "Code: 164. DB::Exception: Code: 164. DB::Exception: Cannot modify 'x'. (READONLY) (version 26.9.2.1)."
            " (READONLY)",
            164,
            "Cannot modify 'x'. (READONLY)",
        ),
        ("no code at all", 1002, "no code at all (UNKNOWN_EXCEPTION)"),
    ],
)
def test_engine_text(text: str, code: int, message: str) -> None:
    error = from_engine(text)
    assert (error.code, error.message) == (code, message)


def test_body_ends_in_the_version() -> None:
    assert refusal(62, "Empty query").body("26.9.2.1") == (
        "Code: 62. DB::Exception: Empty query (SYNTAX_ERROR) (version 26.9.2.1)\n"
    )
