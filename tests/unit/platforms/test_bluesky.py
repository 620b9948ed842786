"""What is special about Bluesky."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from schemas.metrics import QUOTES, SHARES
from services.platforms.base import Channel, LimitState, Outcome, Target
from services.platforms.bluesky import PLATFORM
from tests.unit.platforms import golden

NOW = golden.RECEIVED_AT
NORMAL = golden.raw_event("bluesky", golden.response("bluesky", "normal"))
URI = NORMAL.targets[0].external_id


def test_the_parameter_is_repeated_and_joined_by_commas_in_the_event() -> None:
    targets = [Target(f"t{n}", "p", f"at://did:plc:a/app.bsky.feed.post/{n}") for n in range(3)]
    (call,) = PLATFORM.post_calls(Channel("w", "c", "did:plc:a"), targets)
    assert [name for name, _ in call.query] == ["uris"] * 3
    assert call.request_map() == {"uris": ",".join(target.external_id for target in targets)}


@pytest.mark.parametrize(
    ("counts", "shares", "quotes"),
    [
        ({"repostCount": 2, "quoteCount": 3}, 5, 3),
        ({"repostCount": 2}, 2, None),
        ({"quoteCount": 3}, 3, 3),
        ({"likeCount": 1}, None, None),
    ],
)
def test_shares_are_reposts_and_quotes(counts: dict[str, Any], shares: int | None, quotes: int | None) -> None:
    event = replace(NORMAL, body=orjson.dumps({"posts": [{"uri": URI, **counts}]}))
    (reading,) = PLATFORM.read(event).posts
    assert (reading.values[SHARES], reading.values[QUOTES]) == (shares, quotes)


def test_a_post_without_counts_says_nothing_but_is_not_gone() -> None:
    reading = PLATFORM.read(replace(NORMAL, body=orjson.dumps({"posts": [{"uri": URI, "cid": "c"}]})))
    assert not reading.posts
    assert not reading.gone


def test_of_several_profiles_the_one_asked_for_counts() -> None:
    event = golden.raw_event("bluesky", golden.response("bluesky", "channel"))
    profiles = [{"did": "did:plc:other", "followersCount": 1}, *orjson.loads(event.body)["profiles"]]
    (channel,) = PLATFORM.read(replace(event, body=orjson.dumps({"profiles": profiles}))).channels
    assert channel.values[0] == 25_000_000


@pytest.mark.parametrize(
    ("status", "error", "message", "outcome"),
    [
        (400, "InvalidToken", "Token could not be verified", Outcome.TOKEN_EXPIRED),
        (400, "InvalidToken", "Token has been revoked", Outcome.TOKEN_REVOKED),
        (400, "AccountDeactivated", "Account is deactivated", Outcome.ACCOUNT_DISABLED),
        (400, "InvalidRequest", "Profile not found", Outcome.TARGET_GONE),
        (400, "InvalidRequest", "Error: uris must not have more than 25 elements", Outcome.REQUEST_WRONG),
        (502, "UpstreamFailure", "Upstream Failure", Outcome.PLATFORM_DOWN),
        (500, "SomethingNew", "", Outcome.PLATFORM_DOWN),
        (200, "SomethingNew", "", Outcome.PLATFORM_DOWN),
    ],
)
def test_errors_go_by_their_names(status: int, error: str, message: str, outcome: Outcome) -> None:
    body = orjson.dumps({"error": error, "message": message})
    assert PLATFORM.classify(status, {}, body, NOW).outcome is outcome


def test_an_error_with_200_says_nothing() -> None:
    event = replace(NORMAL, body=b'{"error": "InternalServerError", "message": ""}')
    assert not PLATFORM.read(event).posts


def test_limits() -> None:
    headers = golden.response("bluesky", "normal")["headers"]
    assert PLATFORM.limits(headers, NOW) == LimitState(3000, 2999, 1_795_223_100_000)
    assert PLATFORM.limits({}, NOW) is None
