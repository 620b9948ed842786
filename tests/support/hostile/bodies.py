"""Platform answers that are hostile to whoever reads their JSON, and platform answers with tokens in them. Pure."""

from __future__ import annotations

import random

from tests.support.hostile.scenario import TOKEN_MARK

PLATFORMS = {
    "x": "/2/tweets",
    "linkedin": "/rest/organizationalEntityShareStatistics",
    "instagram": "/v24.0/../../17900000000000000/insights",
    "tiktok": "/v2/video/query/",
    "facebook": "/v24.0/1_2/insights",
    "threads": "/v1.0/1/insights",
    "bluesky": "/xrpc/app.bsky.feed.getPosts",
    "youtube": "/youtube/v3/videos",
    "pinterest": "/v5/pins/1/analytics",
    "google_business": "/v4/accounts/1/locations/2/localPosts:reportInsights",
    "reddit": "/api/info",
}
# By which a platform's answers, or somebody's software, name a secret. `key` alone is one in an address only.
SECRET_NAMES = (
    "access_token", "refresh_token", "client_secret", "oauth_token", "accessToken", "api-key", "api_key", "token",
    "fb_exchange_token", "accessJwt", "password",
)  # fmt: skip

# The same in each call: made once, since a producer asks for bodies all the time.
_MANY_ITEMS = b'{"data":[' + b",".join([b'{"id":"1"}'] * 20_000) + b"]}"
_MANY_KEYS = b"{" + b",".join(b'"k%d":1' % number for number in range(20_000)) + b"}"


def token(chance: random.Random) -> str:
    """A canary that looks like a platform's token."""
    return f"{TOKEN_MARK}{chance.randrange(16**12):012x}"


def hostile_bodies(chance: random.Random) -> list[tuple[str, bytes]]:
    """One body a kind, and what is wrong with it."""
    depth = chance.choice((300, 1_000, 100_000))
    digits = b"9" * chance.choice((400, 5_000, 300_000))
    item = b'{"data":[{"id":"1","public_metrics":{"like_count":%s,"impression_count":%s}}]}'
    return [
        ("deep arrays", b"[" * depth + b"]" * depth),
        ("deep objects", b'{"data":' * depth + b"1" + b"}" * depth),
        ("unclosed", b'{"data":[{"id":"1"' * 50),
        ("NaN", item % (b"NaN", b"Infinity")),
        ("1e400", item % (b"1e400", b"-1e400")),
        ("past 64 bits", item % (b"9223372036854775808", b"18446744073709551616")),
        ("endless number", item % (digits, b"1")),
        ("endless fraction", item % (b"0." + digits, b"1e-" + digits[:300])),
        ("negative and wrong types", item % (b"-1", b'{"a":[null,true,"x"]}')),
        ("duplicate keys", b'{"data":[{"id":"1","id":"2"}],"data":{"id":3},"data":null}'),
        ("lone surrogate", b'{"data":[{"id":"\\ud800","text":"\\udfff\\u0000"}]}'),
        ("invalid UTF-8", b'{"data":"\xff\xfe\xc0\xaf"}'),
        ("UTF-16", '{"data":[]}'.encode("utf-16")),
        ("byte order mark", b'\xef\xbb\xbf{"data":[]}'),
        ("not JSON", b"<html><body>503</body></html>"),
        ("empty", b""),
        ("scalar", chance.choice((b"null", b"0", b'"x"', b"true"))),
        ("many items", _MANY_ITEMS),
        ("many keys", _MANY_KEYS),
        ("backslashes", b'{"access_token":"' + b"\\\\" * 20_000 + b'"}'),
        ("backslashes without an end", b'"token' + b"\\" * 60_000),
    ]


def with_tokens(chance: random.Random) -> bytes:
    """An answer that carries canary tokens under the names that secrets go by."""
    name = chance.choice(SECRET_NAMES)
    secret = token(chance)
    forms = (
        f'{{"data":[],"{name}":"{secret}"}}',
        f'{{"error":{{"message":"GET /me?{name}={secret}&fields=id failed"}}}}',
        f'{{"next":"https://graph.example/v1?limit=1&{name}={secret}"}}',
        f'{{"inner":"{{\\"{name}\\":\\"{secret}\\"}}"}}',
        f'{{"next":"https%3A%2F%2Fgraph.example%2F%3F{name}%3D{secret}%26a%3D1"}}',
        f'{{"headers":"Authorization: Bearer {secret}"}}',
        f'{{"next":"https://maps.example/v1?key={secret}"}}',
    )
    return chance.choice(forms).encode()
