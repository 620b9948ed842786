"""OpenPost's parameters."""

from __future__ import annotations

import pytest

from services.query_api.dialects.openpost.render import post_metrics
from services.query_api.reads.query import Post, PostHistory, SnapshotsQuestion
from tests.support.query_api import NOW, fake_api, target

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


def test_a_post_without_a_permalink_has_the_platforms_own_address_of_its_id() -> None:
    targets = (
        target("t1", "c1", "x", external_id="1790000000000000001", permalink="https://x.com/acme/status/1"),
        target("t2", "c1", "youtube", external_id="dQw4w9WgXcQ"),
        target("t3", "c1", "instagram", external_id="17900000000000001"),
        target("t4", "c1", "x", external_id=""),
    )
    reply = post_metrics(PostHistory(Post("p1", "published", None, None, NOW, targets), {}))
    assert [shown["post_url"] for shown in reply["data"]["targets"]] == [
        "https://x.com/acme/status/1", "https://www.youtube.com/watch?v=dQw4w9WgXcQ", None, None
    ]  # fmt: skip
