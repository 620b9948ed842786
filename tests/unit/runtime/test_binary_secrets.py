"""Bytes that nobody can read: what follows a secret's name in binary form is blanked, whatever wrote it."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.runtime import binary_secrets, redaction
from services.runtime.binary_secrets import _Runs, blank_unreadable
from tests.support.hostile.bodies import SECRET_NAMES

VALUES = ("s", "s3cret", "S3cret-" + "x" * 16, "s3cret." * 10, "s3cret~" * 300)


def varint(size: int) -> bytes:
    written = bytearray()
    while size > 0x7F:
        written.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([*written, size])


def avro(name: bytes, value: bytes) -> bytes:
    return varint(2 * len(name)) + name + varint(2 * len(value)) + value


def protobuf(name: bytes, value: bytes) -> bytes:
    return b"\x0a" + varint(len(name)) + name + b"\x12" + varint(len(value)) + value


def messagepack(name: bytes, value: bytes) -> bytes:
    size = len(value)
    head = bytes([0xA0 | size]) if size < 32 else b"\xd9" + bytes([size]) if size < 256 else b"\xda" + size.to_bytes(2)
    return bytes([0xA0 | len(name)]) + name + head + value


def bson(name: bytes, value: bytes) -> bytes:
    return b"\x02" + name + b"\x00" + (len(value) + 1).to_bytes(4, "little") + value + b"\x00"


@pytest.mark.parametrize("write", [avro, protobuf, messagepack, bson])
@pytest.mark.parametrize("name", [*SECRET_NAMES, "instagram_business_access_token", "X-Access-Token", "key"])
def test_a_value_is_blanked_in_every_binary_form(write: object, name: str) -> None:
    assert callable(write)
    for value in VALUES:
        if len(name) > 31 and write is messagepack:
            continue
        before, after = write(b"part", b"statistics"), write(b"fields", b"id,text")
        held = before + write(name.encode(), value.encode()) + after
        blanked = blank_unreadable(held)
        assert value.encode() not in blanked or value == "s", (name, value)
        assert len(blanked) == len(held)
        assert blanked.startswith(before + write(name.encode(), b"")[: 1 + len(name)])
        assert blank_unreadable(blanked) == blanked


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_an_avro_event_keeps_its_form_and_what_is_no_secret(name: str) -> None:
    """Wherever it is cut: what stands before the value and behind it stays."""
    for value in VALUES:
        head, tail = avro(b"part", b"statistics"), avro(b"fields", b"id,text")
        whole = head + avro(name.encode(), value.encode()) + tail
        expected = head + avro(name.encode(), b"*" * len(value)) + tail
        assert blank_unreadable(whole) == expected
        for cut in range(0, len(whole), max(1, len(whole) // 60)):
            assert blank_unreadable(whole[:cut]) == expected[:cut]


def test_what_is_no_secret_stays_the_same_object() -> None:
    for payload in (
        b"",
        b"rubbish",
        avro(b"token_count", b"17") + avro(b"next_page_token", b"abc"),
        b'{"keys": ["monkey", "turkey"], "tokens": 5, "hockey": "x"}',
        random.Random(5).randbytes(1000),
    ):
        assert blank_unreadable(payload) is payload


def test_hostile_bytes_cost_little() -> None:
    for payload in (b"token" * 1_600_000, b"\x0atoken" * 1_000_000, b"access_token\x00" * 600_000, b"key\x06" * 10**6):
        began = time.process_time()
        blank_unreadable(payload)
        assert time.process_time() - began < 2.0, payload[:20]


# What finds the end of a value, as it was written first: each value reads its run of printable bytes again.
_TAGS_AND_VALUE = re.compile(rb"(?:.{0,7}[^\x21-\x7e])?+[\x21-\x7e]*+", re.DOTALL)


def _plain_value(runs: _Runs, at: int) -> tuple[int, int]:
    found = _TAGS_AND_VALUE.match(runs.payload, at)
    return found.span() if found is not None else (at, at)


_pieces = st.sampled_from(
    [
        *redaction.MARKS, b"access_token", b"accesstoken", b"id_token", b"api-key", b"=", b": ", b'"', b"\\", b"%25",
        b"(", b"aaaaaaa", b"\x00", b"\x06", b"\x0c", b"\x18", b"\x8b", b"\xff", b" ", b"s3cret", b"&", b"a" * 50,
    ]
)  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(st.lists(_pieces | st.binary(max_size=4), max_size=60).map(b"".join))
def test_what_is_blanked_is_what_values_read_one_by_one_give(payload: bytes) -> None:
    blanked = blank_unreadable(payload)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(binary_secrets, "_value", _plain_value)
        assert blank_unreadable(payload) == blanked


_NAMES = [name for mark in redaction.MARKS for name in (mark, b"access" + mark, b"api_" + mark)]
_SIGNS = [
    b"", b"=", b":", b'": "', b"': '", b"%3d", b"%25253a", b" ", b"+", b"%2520", b"&nbsp;", b"\\", b'\\"', b"%255c",
    b"&quot;", b"&amp;amp;quot;", b"&#34;", b"%2522", b"\x00", b"\x0c", b"\x18\xff\xff\xff\xff", b" bearer ",
    b"\\u0026",
]  # fmt: skip
_FRONTS = [b"", b"(", b"(" + b"a" * 29, b"%25", b"\x18", b"\x0a\x0c", b"\xac"]
_TAILS = [b"a", b" ", b"\\", b"%25", b"%", b"&amp;", b"\x00", b"\xff", b'"', b"0-", b"key"]


def _seconds(call: Callable[[bytes], object], payload: bytes) -> float:
    """The least processor time of some calls: other work on the machine only adds to it."""
    least = float("inf")
    for _ in range(2):
        began = time.process_time()
        call(payload)
        least = min(least, time.process_time() - began)
    return least


def test_twice_the_bytes_take_twice_the_time() -> None:
    """Every mark with every sign, front and tail in some order; 8 MiB of one of them took 42 seconds."""
    chance = random.Random(11)
    units = [(chance.choice(_FRONTS) + name + sign, chance.choice(_TAILS)) for name in _NAMES for sign in _SIGNS]
    units = [*chance.sample(units, 10), (b"(" + b"a" * 29 + b"accesstoken", b"a"), (b"\x16accesstoken\x00", b"a")]
    for unit, tail in units:
        for _ in range(3):  # a single measurement may be disturbed
            once, twice = (
                _seconds(blank_unreadable, unit * 500 * n + tail * (250_000 // len(tail) * n)) for n in (1, 2)
            )
            if twice < 2.5 * once + 0.004:
                break
        assert twice < 2.5 * once + 0.004, (unit, tail, once, twice)


def test_eight_mebibytes_of_one_run_are_read_once() -> None:
    payload = (b"(" + b"a" * 29 + b"accesstoken") * 2_000
    payload += b"a" * (8 * 2**20 - len(payload))
    assert _seconds(blank_unreadable, payload) < 2.5
