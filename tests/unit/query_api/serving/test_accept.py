"""One reading of Accept and Accept-Encoding."""

from __future__ import annotations

import pytest

from services.query_api.serving.accept import accept_of, best_coding, best_media_type, prefers_page, weights


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("", {}),
        ("text/html", {"text/html": 1.0}),
        (" Text/HTML ; Q=0.5 , */* ", {"text/html": 0.5, "*/*": 1.0}),
        ("text/csv; charset=utf-8; q=0.25", {"text/csv": 0.25}),
        ("gzip;q=0, gzip", {"gzip": 1.0}),
        ("a;q=7, b;q=-1, c;q=nan, d;q=much, e;q=", {"a": 1.0, "b": 0.0, "c": 0.0, "d": 0.0, "e": 0.0}),
        (",,;q=1,", {}),
    ],
)
def test_names_have_weights_from_0_to_1(header: str, found: dict[str, float]) -> None:
    assert weights(header) == found


def test_a_header_that_comes_twice_is_one() -> None:
    headers = ((b"accept", b"text/csv;q=0.1"), (b"host", b"a"), (b"accept", b"application/x-ndjson"))
    assert best_media_type(accept_of(headers), ["text/csv", "application/x-ndjson"]) == "application/x-ndjson"


def test_what_is_liked_alike_goes_by_the_servers_liking() -> None:
    assert best_media_type("*/*", ["b/b", "a/a"]) == "b/b"
    assert best_media_type("image/png", ["b/b", "a/a"]) == "b/b"
    assert best_coding(((b"accept-encoding", b"gzip, zstd"),), (b"zstd", b"gzip")) == b"zstd"
    assert best_coding(((b"accept-encoding", b"identity"),), (b"zstd", b"gzip")) is None
    assert best_coding((), (b"zstd", b"gzip")) is None


def test_a_page_is_for_who_names_it() -> None:
    assert prefers_page("text/html,application/xhtml+xml,*/*;q=0.8")
    assert not prefers_page("*/*")
    assert not prefers_page("text/html, application/json")
