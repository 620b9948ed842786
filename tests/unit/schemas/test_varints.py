"""Avro's integers end at 64 bits, in every reader of them."""

from __future__ import annotations

import io
from typing import Any

import fastavro
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.decoder import NotDecodable, compile_decoder
from schemas.measuring import Measure, TooMuch
from schemas.varints import IntegerTooLong, read_long

LEAST, MOST = -(2**63), 2**63 - 1
# Nine bytes of which each says that more follow, and a tenth.
PAST = [b"\x80" * 9 + b"\x02", b"\xfe" + b"\xff" * 8 + b"\x7f", b"\xff" * 9 + b"\x02", b"\x80" * 10 + b"\x00"]
OPTIONAL: Any = ["null", "long"]


@given(st.integers(LEAST, MOST))
@example(LEAST)
@example(MOST)
def test_an_integer_is_read_as_the_general_writer_wrote_it(value: int) -> None:
    written = io.BytesIO()
    fastavro.schemaless_writer(written, "long", value)
    data = written.getvalue()
    assert read_long(b"?" + data + b"\x01", 1) == (value, 1 + len(data))


@pytest.mark.parametrize("data", PAST, ids=bytes.hex)
def test_an_integer_past_64_bits_is_refused(data: bytes) -> None:
    with pytest.raises(IntegerTooLong):
        read_long(data, 0)


@pytest.mark.parametrize("end", range(10))
def test_an_integer_that_is_cut_off_is_refused(end: int) -> None:
    with pytest.raises(IndexError):
        read_long(b"\x80" * end, 0)


@pytest.mark.parametrize("data", PAST, ids=bytes.hex)
@pytest.mark.parametrize("kind", ["long", OPTIONAL, {"type": "long", "logicalType": "timestamp-millis"}], ids=str)
@pytest.mark.parametrize("fields", [1, 4], ids=["a field", "a row of fields"])
@pytest.mark.parametrize("is_wanted", [True, False], ids=["wanted", "passed over"])
def test_a_field_past_64_bits_is_refused(data: bytes, kind: Any, fields: int, is_wanted: bool) -> None:
    names = [f"f{number}" for number in range(fields)]
    schema = {"type": "record", "name": "R", "fields": [{"name": name, "type": kind} for name in names]}
    value = ((b"\x02" if kind is OPTIONAL else b"") + data) * fields
    parsed: Any = fastavro.parse_schema(schema)
    with pytest.raises(NotDecodable):
        compile_decoder(schema, None if is_wanted else ())(value, 0)
    with pytest.raises(TooMuch, match="64 bits"):
        Measure(parsed, parsed["__named_schemas"], 100).check(value, 0)


@given(st.lists(st.none() | st.integers(LEAST, MOST), min_size=4, max_size=4))
@example([LEAST, MOST, None, 0])
def test_a_row_of_figures_up_to_the_last_bit_is_read(values: list[int | None]) -> None:
    names = [f"f{number}" for number in range(4)]
    schema: Any = {"type": "record", "name": "R", "fields": [{"name": name, "type": OPTIONAL} for name in names]}
    written = io.BytesIO()
    fastavro.schemaless_writer(written, schema, dict(zip(names, values, strict=True)))
    assert compile_decoder(schema)(written.getvalue(), 0) == tuple(values)
