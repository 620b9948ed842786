"""What is blanked, what stays, and that no text takes more than its length."""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Callable
from html import escape
from urllib.parse import quote

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.poller.connections.redact import Redactor
from services.runtime import redaction
from services.runtime.redaction import MARKS, blank_request, blank_secret_bytes, blank_secrets, has_mark
from tests.unit.platforms import golden

SECRET = "EAAGm0PX4ZCpsBAKZCs3-_.x"
NAMES = [
    "access_token", "accessToken", "ACCESS-TOKEN", "oauth_token", "oauthToken", "oauth_token_secret",
    "refresh_token", "refreshToken", "id_token", "idToken", "client_secret", "clientSecret", "app_secret",
    "api_key", "apiKey", "api-key", "x-api-key", "X-Api-Key", "token", "Token", "auth_token", "x-auth-token",
    "bearer_token", "session_token", "input_token", "fb_exchange_token", "page_access_token", "appsecret_proof",
    "accessJwt", "refreshJwt", "password", "private_key", "secret", "secret_key", "user_token", "developer-token",
]  # fmt: skip
SHAPES = [
    "/v25.0/1?fields=id&{name}={secret}&limit=5",
    "?{name}={secret}",
    "{name}={secret}",
    "next: https://h/?a=1&amp;{name}={secret}&amp;b=2",
    '{{"id": "1", "{name}": "{secret}", "expires_in": 3600}}',
    '{{"{name}":"{secret}"}}',
    "{{'{name}': '{secret}'}}",
    '{{"url": "https://h/?{name}={secret}"}}',
    '{{"line": "first\\n{name}={secret}"}}',
    '{{"url": "https://h/?a=1\\u0026{name}={secret}\\u0026b=2"}}',
    "{name}: {secret}",
    "{name} = {secret}",
    "{name}:{secret}\r\nother: 1",
]
ENCODINGS: list[Callable[[str], str]] = [
    str,
    lambda text: json.dumps(text),
    lambda text: json.dumps(json.dumps(text)),
    lambda text: quote(text, safe=""),
    lambda text: quote(quote(text, safe=""), safe=""),
    lambda text: escape(text),
]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_named_secret_is_blanked(shape: str) -> None:
    for name in NAMES:
        for encoded in ENCODINGS:
            text = encoded(shape.format(name=name, secret=SECRET))
            blanked = blank_secrets(text)
            assert SECRET not in blanked, text
            assert "***" in blanked
            assert blank_secret_bytes(text.encode()) == blanked.encode()
            assert blank_secrets(blanked) == blanked


def test_a_key_of_a_query_is_blanked_and_a_key_of_json_is_none() -> None:
    assert blank_secrets(f"/youtube/v3/videos?key={SECRET}&part=id") == "/youtube/v3/videos?key=***&part=id"
    assert blank_secrets(f"https%3A%2F%2Fh%3Fa%3D1%26key%3D{SECRET}") == "https%3A%2F%2Fh%3Fa%3D1%26key%3D***"
    assert blank_secrets('{"key": "views", "value": 3}') == '{"key": "views", "value": 3}'
    assert blank_secrets("monkey=banana") == "monkey=banana"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "OAuth", "Basic", "DPoP", "Token"])
@pytest.mark.parametrize("shape", ["Authorization: {} {}", '"authorization": "{} {}"', "authorization={} {}"])
def test_an_authorization_is_blanked_but_for_its_scheme(shape: str, scheme: str) -> None:
    blanked = blank_secrets(shape.format(scheme, SECRET))
    assert blanked == shape.format(scheme, "***")


def test_a_value_goes_to_its_closing_quote() -> None:
    assert blank_secrets('{"client_secret": "two words, and \\"more\\"", "a": 1}') == '{"client_secret": "***", "a": 1}'


