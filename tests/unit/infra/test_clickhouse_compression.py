"""Content encodings: what is offered, and that both directions agree, however the bytes are cut."""

from __future__ import annotations

import gzip

import pytest
from clickhouse_cityhash import cityhash
from hypothesis import given
from hypothesis import strategies as st

from infra.embedded.clickhouse.compression import (
    ENCODINGS,
    PIECE_BYTES,
    Decompressor,
    chosen_encoding,
    compressor,
    zstd,
)
from infra.embedded.clickhouse.errors import ServerError
from infra.embedded.clickhouse.native_compression import LZ4, NONE, ZSTD, BlockDecoder, BlockEncoder


@pytest.mark.parametrize(
    ("header", "encoding"),
    [
        (None, None),
        ("identity", None),
        ("gzip, deflate", "gzip"),
        ("lz4,zstd,gzip,deflate", "zstd"),
        ("gzip;q=0.5, zstd;q=0", "gzip"),
        ("GZIP", "gzip"),
        ("deflate, br", None),
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
    decoded = b"".join(piece for at in range(0, len(encoded), cut) for piece in decoder.feed(encoded[at : at + cut]))
    decoder.close()
    assert decoded == b"".join(chunks)


def test_frames_one_after_another_are_one_body() -> None:
    decoder = Decompressor("gzip")
    assert b"".join(decoder.feed(gzip.compress(b"a") + gzip.compress(b"b"))) == b"ab"
    decoder.close()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_broken_bodies(encoding: str) -> None:
    encoder = compressor(encoding)
    whole = encoder.feed(b"x" * 1000) + encoder.finish()
    cut = Decompressor(encoding)
    list(cut.feed(whole[:-3]))
    with pytest.raises(ServerError) as caught:
        cut.close()
    assert caught.value.code == 271
    with pytest.raises(ServerError):
        list(Decompressor(encoding).feed(b"certainly not compressed" * 10))


@pytest.mark.parametrize("encoding", ["snappy", "br", "deflate"])
def test_unknown_encoding(encoding: str) -> None:
    with pytest.raises(ServerError) as caught:
        Decompressor(encoding)
    assert caught.value.code == 89
    assert "expected one of zstd, lz4, gzip" in caught.value.message


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_bomb_comes_in_pieces(encoding: str) -> None:
    encoder = compressor(encoding)
    bomb = b"".join(encoder.feed(bytes(1024 * 1024)) for _ in range(64)) + encoder.finish()
    sizes = [len(piece) for piece in Decompressor(encoding).feed(bomb)]
    assert max(sizes) <= PIECE_BYTES
    assert sum(sizes) == 64 * 1024 * 1024


def test_a_window_larger_than_http_allows_is_refused() -> None:
    options = {zstd.CompressionParameter.window_log: 27, zstd.CompressionParameter.content_size_flag: 0}
    frame = zstd.ZstdCompressor(options=options)
    body = frame.compress(bytes(1000)) + frame.flush(zstd.ZstdCompressor.FLUSH_FRAME)
    with pytest.raises(ServerError) as caught:
        list(Decompressor("zstd").feed(body))
    assert caught.value.code == 271


@pytest.mark.parametrize("method", [NONE, LZ4, ZSTD])
@given(chunks=st.lists(st.binary(max_size=200), max_size=5), cut=st.integers(1, 50))
def test_blocks_round_trip(method: int, chunks: list[bytes], cut: int) -> None:
    encoded = b"".join(BlockEncoder(method).feed(chunk) for chunk in chunks)
    decoder = BlockDecoder(1024)
    decoded = b"".join(piece for at in range(0, len(encoded), cut) for piece in decoder.feed(encoded[at : at + cut]))
    decoder.close()
    assert decoded == b"".join(chunks)


def test_a_block_byte_by_byte() -> None:
    block = BlockEncoder(NONE).feed(b"hello")
    assert block[16:] == bytes.fromhex("02 0e000000 05000000") + b"hello"
    assert block[:16] == _checksum_of(block[16:])


def _checksum_of(body: bytes) -> bytes:
    value: int = cityhash.CityHash128(body)
    return (value >> 64).to_bytes(8, "little") + (value & (2**64 - 1)).to_bytes(8, "little")


def _block(method: int, size: int, decoded_size: int, data: bytes) -> bytes:
    body = bytes([method]) + size.to_bytes(4, "little") + decoded_size.to_bytes(4, "little") + data
    return _checksum_of(body) + body


@pytest.mark.parametrize(
    ("block", "code"),
    [
        (_block(LZ4, 9 + 4, 2**31 - 1, b"\x1f\0\x01\0"), 39),
        (_block(ZSTD, 9 + 9, 1025, b"\0" * 9), 39),
        (_block(LZ4, 2**31, 10, b""), 39),
        (_block(LZ4, 3, 10, b""), 271),
        (_block(LZ4, 9 + 4, 10, b"\xff\xff\xff\xff"), 271),
        (_block(LZ4, 9 + 2, 1000, b"\x10a"), 271),
        (_block(ZSTD, 9 + 4, 10, b"\0\0\0\0"), 271),
        (_block(ZSTD, 9 + len(zstd.compress(bytes(1000))), 10, zstd.compress(bytes(1000))), 271),
        (_block(ZSTD, 9 + len(zstd.compress(bytes(5))), 10, zstd.compress(bytes(5))), 271),
        (_block(NONE, 9 + 4, 10, b"abcd"), 271),
        (bytes(16) + _block(NONE, 9 + 4, 4, b"abcd")[16:], 40),
        # Several codecs in a row, and one codec's output in another: of no client, and another way to a bomb.
        *(
            (_block(method, 9 + 4, 10, b"\x01\x02\x82\x90"), 89)
            for method in (0x91, 0x92, 0x93, 0x94, 0x95, 0x96, 0x00)
        ),
    ],
)
def test_blocks_that_claim_too_much_or_are_broken(block: bytes, code: int) -> None:
    with pytest.raises(ServerError) as caught:
        list(BlockDecoder(1024).feed(block))
    assert caught.value.code == code


def test_a_cut_block() -> None:
    decoder = BlockDecoder(1024)
    assert list(decoder.feed(BlockEncoder().feed(b"x" * 100)[:-1])) == []
    with pytest.raises(ServerError):
        decoder.close()
