"""OpenPost's parameters."""

from __future__ import annotations

import pytest

from services.query_api.reads.query import SnapshotsQuestion
from tests.support.query_api import NOW, fake_api

DAY = 86_400_000


@pytest.mark.parametrize("path", ["/v1/analytics", "/v1/analytics/post/p1"])
@pytest.mark.parametrize("days", ["0", "366", "-1", "", "x", "1.5", "+3", " 3", "1e1", "٣", "99999999999"])
async def test_bad_days_are_422_before_anything_is_asked(path: str, days: str) -> None:
    api = fake_api()
    reply = await api.client.get(path, params={"days": days}, headers=api.add_key("w1", "good"))
    assert (reply.status_code, reply.json()["code"]) == (422, "invalid_parameter")
    assert "days" in reply.json()["message"]
    assert not api.read_model.asked


@pytest.mark.parametrize("days", [1, 30, 365])
async def test_days_are_counted_back_from_now(days: int) -> None:
    api = fake_api()
    await api.client.get("/v1/analytics", params={"days": days}, headers=api.add_key("w1", "good"))
    assert api.read_model.asked == [SnapshotsQuestion("w1", None, NOW - days * DAY, 500)]


@pytest.mark.parametrize("integration_id", ["", "no id", "a" * 129, "unknown"])
async def test_an_unknown_integration_is_404(integration_id: str) -> None:
    api = fake_api()
    reply = await api.client.get(
        "/v1/analytics", params={"integration_id": integration_id}, headers=api.add_key("w1", "good")
    )
    assert (reply.status_code, reply.json()["code"]) == (404, "not_found")
