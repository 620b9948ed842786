"""Secrets never leave, however a platform writes them; everything else stays byte for byte."""

from __future__ import annotations

import html
import json
from urllib.parse import quote, quote_plus

import orjson
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from services.poller.connections import redact
from services.poller.connections.redact import MIN_SECRET_CHARACTERS, Redactor

SECRET = 'EAAB/x+y=&"q\\ü~1.2-3_4'


@pytest.mark.parametrize(
    "written",
    [
        SECRET,
        json.dumps(SECRET),
        json.dumps(SECRET, ensure_ascii=False),
        orjson.dumps(SECRET).decode(),
        json.dumps(SECRET).replace("/", "\\/"),
        json.dumps(SECRET).replace("=", "\\u003d").replace("&", "\\u0026"),
        json.dumps(json.dumps({"paging": f"?access_token={SECRET}"})),
        quote(SECRET),
        quote(SECRET, safe=""),
        quote_plus(SECRET),
        quote(SECRET, safe="").lower().replace("eaab", "EAAB"),
        quote(quote(SECRET, safe=""), safe=""),
        json.dumps("https://h/?access_token=" + quote(SECRET, safe="")),
        html.escape(SECRET),
    ],
)
def test_every_way_to_write_a_secret(written: str) -> None:
    body = f'{{"error": "bad token {written}", "n": 12}}'.encode()
    redacted = Redactor([SECRET]).body(body)
    assert b"***" in redacted
    assert b"EAAB" not in redacted
    assert redacted.endswith(b', "n": 12}')


def test_each_secret_of_several_and_of_the_app() -> None:
    redactor = Redactor(["access-token-1", "refresh-token-1", "client-secret", "access-token-1-longer"])
    body = b"access-token-1-longer access-token-1 refresh-token-1 client-secret client-id"
    assert redactor.body(body) == b"*** *** *** *** client-id"
    assert redactor.texts({"a": "x access-token-1", "b": "b"}) == {"a": "x ***", "b": "b"}


def test_nothing_to_hide_changes_nothing() -> None:
    body = bytes(range(256))
    assert Redactor([]).body(body) is body
    assert Redactor(["", "ab"]).body(body) is body


def test_a_payload_with_a_part_of_a_secret_is_not_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret's longest run may be a common word, which is in every answer."""
    monkeypatch.setattr(redact, "pattern", lambda _: pytest.fail("a pattern was made"))
    redactor = Redactor(["sandbox-token-x-7"])
    body = b'{"data": [{"id": "sandbox-1"}]}'
    assert redactor.body(body) is body
    assert redactor.text("sandbox-1") == "sandbox-1"


secrets = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=MIN_SECRET_CHARACTERS, max_size=60)


@given(secrets, st.text(max_size=50), st.text(max_size=50))
def test_no_secret_survives(secret: str, before: str, after: str) -> None:
    assume("*" not in secret)
    redactor = Redactor([secret])
    document = {"a": before + secret + after, "url": "https://h/?t=" + quote(secret, safe="")}
    written_as = (secret, json.dumps(secret)[1:-1], orjson.dumps(secret).decode()[1:-1], quote(secret, safe=""))
    for written in (orjson.dumps(document), json.dumps(document).encode(), str(document).encode()):
        redacted = redactor.body(written)
        assert b"***" in redacted
        assert not any(form.encode() in redacted for form in written_as)
    assert "***" in redactor.text(before + secret + after)
