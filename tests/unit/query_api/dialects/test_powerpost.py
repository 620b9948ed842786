"""PowerPost's workspace header."""

from __future__ import annotations

import httpx
import pytest

from services.query_api.reads.query import TargetQuestion
from tests.support.query_api import fake_api, target

PATH = "/api/v1/post-items/t1/analytics"


@pytest.mark.parametrize("header", [{"X-Workspace-Id": "w2"}, {"X-Workspace-Id": ""}, {"X-Workspace-Id": "W1"}])
async def test_another_workspace_reads_404(header: dict[str, str]) -> None:
    api = fake_api()
    api.read_model.answers[TargetQuestion("w1", "t1")] = target("t1")
    headers = dict(api.add_key("w1", "good"))
    missing = await api.client.get("/api/v1/post-items/t9/analytics", headers={**headers, "X-Workspace-Id": "w1"})
    reply = await api.client.get(PATH, headers={**headers, **header})
    assert (reply.status_code, reply.content) == (404, missing.content)
    assert [question.workspace_id for question in api.read_model.asked] == ["w1"]


async def test_without_the_header_the_workspace_is_the_keys_own() -> None:
    api = fake_api()
    api.read_model.answers[TargetQuestion("w1", "t1")] = target("t1")
    key = api.add_key("w1", "good")
    named = await api.client.get(PATH, headers={**key, "X-Workspace-Id": "w1"})
    assert named.status_code == 200
    bare = await api.client.get(PATH, headers=key)
    assert (bare.status_code, bare.content) == (200, named.content)
    assert (await api.client.get(PATH, headers=api.add_key("w2", "other"))).status_code == 404


async def test_two_workspaces_are_none() -> None:
    api = fake_api()
    api.read_model.answers[TargetQuestion("w1", "t1")] = target("t1")
    api.add_key("w1", "good")
    headers = httpx.Headers([("x-api-key", "good"), ("X-Workspace-Id", "w1"), ("X-Workspace-Id", "w2")])
    assert (await api.client.get(PATH, headers=headers)).status_code == 404


async def test_the_key_comes_in_x_api_key() -> None:
    api = fake_api()
    api.read_model.answers[TargetQuestion("w1", "t1")] = target("t1")
    api.add_key("w1", "good")
    reply = await api.client.get(PATH, headers={"x-api-key": "good", "X-Workspace-Id": "w1"})
    assert reply.status_code == 200
