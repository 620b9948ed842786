"""Nothing like a token survives into a log line or a shown payload."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.runtime.redaction import blank_secret_bytes, blank_secrets

SECRET = "EAAGm0PX4ZCpsBAKZCs3-_.x"
NAMES = [
    "access_token", "refresh_token", "client_secret", "fb_exchange_token", "id_token", "appsecret_proof", "accessJwt",
    "refreshJwt", "password", "api_key",
]  # fmt: skip
SHAPES = [
    "GET https://graph.example/v25.0/1?fields=id&{name}={secret}&limit=5",
    '{{"id": "1", "{name}": "{secret}", "expires_in": 3600}}',
    '{{"{name}":"{secret}"}}',
    "{{'{name}': '{secret}'}}",
    "{name}: {secret}",
    "{name} = {secret}",
    "{{{name}={secret}, next=1}}",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_named_secret_is_blanked(name: str, shape: str) -> None:
    for spelled in (name, name.upper()):
        text = shape.format(name=spelled, secret=SECRET)
        blanked = blank_secrets(text)
        assert SECRET not in blanked
        assert "***" in blanked
        assert blank_secret_bytes(text.encode()) == blanked.encode()


def test_a_bearer_header_is_blanked() -> None:
    assert blank_secrets(f"Authorization: Bearer {SECRET}") == "Authorization: Bearer ***"
    assert blank_secrets(f"bearer {SECRET}, more") == "bearer ***, more"


def test_the_rest_of_a_line_stays() -> None:
    line = f"GET /v25.0/1?access_token={SECRET}&fields=like_count"
    assert blank_secrets(line) == "GET /v25.0/1?access_token=***&fields=like_count"
    body = f'{{"access_token": "{SECRET}", "like_count": 3}}'
    assert blank_secrets(body) == '{"access_token": "***", "like_count": 3}'


@pytest.mark.parametrize("text", ["", "like_count=3", "the token expired", '{"next_token": "7140dibdnow9c7btw3z"}'])
def test_what_is_no_secret_stays(text: str) -> None:
    assert blank_secrets(text) == text


@given(st.binary(max_size=200))
def test_payloads_without_a_secret_stay_the_same_object(payload: bytes) -> None:
    harmless = payload.replace(b":", b"").replace(b"=", b"").replace(b" ", b"")
    assert blank_secret_bytes(harmless) == harmless
    numbers = harmless.hex().encode()
    assert blank_secret_bytes(numbers) is numbers


def test_bytes_of_any_encoding_pass() -> None:
    payload = b'\xff\xfe{"access_token":"' + SECRET.encode() + b'"}\x00'
    assert blank_secret_bytes(payload) == b'\xff\xfe{"access_token":"***"}\x00'


def test_blanking_twice_changes_nothing() -> None:
    once = blank_secrets(f"access_token={SECRET} Bearer {SECRET}")
    assert blank_secrets(once) == once


@pytest.mark.parametrize(
    "text",
    [
        '{\\"access_token\\":\\"s3cret\\"}',
        "next=https%3A%2F%2Fh%2F%3Faccess_token%3Ds3cret%26limit%3D5",
        "access_token=s3cret,s3cret&limit=5",
        "Authorization: OAuth s3cret",
        '"authorization": "Basic s3cret"',
    ],
)
def test_escaped_encoded_and_other_schemes_are_blanked(text: str) -> None:
    assert "s3cret" not in blank_secrets(text)
    assert b"s3cret" not in blank_secret_bytes(text.encode())


def test_words_about_oauth_stay() -> None:
    text = "OAuth 2.0 Application-Only is forbidden for this endpoint"
    assert blank_secrets(text) == text