@pytest.mark.parametrize(
    "text",
    [
        '{"token_count": 5, "tokens": ["a"], "token_type": "bearer", "nextPageToken": "CAUQAA", "next_token": "7d"}',
        '{"pageToken": "abc", "pagination_token": "abc", "cursor": "abc", "sync_token": "a", "next_page_token": "x"}',
        '{"access_token": null, "token": 5, "a": {"token": {"b": 1}}}',
        '{"keys": ["a"], "primary_key": "x", "key": "views", "keyword": "y"}',
        "the token expired, the secret is safe, all bearers of news",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert blank_secrets(text) is text
    assert json.loads(text) if text.startswith("{") else True


def test_json_stays_json() -> None:
    body = {"access_token": 'a"b\\c d', "token": "x", "n": [{"api_key": "é"}], "likes": 3, "refresh_token": None}
    for dumped in (json.dumps(body), json.dumps(body, separators=(",", ":")), json.dumps(body, ensure_ascii=False)):
        assert json.loads(blank_secrets(dumped)) == {
            "access_token": "***", "token": "***", "n": [{"api_key": "***"}], "likes": 3, "refresh_token": None,
        }  # fmt: skip


@pytest.mark.parametrize("platform", sorted({platform for platform, _ in golden.cases()}))
def test_what_the_mapping_reads_of_an_answer_stays(platform: str) -> None:
    for case in [case for of, case in golden.cases() if of == platform]:
        _is_kept(platform, case)


def _is_kept(platform: str, case: str) -> None:
    answer = golden.response(platform, case)
    event = golden.raw_event(platform, answer)
    assert blank_secrets(event.endpoint) == event.endpoint
    assert blank_request(event.request) == event.request
    body = golden.body_of(answer)
    try:
        held = orjson.loads(body)
    except orjson.JSONDecodeError:
        return
    assert orjson.loads(blank_secret_bytes(body)) == held


def test_parameters_are_blanked_by_their_names() -> None:
    request = {"key": SECRET, "oauth_token": SECRET, "fields": "id,token_count", "body": f'{{"token": "{SECRET}"}}'}
    assert blank_request(request) == {
        "key": "***", "oauth_token": "***", "fields": "id,token_count", "body": '{"token": "***"}',
    }  # fmt: skip
    harmless = {"fields": "id", "cursor": "abc"}
    assert blank_request(harmless) is harmless


@settings(deadline=None)
@given(st.text(max_size=300), st.sampled_from(NAMES), st.text(max_size=40))
def test_any_text_passes_and_twice_changes_nothing(text: str, name: str, more: str) -> None:
    once = blank_secrets(f"{text}{name}={more}")
    assert blank_secrets(once) == once
    data = text.encode("utf-8", "surrogatepass")
    assert blank_secret_bytes(blank_secret_bytes(data)) == blank_secret_bytes(data)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_pass(payload: bytes) -> None:
    blank_secret_bytes(payload + b'"access_token": "' + payload)


ADVERSARIAL = [
    "\\", "access_token\\", "access_token", 'access_token\\"', "access_token:", "access_token= ", "access_token%25",
    "%25", "access_token%3D%25", "token", "token ", 'token": "', "bearer ", "bearer%20", "bearer+", "&quot;", "key=",
    "key%", "a_", "authorization: bearer ", '"token":"\\', "token=%26", "token=%2525", "-token", "api-key: '", "&amp;",
]  # fmt: skip


def _seconds(call: Callable[[], object]) -> float:
    """CPU time of this thread alone: other work on the machine does not count."""
    started = time.thread_time()
    call()
    return time.thread_time() - started


def _check_growth(call: Callable[[bytes], object], small: bytes, large: bytes) -> None:
    """The large text is sixteen times the small one; a measurement that was disturbed is made again."""
    call(small)
    least = max(min(_seconds(lambda: call(small)) for _ in range(3)), 2e-5)
    ratio = 0.0
    for _ in range(3):
        ratio = _seconds(lambda: call(large)) / least
        if ratio < 80:
            return
    raise AssertionError(f"sixteen times the text took {ratio:.0f} times as long: the square of it")


@pytest.mark.parametrize("start", ["", "access_token", '{"token": "', "bearer "])
@pytest.mark.parametrize("piece", ADVERSARIAL)
def test_time_grows_with_the_length_and_not_with_its_square(piece: str, start: str) -> None:
    def text(size: int) -> bytes:
        return (start + piece * (size // len(piece))).encode()

    _check_growth(blank_secret_bytes, text(16_384), text(16_384 * 16))


@pytest.mark.parametrize(
    "secret", ["-secret-token-1", "\\secret\\", "&secret&amp;1", "%secret%25", "se cret", "...!", "a-b.c"]
)
@pytest.mark.parametrize("piece", ["\\", "\\\\-", "&amp;", "%25", "se", "secret", "&", "a\\", "secret\\"])
def test_so_it_does_for_secrets_that_are_known(piece: str, secret: str) -> None:
    redactor = Redactor([secret])

    def text(size: int) -> bytes:
        return (piece * (size // len(piece)) + " secret cret ab").encode()

    _check_growth(redactor.body, text(8_192), text(8_192 * 16))


def test_of_more_secrets_than_any_answer_holds_the_rest_goes_whole() -> None:
    payload = b"token=abc&" * 50_000 + b"the end"
    blanked = blank_secret_bytes(payload)
    assert blanked == b"token=***&" * 10_000 + b"token=***"
    assert blank_secret_bytes(blanked) == blanked


@pytest.mark.parametrize("mark", MARKS)
def test_a_word_is_found_wherever_it_lies_between_the_pieces_of_a_search(
    mark: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redaction, "_PIECE_BYTES", 16)
    for before in range(50):
        for after in range(20):
            assert has_mark(b"." * before + mark + b"." * after)
            assert not has_mark(b"." * before + mark[:-1] + b"." * after)


@settings(max_examples=300)
@given(st.lists(st.sampled_from([*MARKS, b".", b"toke", b"ke", b"bear", b"authoriz", b"secre"]), max_size=30))
def test_a_search_for_all_words_at_once_finds_what_one_by_one_finds(pieces: list[bytes]) -> None:
    text = b"".join(pieces)
    assert has_mark(text) == any(mark in text for mark in MARKS)


def test_a_payload_of_words_alone_takes_no_memory() -> None:
    tracemalloc.start()
    try:
        assert has_mark(b"jwt" * 2_700_000)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The payload itself has 8 MB.
    assert most < 16 * 1024 * 1024
