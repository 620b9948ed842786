"""What a check asks for, and how it words what comes."""

from __future__ import annotations

import pytest

from services.platforms import all_platforms, platform
from services.platforms.base import Channel, Outcome, Target, Verdict
from services.poller.connections.tokens import Credentials
from services.poller.requests.check import Checked, Subject, mends, planned, words_of
from services.poller.requests.check_command import table
from services.runtime.secrets import TokenPair

NOW = 1_790_000_000_000


def subject(name: str, *targets: Target) -> Subject:
    channel = Channel("w1", "c1", "urn:li:organization:1" if name == "linkedin" else "1001")
    return Subject(name, platform(name), channel, targets, Credentials(TokenPair("secret-token"), ()))


def post(number: int, post_type: str = "", *, is_story: bool = False) -> Target:
    return Target(f"t{number}", f"p{number}", f"1790000000000000{number:03d}", post_type, NOW, is_story)


def test_the_newest_post_of_each_kind_is_asked_for() -> None:
    asked = planned(
        subject("x", post(1, "x-post"), post(2, "x-post"), post(3, "x-thread"), post(4, "x-post", is_story=True)), NOW
    )
    ids = [target.target_id for one in asked for target in one.call.targets]
    assert ids == ["t1", "t3", "t4"]
    assert asked[0].name == "identity"


@pytest.mark.parametrize("name", sorted(all_platforms()))
def test_every_kind_of_call_is_made_once(name: str) -> None:
    asked = planned(subject(name, post(1, f"{name}-post")), NOW)
    kinds = {one.call.kind for one in asked}
    assert {"IDENTITY", "CHANNEL_METRICS"} <= kinds
    assert len({(one.name, one.call.path, one.call.query) for one in asked}) == len(asked)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"error": {"message": "(#10) No", "code": 10}}', "(#10) No"),
        (b'{"title": "Forbidden", "detail": "No project", "errors": []}', "No project"),
        (b'{"errors": [{"message": "Bad id"}]}', "Bad id"),
        (b'[{"code": 400, "body": "{\\"error\\": {\\"message\\": \\"Inside\\"}}"}]', "Inside"),
        (b'{"error": "ExpiredToken"}', "ExpiredToken"),
        (b"<html><head><style>b{}</style></head><body><h1>502</h1> Bad &amp; gone</body></html>", "502 Bad & gone"),
        (b"", ""),
    ],
)
def test_the_platforms_own_words_are_found(body: bytes, words: str) -> None:
    assert words_of(body) == words


def test_long_words_are_cut() -> None:
    assert len(words_of(b'{"message": "%s"}' % (b"a" * 500))) == 160


def test_what_mends_a_refusal_is_the_platforms_own_first() -> None:
    youtube = subject("youtube")
    reports = next(one.call for one in planned(youtube, NOW) if one.call.path == "/v2/reports")
    assert "yt-analytics.readonly" in mends(youtube, reports, Verdict(Outcome.PERMISSION_MISSING))
    assert "connect the account again" in mends(youtube, reports, Verdict(Outcome.TOKEN_REVOKED))
    assert "TIDEMARK_YOUTUBE_BASE_URL" in mends(youtube, reports, Verdict(Outcome.PLATFORM_DOWN))
    proof = mends(subject("facebook"), reports, Verdict(Outcome.PERMISSION_MISSING, reason="appsecret_proof"))
    assert "TIDEMARK_FACEBOOK_CLIENT_SECRET" in proof


@pytest.mark.parametrize("name", sorted(all_platforms()))
@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.OK])
def test_every_refusal_has_something_that_mends_it(name: str, outcome: Outcome) -> None:
    call = all_platforms()[name].identity_call(subject(name).channel)
    assert mends(subject(name), call, Verdict(outcome))


def test_the_table_is_aligned() -> None:
    lines = table([Checked("identity", "works", "", "", False), Checked("posts", "no_data", "None", "nothing", True)])
    assert lines == [
        "call      result   what the platform says  what mends it",
        "identity  works",
        "posts     no_data  None                    nothing",
    ]
