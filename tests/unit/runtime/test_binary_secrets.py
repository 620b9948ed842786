"""Bytes that nobody can read: what follows a secret's name in binary form is blanked, whatever wrote it."""

from __future__ import annotations

import random
import time

import pytest

from services.runtime.binary_secrets import blank_unreadable
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
