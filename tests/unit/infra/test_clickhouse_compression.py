"""Content encodings: what is offered, and that both directions agree, however the bytes are cut."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.embedded.clickhouse.compression import ENCODINGS, Decompressor, chosen_encoding, compressor
from infra.embedded.clickhouse.errors import ServerError


@pytest.mark.parametrize(
    ("header", "encoding"),
    [
        (None, None),
        ("identity", None),
        ("gzip, deflate", "gzip"),
        ("lz4,zstd,gzip,deflate", "zstd"),
        ("gzip;q=0.5, zstd;q=0", "gzip"),
        ("GZIP", "gzip"),
    ],
)
def test_chosen_encoding(header: str | None, encoding: str | None) -> None:
    assert chosen_encoding(header) == encoding


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(chunks=st.lists(st.binary(max_size=200), max_size=5), cut=st.integers(1, 50))
def test_round_trip(encoding: str, chunks: list[bytes], cut: int) -> None:
    encoder = compressor(encoding)
    encoded = b"".join(encoder.feed(chunk) for chunk in chunks) + encoder.finish()
    decoder = Decompressor(encoding)
    decoded = b"".join(decoder.feed(encoded[at : at + cut]) for at in range(0, len(encoded), cut))
    decoder.close()
    assert decoded == b"".join(chunks)


def test_frames_one_after_another_are_one_body() -> None:
    decoder = Decompressor("gzip")
    assert decoder.feed(gzip.compress(b"a") + gzip.compress(b"b")) == b"ab"
    decoder.close()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_broken_bodies(encoding: str) -> None:
    encoder = compressor(encoding)
    whole = encoder.feed(b"x" * 1000) + encoder.finish()
    cut = Decompressor(encoding)
    cut.feed(whole[:-3])
    with pytest.raises(ServerError) as caught:
        cut.close()
    assert caught.value.code == 271
    with pytest.raises(ServerError):
        Decompressor(encoding).feed(b"certainly not compressed" * 10)


def test_unknown_encoding() -> None:
    with pytest.raises(ServerError) as caught:
        Decompressor("snappy")
    assert caught.value.code == 89
