"""The compiled decoder reads what the compiled encoder and the general writer write, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import decoder
from schemas.codec import schema_text
from schemas.decoder import NotDecodable, compile_decoder
from schemas.encoder import UnsupportedSchemaError, compile_encoder
from tests.unit.schemas.test_encoder import TOPICS, _record

READ = (*TOPICS, "catalog.posts", "accounts.events")


def plain(value: Any) -> Any:
    """As decoded: every list is a tuple."""
    return tuple(plain(part) for part in value) if isinstance(value, (list, tuple)) else value


@pytest.mark.hypothesis
@pytest.mark.parametrize("topic", READ)
def test_what_was_encoded_is_read(topic: str) -> None:
    schema = json.loads(schema_text(topic))
    encode, decode = compile_encoder(schema), compile_decoder(schema)

    @given(_record(schema))
    def same(pair: tuple[Any, Any]) -> None:
        assert decode(b"head" + encode(pair[0]), 4) == plain(pair[0])

    same()


@pytest.mark.hypothesis
@pytest.mark.parametrize("topic", ["rollups.posts", "rollups.channels"])
def test_fields_that_nobody_wants_are_passed_over(topic: str) -> None:
    schema = json.loads(schema_text(topic))
    names = [field["name"] for field in schema["fields"]]
    encode = compile_encoder(schema)

    @given(_record(schema), st.sets(st.sampled_from(names)))
    def same(pair: tuple[Any, Any], wanted: set[str]) -> None:
        expected = tuple(value for name, value in zip(names, plain(pair[0]), strict=True) if name in wanted)
        assert compile_decoder(schema, wanted)(encode(pair[0]), 0) == expected

    same()


@pytest.mark.hypothesis
@pytest.mark.parametrize("topic", ["rollups.posts", "catalog.posts"])
def test_bytes_that_are_cut_off_or_changed_are_refused_or_read_as_something_else(topic: str) -> None:
    schema = json.loads(schema_text(topic))
    encode, decode = compile_encoder(schema), compile_decoder(schema)

    @given(_record(schema), st.data())
    def refused(pair: tuple[Any, Any], data: st.DataObject) -> None:
        value = encode(pair[0])
        with pytest.raises(NotDecodable):
            decode(value[: data.draw(st.integers(0, len(value) - 1))], 0)
        place = data.draw(st.integers(0, len(value) - 1))
        changed = value[:place] + bytes([data.draw(st.integers(0, 255))]) + value[place + 1 :]
        try:
            assert isinstance(decode(changed, 0), tuple)
        except NotDecodable:
            pass

    refused()


def test_a_list_of_too_many_items_is_not_made() -> None:
    decode = compile_decoder({"fields": [{"name": "a", "type": {"type": "array", "items": {"fields": []}}}]})
    with pytest.raises(NotDecodable, match="more than 50000 items"):
        decode(b"\xfe\xff\xff\xff\x0f\x00", 0)


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(UnsupportedSchemaError):
        compile_decoder({"fields": [{"name": "m", "type": {"type": "map", "values": "string"}}]})


def test_figures_are_read_alike_however_many_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "_KEPT_MAX", 3)
    schema = {"fields": [{"name": f"f{at}", "type": ["null", "long"]} for at in range(4)]}
    encode, longs = compile_encoder(schema), decoder._NullableLongs()
    monkeypatch.setattr(decoder, "_LONGS", longs)
    decode = compile_decoder(schema)
    for row in [(9_000, 10_000, 11_000, 12_000), (None, 1, -1, 2**40), (12_000, 9_000, None, 2**40)]:
        assert decode(encode(row), 0) == row
        assert decode(encode(row), 0) == row
    assert set(longs.values()) == {9_000, 10_000, 11_000, None, 1, -1}
