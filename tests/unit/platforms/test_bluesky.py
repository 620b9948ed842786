"""What is special about Bluesky."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from schemas.metrics import QUOTES, SHARES
from services.platforms.base import Channel, LimitState, MappingError, Outcome, Target
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
    assert PLATFORM.limits(headers, NOW) == LimitState(3000, 2999, 1_795_223_100_000, longest_seconds=300)
    assert PLATFORM.limits({}, NOW) is None


def test_an_address_that_is_none_goes_apart_from_the_others() -> None:
    good = [f"at://did:plc:a/app.bsky.feed.post/{n}" for n in range(3)]
    bad = ["https://bsky.app/profile/a/post/3", "at://", "at://did:plc:a/app.bsky.feed.post/a b", "3kaaaa", ""]
    targets = [Target(f"t{n}", "p", uri) for n, uri in enumerate([bad[0], *good, *bad[1:]])]
    first, second = PLATFORM.post_calls(Channel("w", "c", "did:plc:a"), targets)
    assert [target.external_id for target in first.targets] == good
    assert [target.external_id for target in second.targets] == bad
    assert (first.shape, second.shape) == ("posts", "posts")


def test_figures_are_public_and_the_session_is_not() -> None:
    channel = Channel("w", "c", "did:plc:a")
    calls = [*PLATFORM.post_calls(channel, [Target("t", "p", URI)]), *PLATFORM.channel_calls(channel, NOW)]
    assert all(call.is_public and call.base_url is None for call in [*calls, PLATFORM.discovery_call(channel, NOW)])
    identity = PLATFORM.identity_call(channel)
    assert (identity.is_public, identity.base_url) == (False, "https://bsky.social")
    at_home = PLATFORM.identity_call(replace(channel, home_url="https://pds.example"))
    assert at_home.base_url == "https://pds.example"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, b'{"error": "XRPCNotSupported", "message": "XRPCNotSupported"}'),
        (404, b'{"message": "Cannot GET /xrpc/app.bsky.feed.getPosts", "statusCode": 404}'),
        (404, b"<html>"),
        (404, b""),
        (410, b"gone"),
        (501, b'{"error": "MethodNotImplemented", "message": "Method Not Implemented"}'),
        (200, b"<html>welcome</html>"),
    ],
)
def test_a_host_that_speaks_another_protocol_says_nothing_of_a_post(status: int, body: bytes) -> None:
    assert PLATFORM.classify(status, {}, body, NOW).outcome is Outcome.PLATFORM_DOWN


def test_an_address_by_handle_that_is_left_out_is_not_gone() -> None:
    targets = (NORMAL.targets[0]._replace(external_id="at://bsky.app/app.bsky.feed.post/3x"), NORMAL.targets[0])
    assert PLATFORM.read(replace(NORMAL, targets=targets, body=b'{"posts": []}')).gone == [1]


def test_an_account_s_list_names_its_own_newest_posts() -> None:
    def item(rkey: str, created: str, **more: Any) -> dict[str, Any]:
        record = {"$type": "app.bsky.feed.post", "createdAt": created, "text": f"post {rkey}"}
        uri = f"at://did:plc:a/app.bsky.feed.post/{rkey}"
        post = {"uri": uri, "record": record, "indexedAt": "2026-11-02T10:00:00.000Z"}
        return {"post": {**post, **more}}

    video = {"embed": {"$type": "app.bsky.embed.video#view"}}
    feed = [
        item("3a", "2026-11-01T10:00:00.000Z"),
        {**item("3b", "2026-11-01T11:00:00Z"), "reason": {"$type": "app.bsky.feed.defs#reasonRepost"}},
        # Whoever wrote the record chose its time.
        item("3c", "2031-01-01T00:00:00.000Z", **video),
        item("3d", "not a time", indexedAt=None),
    ]
    call = PLATFORM.discovery_call(Channel("w", "c", "did:plc:a"), NOW)
    event = replace(NORMAL, kind=call.kind, endpoint=call.path, targets=(), body=orjson.dumps({"feed": feed}))
    first, second = PLATFORM.discovered(event).posts
    assert (first.external_id, first.post_type) == ("at://did:plc:a/app.bsky.feed.post/3c", "video")
    assert (first.permalink, first.content) == ("https://bsky.app/profile/did:plc:a/post/3c", "post 3c")
    assert (first.published_at, second.published_at) == (1_793_613_600_000, 1_793_527_200_000)
    assert not PLATFORM.read(event).channels
    assert not PLATFORM.discovered(replace(event, http_status=400, body=b"{}")).posts
    with pytest.raises(MappingError):
        PLATFORM.discovered(replace(event, body=b'{"feed": 7}'))


@pytest.mark.parametrize(
    ("document", "home"),
    [
        # MarshalX/atproto tests/models/test_data/did_doc.json.
        ({"service": [{"id": "#atproto_pds", "serviceEndpoint": "https://bsky.social"}]}, "https://bsky.social"),
        ({"service": [{"id": "did:plc:a#atproto_pds", "serviceEndpoint": "https://PDS.example:8443/"}]},
         "https://pds.example:8443"),
        ({"service": [{"id": "#atproto_labeler", "serviceEndpoint": "https://mod.bsky.app"}]}, None),
        ({"service": [{"id": "#atproto_pds", "type": "Other", "serviceEndpoint": "https://a.example"}]}, None),
        ({"id": "did:plc:b", "service": [{"id": "#atproto_pds", "serviceEndpoint": "https://a.example"}]}, None),
        ({"service": [{"id": "#atproto_pds", "serviceEndpoint": "https://a.example:99999"}]}, None),
        ({"service": 7}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_a_did_document_names_the_account_s_server(document: dict[str, Any], home: str | None) -> None:
    services = document.get("service")
    if isinstance(services, list):
        services = [{"type": "AtprotoPersonalDataServer", **service} for service in services]
        document = {**document, "service": services}
    body = orjson.dumps({"id": "did:plc:a", **document})
    assert PLATFORM.looked_up("did:plc:a", 200, body) == home
    assert PLATFORM.looked_up("did:plc:a", 404, body) is None


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("did:plc:k7aaaabbbb", "https://plc.directory/did:plc:k7aaaabbbb"),
        ("did:web:alice.example", "https://alice.example/.well-known/did.json"),
        ("did:web:alice.example%3A8443", "https://alice.example:8443/.well-known/did.json"),
        ("did:web:alice.example:path", None),
        ("did:web:alice.example/..", None),
        ("did:web:127.0.0.1", None),
        ("did:web:localhost", None),
        ("did:plc:../me", None),
        ("did:key:z6Mk", None),
        ("alice", None),
    ],
)
def test_a_lookup_goes_where_the_did_says(name: str, address: str | None) -> None:
    call = PLATFORM.lookup_call(name)
    found = None if call is None else f"{call.base_url}{call.path}".replace("%3A", ":")
    assert found == address
    assert call is None or call.is_public


def test_a_handle_is_resolved_at_the_app_view() -> None:
    call = PLATFORM.lookup_call("bsky.app")
    assert call is not None
    assert (call.path, call.query) == ("/xrpc/com.atproto.identity.resolveHandle", (("handle", "bsky.app"),))
    # MarshalX/atproto tests/models/test_data/resolve_handle.json.
    did = "did:plc:z72i7hdynmk6r22z27h6tvur"
    assert PLATFORM.looked_up("bsky.app", 200, orjson.dumps({"did": did})) == did
    refused = b'{"error": "InvalidRequest", "message": "Unable to resolve handle"}'
    assert PLATFORM.looked_up("bsky.app", 400, refused) is None
