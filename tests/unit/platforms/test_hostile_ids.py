"""Whatever an id from outside holds, a call's path stays what it was meant to be and its query gains no parameter."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import product
from urllib.parse import parse_qsl, unquote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from services.platforms import all_platforms
from services.platforms.abilities import AcrossAccounts
from services.platforms.base import Call, Channel, Platform, Target
from services.platforms.http_reading import path_part
from services.poller.asking.fetch import target_of
from services.poller.errors import NotSent
from tests.support import properties

HARMLESS = "7777777"
NOW = 1_790_000_000_000
PLATFORMS = all_platforms()
# A prefix chooses the way that some platforms ask for an id.
PREFIXES = ["", "r/", "u/", "t5_", "t3_", "/", "locations/", "accounts/1/locations/", "at://did:plc:a/", "did:plc:",
            "urn:li:organization:", "urn:li:organizationBrand:", "urn:li:share:", "urn:li:ugcPost:", "urn:li:activity:",
            "urn:li:person:"]  # fmt: skip
PIECES = ["..", ".", "/", "\\", "?", "#", "&", "=", "%", "%2e", "%2E%2e%2f", "%252e", "%00", "\0", "\r\n", "\t", " ",
          ";", ",", ")", "(", "'", '"', "@", ":", "//", "é", "\N{RIGHT-TO-LEFT OVERRIDE}", "me", "1", "access_token=x",
          "fields=id", "http://127.0.0.1/"]  # fmt: skip
hostile = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), min_size=1, max_size=6).map("".join)
TYPES = ["", "video", "instagram-reel", "instagram-story", "carousel"]


def calls(platform: Platform, external_id: str, username: str, post_type: str) -> Iterator[Call]:
    """Every call that a platform makes for an id."""
    channel = Channel("w1", "c1", external_id, username)
    for own in (channel, Channel("w1", "c1", "1")):
        for is_story in (False, True):
            yield from platform.post_calls(own, [Target("t", "p", external_id, post_type, NOW - 1, is_story)], NOW)
    yield from platform.channel_calls(channel, NOW)
    yield platform.identity_call(channel)
    if isinstance(platform, AcrossAccounts):
        yield from platform.app_post_calls([Target("t", "p", external_id, post_type, NOW - 1)])


def sent(call: Call) -> tuple[str, tuple[str, ...]]:
    """Path and names of parameters, as they go over the wire."""
    text = target_of(call).decode("ascii")
    assert re.fullmatch(r"[!-~]+", text)
    assert "#" not in text
    path, _, query = text.partition("?")
    return path, tuple(name for name, _ in parse_qsl(query, keep_blank_values=True))


@cache
def meant(name: str) -> set[tuple[str, str | None, re.Pattern[str], tuple[str, ...]]]:
    """The ways that a platform asks in, with any text without a slash where the id stands in a path."""
    found = set()
    for prefix, post_type in product(PREFIXES, TYPES):
        for external_id, username in ((prefix + HARMLESS, ""), ("1", prefix + HARMLESS), ("o" + HARMLESS, "")):
            for call in calls(PLATFORMS[name], external_id, username, post_type):
                path, names = sent(call)
                pattern = re.sub(rf"[^/]*{HARMLESS}", "[^/]*", re.escape(path).replace("/1/", "/[^/]*/"))
                pattern = re.sub("/1$", "/[^/]*", pattern)
                found.add((call.method, call.base_url, re.compile(pattern), names))
    return found


@pytest.mark.parametrize("name", sorted(PLATFORMS))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=properties.of(100), deadline=None)
@given(st.sampled_from(PREFIXES), hostile, st.sampled_from(TYPES), st.booleans())
@example("", "../me", "", False)
@example("", "..", "", False)
@example("", "%2e%2e", "", False)
@example("", "1?fields=access_token", "", False)
@example("", "1#x", "", False)
@example("urn:li:organization:", "..", "", False)
@example("locations/", "..", "", False)
@example("r/", "..", "", True)
def test_an_id_stays_in_its_place(name: str, prefix: str, tail: str, post_type: str, as_username: bool) -> None:
    external_id, username = ("1", prefix + tail) if as_username else (prefix + tail, "")
    for call in calls(PLATFORMS[name], external_id, username, post_type):
        path, names = sent(call)
        # Servers resolve dot segments also where they are escaped.
        assert not {".", ".."} & {unquote(segment) for segment in path.split("/")}
        assert [
            pattern
            for method, base_url, pattern, known in meant(name)
            if (method, base_url, known) == (call.method, call.base_url, names) and pattern.fullmatch(path)
        ], path


@settings(deadline=None)
@given(hostile)
@example("..")
@example(".")
@example("../..")
@example("..\\..")
def test_a_part_of_a_path_is_one_segment_and_comes_back(external_id: str) -> None:
    part = path_part(external_id)
    assert re.fullmatch(r"[A-Za-z0-9_.~%-]*", part)
    assert unquote(part) not in (".", "..")
    assert external_id in (".", "..") or unquote(part) == external_id


@pytest.mark.parametrize("path", ["/v1/../me", "/v1/%2e%2e/me", "/v1/.%2E/me", "/v1/."])
def test_a_path_that_leads_out_of_itself_is_never_sent(path: str) -> None:
    with pytest.raises(NotSent, match="path_part"):
        target_of(Call("IDENTITY", "GET", path))
