"""The project's own Avro encoder and decoder against fastavro, on the pipeline's values, in one thread.

Encoding: values of `metrics.post-snapshots` and `rollups.posts`, from the fields that the fold gives to bytes. Fastavro
takes dictionaries, so its time is told with and without the making of them. Decoding: values of `platform.raw` to
events. Both ways have to give the same bytes and the same events before anything is timed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, TypeVar

from benchmarks.progress import Progress
from benchmarks.report import Ratio, Result
from benchmarks.workload import Workload
from schemas.codec import RecordCodec, codec, schema_text
from schemas.conversions import raw_from
from schemas.encoder import wire_encoder
from schemas.events import PlatformRaw
from schemas.measuring import Measure
from schemas.raw_decoder import TARGETS_MAX
from schemas.registers import merge
from services.aggregator.figures import PostPart, figures_of, post_totals
from services.aggregator.reading import map_event
from services.aggregator.rows import Version, post_rollup_message, post_snapshot_message
from services.aggregator.state import ChannelState, PostState, TargetState
from tests.support.flat_fields import flat

RAW, SNAPSHOTS, ROLLUPS = "platform.raw", "metrics.post-snapshots", "rollups.posts"
DEFAULT_SNAPSHOTS = 20_000
FULL_SNAPSHOTS = 100_000
# Below these the code of our own is not worth its upkeep (decision 0022).
WANTED_ENCODING = 2.0
WANTED_DECODING = 1.3
_ROUNDS = 5
# Of the wire format: a zero byte and the id of the schema.
_HEADER_BYTES = 5
_START = 1_760_000_000_000
_VERSION = Version(0, 0, 1)
Item = TypeVar("Item")


def run(is_full: bool) -> Result:
    """The best of five rounds each, both ways in turn."""
    workload = Workload(FULL_SNAPSHOTS if is_full else DEFAULT_SNAPSHOTS)
    figures: dict[str, Any] = {"snapshots": workload.snapshots}
    ratios = []
    with Progress("Avro: encoding"):
        for topic, values in _messages(workload).items():
            found = _encoding(topic, values)
            figures[topic] = found
            ratios.append(
                Ratio(
                    f"encoding {topic}, fastavro / own",
                    found["fastavro_microseconds"] / found["own_microseconds"],
                    WANTED_ENCODING,
                )
            )
    with Progress("Avro: decoding"):
        found = _decoding(workload)
        figures[RAW] = found
        ratios += [
            Ratio(
                f"decoding {RAW}, fastavro / own",
                found["fastavro_microseconds"] / found["own_microseconds"],
                WANTED_DECODING,
            ),
            Ratio(
                f"decoding {RAW}, fastavro with a bound of items / own",
                found["fastavro_bounded_microseconds"] / found["own_microseconds"],
            ),
        ]
    return Result(
        "avro",
        figures,
        ratios,
        [
            "Processor time a value, one thread. An event of platform.raw holds 50 targets.",
            "fastavro_microseconds holds the making of the dictionaries that fastavro takes; "
            "fastavro_alone_microseconds begins with them made, and ends before events are made of dictionaries.",
            "Own decoding stops at a bound of items, fastavro at none: fastavro_bounded_microseconds counts the items "
            "first, as the project does for schemas of others.",
        ],
    )


def _messages(workload: Workload) -> dict[str, list[tuple[Any, ...]]]:
    """Fields of the messages that the fold makes: a snapshot of every target, and its post's rollup.

    Every figure stands by itself, so that each round encodes it; the aggregator encodes the figures of both once.
    """
    snapshots, rollups = [], []
    channel = ChannelState("c", is_held=True, platform="x")
    for event in workload.raw(_START):
        for reading in map_event(event).posts:
            asked = event.targets[reading.position]
            target = TargetState(asked.target_id, asked.post_id, event.channel_id, is_listed=True)
            target.register = merge(
                target.register,
                reading.spoken,
                reading.ranged,
                reading.values,
                event.captured_at,
                event.event_id.encode(),
            )
            shared = figures_of(reading.values)
            snapshots.append(flat(post_snapshot_message(event, target, reading, shared)))
            parts = [PostPart(target, channel, shared)]
            post = PostState(asked.post_id, is_held=True, target_ids=(asked.target_id,))
            totals = post_totals(parts)
            rollup = post_rollup_message(_VERSION, event.workspace_id, post, parts, totals)
            rollups.append(flat(rollup))
    return {SNAPSHOTS: snapshots, ROLLUPS: rollups}


def _encoding(topic: str, values: Sequence[tuple[Any, ...]]) -> dict[str, float]:
    text = schema_text(topic)
    schema = json.loads(text)
    own = wire_encoder(text, 1)
    general = RecordCodec(topic, schema_id=1)
    records = [_record(schema, value) for value in values]
    for value, record in zip(values, records, strict=True):
        assert own(value) == general.encode(record), f"the two encoders of {topic} differ for {record}"
    return _micros(
        {
            "own_microseconds": lambda: _each(own, values),
            "fastavro_microseconds": lambda: _each(lambda value: general.encode(_record(schema, value)), values),
            "fastavro_alone_microseconds": lambda: _each(general.encode, records),
        },
        len(values),
    )


def _record(schema: dict[str, Any], value: Sequence[Any]) -> dict[str, Any]:
    """Positional fields as the dictionary that fastavro takes."""
    return {field["name"]: _field(field["type"], item) for field, item in zip(schema["fields"], value, strict=True)}


def _field(schema: Any, value: Any) -> Any:
    if value is None:
        return None
    kind = schema[1] if isinstance(schema, list) else schema
    if not isinstance(kind, dict):
        return value
    if kind.get("logicalType") == "decimal":
        return Decimal(value).scaleb(-kind["scale"])
    if kind["type"] == "array":
        return [_record(kind["items"], item) for item in value]
    return value  # instants too: fastavro takes whole milliseconds as they are


def _decoding(workload: Workload) -> dict[str, float]:
    text = schema_text(RAW)
    own = codec(RAW, schema_id=1, fetch_schema=lambda _: text)
    general = RecordCodec(RAW, fetch_schema=lambda _: text)
    values = [own.encode(event) for event in workload.raw(_START)]
    for value in values:
        assert own.decode(value) == raw_from(general.decode(value)), "the two decoders differ"
    measure = Measure(json.loads(text), TARGETS_MAX)

    def bounded(value: bytes) -> PlatformRaw:
        measure.check(value, _HEADER_BYTES)
        return raw_from(general.decode(value))

    return _micros(
        {
            "own_microseconds": lambda: _each(own.decode, values),
            "fastavro_microseconds": lambda: _each(lambda value: raw_from(general.decode(value)), values),
            "fastavro_alone_microseconds": lambda: _each(general.decode, values),
            "fastavro_bounded_microseconds": lambda: _each(bounded, values),
        },
        len(values),
    )


def _each(call: Callable[[Item], Any], items: Sequence[Item]) -> None:
    for item in items:
        call(item)


def _micros(contestants: dict[str, Callable[[], None]], count: int) -> dict[str, float]:
    """Processor time an item of each contestant, in microseconds: the best of some rounds, in turn."""
    best = dict.fromkeys(contestants, float("inf"))
    for _ in range(_ROUNDS):
        for name, contestant in contestants.items():
            began = time.process_time()
            contestant()
            best[name] = min(best[name], (time.process_time() - began) / count * 1e6)
    return best
