"""Limits in numbers: they are of groups that calls count against, and a closed app stops the polls that it is for."""

from __future__ import annotations

import pytest

from services.platforms import all_platforms
from services.platforms.abilities import AcrossAccounts, Discovers
from services.platforms.base import Call, Channel, Platform, Target

NOW = 1_790_000_000_000
PLATFORMS = all_platforms()


def calls(platform: Platform, name: str) -> tuple[list[Call], list[Call]]:
    """Calls for posts, and for the channel."""
    channel = Channel("w", "c", "urn:li:organization:1" if name == "linkedin" else "1", "name")
    target = Target("t", "p", "urn:li:share:1" if name == "linkedin" else "1")
    return platform.post_calls(channel, [target], NOW), platform.channel_calls(channel, NOW)


@pytest.mark.parametrize("name", PLATFORMS)
def test_limits_are_of_groups_that_calls_have(name: str) -> None:
    platform = PLATFORMS[name]
    posts, own = calls(platform, name)
    identity = platform.identity_call(Channel("w", "c", "urn:li:organization:1", "name"))
    # Some calls are for posts of an age or of a kind, for persons, or for finding posts.
    others = [
        Target("t", "p", "1", post_type, NOW - days * 86_400_000) for days in (0, 30) for post_type in ("", "video")
    ]
    person = Channel("w", "c", "urn:li:person:1", "name")
    further = [call for target in others for call in platform.post_calls(person, [target], NOW)]
    if isinstance(platform, Discovers):
        page = Channel("w", "c", "urn:li:organization:1", "name")
        lists = [platform.discovery_call(one, NOW) for one in (person, page)]
        further += [call for call in lists if call is not None]
    groups = {call.limit_group for call in [*posts, *own, identity, *further]}
    if isinstance(platform, AcrossAccounts):
        groups |= {call.limit_group for call in platform.app_post_calls([Target("t", "p", "1")])}
    limits = platform.facts.limits
    assert {limit.group for limit in limits} <= groups
    assert len({(limit.group, limit.is_app_wide) for limit in limits}) == len(limits)
    assert all(limit.calls > 0 and limit.window_seconds > 0 for limit in limits)


@pytest.mark.parametrize("name", PLATFORMS)
def test_polls_wait_for_the_group_that_they_need(name: str) -> None:
    platform = PLATFORMS[name]
    posts, own = calls(platform, name)
    needed = {call.limit_group for call in posts or own}
    app_wide = {limit.group for limit in platform.facts.limits if limit.is_app_wide}
    if platform.facts.post_group:
        assert {platform.facts.post_group} == needed
    else:
        assert not needed & app_wide
