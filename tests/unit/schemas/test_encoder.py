"""The compiled encoder writes the same bytes as the general writer."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import schema_text
from schemas.encoder import Shared, UnsupportedSchemaError, compile_encoder
from services.aggregator.figures import FIGURES

INT64 = st.integers(-(2**63), 2**63 - 1)
TOPICS = (
    "metrics.post-snapshots",
    "metrics.channel-snapshots",
    "rollups.posts",
    "rollups.channels",
    "catalog.channels",
)


def _values(schema: Any) -> st.SearchStrategy[tuple[Any, Any]]:
    """Pairs of what the compiled encoder takes and what the general writer takes."""
    if isinstance(schema, list):
        return st.just((None, None)) | _values(schema[1])
    kind = schema["type"] if isinstance(schema, dict) else schema
    if isinstance(schema, dict) and schema.get("logicalType") == "decimal":
        return st.integers(-(10**17), 10**17).map(lambda n: (n, Decimal(n).scaleb(-3)))
    if isinstance(schema, dict) and schema.get("logicalType") == "timestamp-millis":
        return st.integers(0, 4 * 10**12).map(
            lambda n: (n, datetime.fromtimestamp(n // 1000, UTC).replace(microsecond=n % 1000 * 1000))
        )
    if kind == "long":
        return INT64.map(lambda n: (n, n))
    if kind == "double":
        return st.floats(allow_nan=False).map(lambda x: (x, x))
    if kind == "boolean":
        return st.booleans().map(lambda b: (b, b))
    if kind == "string":
        return st.text(max_size=40).map(lambda s: (s, s))
    if kind == "enum":
        return st.sampled_from(schema["symbols"]).map(lambda s: (s, s))
    if kind == "array":
        return st.lists(_record(schema["items"]), max_size=3).map(
            lambda pairs: ([p[0] for p in pairs], [p[1] for p in pairs])
        )
    raise AssertionError(schema)


def _record(schema: dict[str, Any]) -> st.SearchStrategy[tuple[Any, Any]]:
    names = [field["name"] for field in schema["fields"]]
    return st.tuples(*(_values(field["type"]) for field in schema["fields"])).map(
        lambda pairs: (tuple(p[0] for p in pairs), dict(zip(names, (p[1] for p in pairs), strict=True)))
    )


@pytest.mark.hypothesis
@pytest.mark.parametrize("topic", TOPICS)
def test_bytes_are_the_general_writers(topic: str) -> None:
    schema = json.loads(schema_text(topic))
    encode = compile_encoder(schema)
    parsed = fastavro.parse_schema(json.loads(schema_text(topic)))

    @given(_record(schema))
    def same(pair: tuple[Any, Any]) -> None:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, parsed, pair[1])
        assert encode(pair[0]) == out.getvalue()

    same()


def _grouped(schema: Any, values: Any, share: Callable[[Sequence[Any]], Shared] = Shared) -> Any:
    """Values of a record with every run of figures as one value."""
    grouped: list[Any] = []
    names = [field["name"] for field in schema["fields"]]
    at = 0
    while at < len(names):
        if tuple(names[at : at + len(FIGURES)]) == FIGURES:
            grouped.append(share(values[at : at + len(FIGURES)]))
            at += len(FIGURES)
            continue
        of_field = schema["fields"][at]["type"]
        kind = of_field[1] if isinstance(of_field, list) else of_field
        value = values[at]
        is_list = isinstance(kind, dict) and kind["type"] == "array" and value is not None
        grouped.append([_grouped(kind["items"], item, share) for item in value] if is_list else value)
        at += 1
    return tuple(grouped)


FIGURES_OF_TOPICS = {"metrics.post-snapshots": 1, "rollups.posts": 3}
"""How many records of a topic's schema have a post's figures."""


@pytest.mark.hypothesis
@pytest.mark.parametrize("topic", FIGURES_OF_TOPICS)
def test_a_run_of_fields_has_the_bytes_of_its_fields(topic: str) -> None:
    schema = json.loads(schema_text(topic))
    encode, encode_grouped = compile_encoder(schema), compile_encoder(schema, FIGURES)

    @given(_record(schema))
    def same(pair: tuple[Any, Any]) -> None:
        values = _grouped(schema, pair[0])
        expected = encode(pair[0])
        assert encode_grouped(values) == expected
        assert encode_grouped(values) == expected, "the kept bytes are others"

    same()


@pytest.mark.hypothesis
def test_records_of_several_topics_share_the_bytes_of_a_run() -> None:
    schemas = [json.loads(schema_text(topic)) for topic in FIGURES_OF_TOPICS]
    encoders = [(compile_encoder(schema), compile_encoder(schema, FIGURES)) for schema in schemas]
    fields = [field for field in schemas[0]["fields"] if field["name"] in FIGURES]

    @given(_record({"fields": fields}), st.permutations((0, 1)))
    def same(pair: tuple[Any, Any], order: list[int]) -> None:
        shared = Shared(pair[0])
        snapshot = ("w", "t", "p", "c", "x", "e", 1, "SCHEDULE", 2, 3, *pair[0])
        rollup = ("w", "p", 1, 2, *pair[0], [("c", "x", 1, *pair[0])], [("t", "c", "x", 1, *pair[0], [])])
        for number in order:
            encode, encode_grouped = encoders[number]
            values = (snapshot, rollup)[number]
            assert encode_grouped(_grouped(schemas[number], values, lambda _: shared)) == encode(values)

    same()


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(UnsupportedSchemaError):
        compile_encoder({"fields": [{"name": "m", "type": {"type": "map", "values": "string"}}]})
