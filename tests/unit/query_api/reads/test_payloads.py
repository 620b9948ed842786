"""Payloads in replies: what the encoder can't carry is left out, and takes no other row with it."""

from __future__ import annotations

import orjson
import pytest

from services.query_api.reads.account_answers import is_showable, payload


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b'{"data": {"likes": 1}}', {"data": {"likes": 1}}),
        (b"[1]", {"data": [1]}),
        (b"<html>", {}),
        (b'{"data": ' + b"[" * 300 + b"]" * 300 + b"}", {}),
        (b'{"data": [' + b",".join([b"[]"] * 300) + b"]}", {"data": [[]] * 300}),
    ],
)
def test_a_payload_is_an_object_that_a_reply_can_carry(body: bytes, shown: object) -> None:
    assert payload(body) == shown


@pytest.mark.parametrize("levels", [1, 100, 230, 250, 300, 900])
def test_what_is_showable_fits_into_a_reply(levels: int) -> None:
    value = orjson.loads(b"[" * levels + b"]" * levels)
    if is_showable(value):
        assert orjson.dumps({"data": [{"platform_data": value}]})
    assert is_showable(value) == (levels <= 230)
