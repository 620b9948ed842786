"""Channels to begin with, and whom a sandbox of made-up figures answers."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from infra.sandbox.__main__ import main
from infra.sandbox.app import Sandbox
from infra.sandbox.channels import MOST_POSTS, PLATFORMS, access_token
from infra.sandbox.ids import behaviour, behaviours_of, published_at
from infra.sandbox.state import State
from services.platforms import all_platforms, platform
from services.platforms.base import Channel, Outcome
from services.query_api.admin.parameters import CatalogLine, ChannelLine


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    assert main(["channel", *arguments]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_every_platform_has_one() -> None:
    assert set(PLATFORMS) == set(all_platforms())


@pytest.mark.parametrize("name", PLATFORMS)
def test_it_is_what_catalog_apply_takes(capsys: pytest.CaptureFixture[str], name: str) -> None:

    lines = printed(capsys, name, "--workspace", "w1", "--id", "mine", "--posts", "3")
    channel, *posts = (CatalogLine.validate_json(json.dumps(line)) for line in lines)
    assert isinstance(channel, ChannelLine)
    assert (channel.workspace_id, channel.id, channel.platform) == ("w1", "mine", name)
    assert len(posts) == (0 if name == "google_business" else 3)
    for line in lines[1:]:
        (target,) = line["targets"]
        assert target["channel_id"] == "mine"
        assert published_at(name, target["external_id"]) is not None


@pytest.mark.parametrize("name", [name for name in PLATFORMS if name != "google_business"])
def test_a_larger_world_has_culprits_of_several_kinds(capsys: pytest.CaptureFixture[str], name: str) -> None:
    lines = printed(capsys, name, "--posts", "20")
    kinds = [behaviour(name, target["external_id"]) for line in lines[1:] for target in line["targets"]]
    assert kinds[:20] == [""] * 20
    assert len(kinds) == 22
    assert set(kinds[20:]) <= set(behaviours_of(name).values())
    assert len(printed(capsys, name, "--posts", "2", "--culprits", "5")) == 1 + 2 + 5
    assert len(printed(capsys, name, "--posts", "20", "--culprits", "0")) == 1 + 20


def test_bounds_are_said_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["channel", "x", "--posts", str(MOST_POSTS + 1)])
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(SystemExit):
        main(["channel", "x", "--culprits", "-1"])
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("name", PLATFORMS)
async def test_a_sandbox_of_its_own_tokens_answers_no_other(name: str) -> None:
    state = State(own_tokens=True)
    known = platform(name)
    call = known.identity_call(Channel("w1", "c1", "1001", "name"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(Sandbox(state)), base_url="http://sandbox") as client:
        for token, is_answered in ((access_token(name), True), ("EAAB-real-token", False)):
            reply = await client.request(
                call.method, call.path, params=call.query_text(), headers=known.authorize(token),
                json=call.json,
            )  # fmt: skip
            outcome = known.classify(reply.status_code, reply.headers, reply.content, 0).outcome
            assert (outcome is not Outcome.PLATFORM_DOWN) == is_answered, reply.text
            assert ("--no-sandbox" in reply.text) == (not is_answered)
