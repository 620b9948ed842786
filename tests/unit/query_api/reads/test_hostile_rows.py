"""A row of one tenant that can't be read fails no read of another: both share a query."""

from __future__ import annotations

from typing import Any, cast

import orjson
import pytest

from services.query_api.reads.read_model import ClickHouseReadModel
from tests.support import hostile_values

AT = 1_780_000_000_000


def row(key: tuple[str, str], targets: str) -> tuple[Any, ...]:
    return (0, *key, "published", AT, AT, AT, targets)


@pytest.mark.parametrize("detail", hostile_values.NO_DETAILS)
async def test_a_row_of_one_tenant_fails_no_read_of_another(detail: str) -> None:
    target = {"target_id": "t9", "channel_id": "c1", "post_type": "", "status": "", "external_id": "", "detail": "D"}
    text = orjson.dumps([target]).decode()

    class Rows:
        async def rows(self, *_: Any) -> list[Any]:
            return [row(("v", "p9"), text.replace('"D"', "{}")), row(("w", "p0"), text.replace('"D"', detail))]

    model = ClickHouseReadModel.__new__(ClickHouseReadModel)
    model._clickhouse = cast("Any", Rows())
    found = await model._load_posts([("v", "p9"), ("w", "p0")])
    assert [target["target_id"] for target in found[("v", "p9")].targets] == ["t9"]
    assert all(target["detail"] == {} for target in found[("w", "p0")].targets)
