"""The address of a post's page: of the platform's own host, made of the id alone, or none at all."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.platforms import all_platforms, post_address
from tests.unit.platforms.test_hostile_ids import hostile

ADDRESSES = {
    ("x", "1790000000000000001"): "https://x.com/i/status/1790000000000000001",
    ("youtube", "dQw4w9WgXcQ"): "https://www.youtube.com/watch?v=dQw4w9WgXcQ",
    ("bluesky", "at://did:plc:abc/app.bsky.feed.post/3k"): "https://bsky.app/profile/did:plc:abc/post/3k",
    ("bluesky", "at://a.example/app.bsky.feed.post/3k"): "https://bsky.app/profile/a.example/post/3k",
    ("facebook", "100_200"): "https://www.facebook.com/100_200",
    ("linkedin", "urn:li:share:7"): "https://www.linkedin.com/feed/update/urn:li:share:7/",
    ("linkedin", "urn:li:ugcPost:7"): "https://www.linkedin.com/feed/update/urn:li:ugcPost:7/",
    ("linkedin", "7"): "https://www.linkedin.com/feed/update/urn:li:share:7/",
    ("pinterest", "99"): "https://www.pinterest.com/pin/99/",
    ("reddit", "t3_1abc"): "https://www.reddit.com/comments/1abc",
    ("reddit", "1abc"): "https://www.reddit.com/comments/1abc",
}
# A media id is no shortcode, TikTok's address needs the account's name, and Google's posts have no page of their own.
NONE = [
    *((name, "17900000000000001") for name in ("instagram", "threads", "tiktok", "google_business")),
    ("facebook", "200"),
    ("bluesky", "at://did:plc:abc/app.bsky.feed.like/3k"),
    ("bluesky", "at://did:plc:abc"),
    ("linkedin", "urn:li:person:7"),
    ("reddit", "t1_abc"),
    ("none-such", "1"),
]
HOSTS = {
    "x": "x.com", "youtube": "www.youtube.com", "bluesky": "bsky.app", "facebook": "www.facebook.com",
    "linkedin": "www.linkedin.com", "pinterest": "www.pinterest.com", "reddit": "www.reddit.com",
}  # fmt: skip


@pytest.mark.parametrize(("post", "address"), ADDRESSES.items(), ids=lambda case: "-".join(case)[:40])
def test_an_address_follows_from_the_id(post: tuple[str, str], address: str) -> None:
    assert post_address(*post) == address


@pytest.mark.parametrize("post", NONE, ids="-".join)
def test_an_id_without_an_address_has_none(post: tuple[str, str]) -> None:
    assert post_address(*post) is None


@pytest.mark.hypothesis
@pytest.mark.parametrize("name", all_platforms())
@given(external_id=hostile | st.sampled_from([external_id for _, external_id in ADDRESSES]) | st.text(max_size=40))
def test_no_id_leads_elsewhere(name: str, external_id: str) -> None:
    address = post_address(name, external_id)
    assert not external_id or address is None or urlsplit(address).hostname == HOSTS[name]
    assert address is None or (address.isascii() and not set(address) & set(" \"'<>\\\r\n\t#"))
    for ending in ("\n", "?a=1", "/../..", "#", "\N{ARABIC-INDIC DIGIT THREE}", ""):
        if address is not None and ending:
            assert post_address(name, external_id + ending) is None
    assert post_address(name, "") is None
