"""What a check asks for, and how it words what comes."""

from __future__ import annotations

import httpx
import orjson
import pytest

from services.platforms import all_platforms, platform
from services.platforms.base import Channel, Outcome, Target, Verdict
from services.poller.asking.directory import Directory
from services.poller.asking.fetch import Fetcher
from services.poller.connections.tokens import Credentials
from services.poller.requests.check import Checked, Checker, Subject, mends, planned, words_of
from services.poller.requests.check_command import table
from services.runtime.secrets import TokenPair
from tests.support.manual_clock import ManualTime
from tests.support.platform_transport import PlatformTransport, json_answer

NOW = 1_790_000_000_000
DID = "did:plc:k7aaaabbbbccccddddeeeeff"


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


class Servers:
    """Bluesky's app view, its directory, and the server of one account."""

    def __init__(self, home: str | None) -> None:
        self.home = home
        self.asked: list[tuple[str, str, str | None]] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append((request.url.host, request.url.path, request.headers.get("authorization")))
        if request.url.host == "plc.directory":
            if self.home is None:
                return json_answer(404, b"{}")
            kind = "AtprotoPersonalDataServer"
            service = {"id": "#atproto_pds", "type": kind, "serviceEndpoint": f"https://{self.home}"}
            return json_answer(200, orjson.dumps({"id": DID, "service": [service]}))
        if request.url.path.endswith("getProfiles"):
            return json_answer(200, orjson.dumps({"profiles": [{"did": DID, "followersCount": 1}]}))
        if request.url.path.endswith("getPosts"):
            uri = f"at://{DID}/app.bsky.feed.post/3kaaaaaaaaa2a"
            return json_answer(200, orjson.dumps({"posts": [{"uri": uri, "likeCount": 1}]}))
        if request.url.path.endswith("getAuthorFeed"):
            return json_answer(200, b'{"feed": []}')
        return json_answer(200, orjson.dumps({"did": DID, "handle": "alice.example"}))

    async def check(self) -> list[Checked]:
        transport = PlatformTransport(self.answer)
        fetcher = Fetcher({}, transports=lambda *_: transport)
        time = ManualTime()
        known = platform("bluesky")
        directory = Directory(time=time, platforms={"bluesky": known}, fetcher=fetcher)
        target = Target("t", "p", f"at://{DID}/app.bsky.feed.post/3kaaaaaaaaa2a", "", NOW)
        credentials = Credentials(TokenPair("secret-token"), ())
        try:
            return await Checker(fetcher, directory, time.now).check(
                Subject("bluesky", known, Channel("w1", "c1", DID), [target], credentials), lambda *_: None
            )
        finally:
            await fetcher.close()


async def test_the_account_s_own_server_is_asked_with_the_token_and_nobody_else() -> None:
    servers = Servers("pds.one.example")
    found = await servers.check()
    assert [one.result for one in found] == ["works"] * len(found)
    shown = {(host, path.rpartition(".")[2]): token for host, path, token in servers.asked}
    assert shown.pop(("pds.one.example", "getSession")) == "Bearer secret-token"
    assert ("public.api.bsky.app", "getPosts") in shown
    assert set(shown.values()) == {None}


async def test_an_account_without_a_server_is_told() -> None:
    servers = Servers(None)
    found = {one.call: one for one in await servers.check()}
    assert found["identity"].is_refused
    assert "own server" in found["identity"].words
    assert not any(token for _, _, token in servers.asked)
    assert sum(one.is_refused for one in found.values()) == 1


def test_the_table_is_aligned() -> None:
    lines = table(
        [
            Checked("identity", "works", "", "", False, "GET /me"),
            Checked("posts", "no_data", "None", "nothing", True, "POST /query"),
        ]
    )
    assert lines == [
        "call      request      result   what the platform says  what mends it",
        "identity  GET /me      works",
        "posts     POST /query  no_data  None                    nothing",
    ]


def test_calls_of_one_name_are_numbered() -> None:
    names = [one.name for one in planned(subject("instagram", post(1, "instagram-feed")), NOW)]
    assert len(set(names)) == len(names)
    assert "channel/window (2 of 2)" in names


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":' * 1000 + b"1" + b"}" * 1000,
        b"[" * 1000 + b"]" * 1000,
        b"<style>" * 100_000,
        b"<" * 1_000_000,
    ],
    ids=["deep", "deep lists", "unclosed styles", "angles"],
)
def test_words_of_any_body_are_found_in_no_time_and_are_one_short_line(body: bytes) -> None:
    assert len(words_of(body)) <= 160


def test_words_that_would_steer_a_terminal_do_not() -> None:
    told = words_of(b'{"message": "\\u001b[2J\\u202egone\\u0007"}')
    assert told == "[2J gone"
