"""Topics, schema files and examples belong together: no orphan, no gap, and every example is a valid event."""

from __future__ import annotations

import json
from typing import Any

import pytest

from schemas.codec import AVRO_DIR, Codec, RecordCodec, codec, newest_version, schema_text
from schemas.metrics import CHANNEL_METRICS, POST_METRICS, Metric, post_engagement_rate, post_engagements
from schemas.topic_specs import TOPICS_DIR, topic_specs
from tests.support.examples import EXAMPLES_DIR, Example, all_examples, normal

SPECS = {spec.name: spec for spec in topic_specs()}
EXAMPLES = all_examples()
IDS = [f"{example.topic}/{example.version}/{example.name}" for example in EXAMPLES]
NINETY_DAYS = str(90 * 24 * 3600 * 1000)
EIGHT_MEBIBYTES = str(8 * 1024 * 1024)
PUBLIC = {
    "catalog.channels", "catalog.posts", "catalog.api-keys", "catalog.tokens", "platform.raw",
    "metrics.post-snapshots", "metrics.channel-snapshots", "rollups.posts", "rollups.channels", "accounts.events",
    "platform.raw.dead-letters",
}  # fmt: skip
# Topics whose values are written as plain records; all others have a typed event.
RECORDS = {
    "metrics.post-snapshots", "metrics.channel-snapshots", "rollups.posts", "rollups.channels", "aggregator.claims"
}  # fmt: skip


def schema_of(topic: str, version: int | None = None) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(schema_text(topic, version))
    return parsed


def schema_files() -> dict[str, list[int]]:
    """Versions of the schema files, by topic."""
    found: dict[str, list[int]] = {}
    for path in AVRO_DIR.glob("*.avsc"):
        topic, _, version = path.name.removesuffix(".avsc").rpartition(".v")
        found.setdefault(topic, []).append(int(version))
    return {topic: sorted(versions) for topic, versions in found.items()}


def typed(topic: str) -> Codec[Any]:
    return codec(topic, schema_id=1, fetch_schema=lambda _: schema_text(topic))


def records(topic: str, version: int | None = None) -> RecordCodec:
    return RecordCodec(topic, schema_id=1, fetch_schema=lambda _: schema_text(topic, version))


def test_the_public_topics_are_those_of_the_contract() -> None:
    assert {name for name, spec in SPECS.items() if spec.is_public} == PUBLIC


def test_each_topic_has_its_schemas_and_each_schema_its_topic() -> None:
    files = schema_files()
    assert set(files) == set(SPECS), "a schema without schemas/topics/<topic>.toml, or a topic without a schema"
    for name, spec in SPECS.items():
        assert files[name] == list(range(1, len(files[name]) + 1)), f"versions of {name} have a gap"
        assert list(spec.versions) == files[name], f"schemas/topics/{name}.toml lists other versions than there are"


@pytest.mark.parametrize("name", sorted(SPECS))
def test_each_topic_file_is_named_after_its_topic(name: str) -> None:
    assert (TOPICS_DIR / f"{name}.toml").is_file()
    assert "_" not in name


@pytest.mark.parametrize("name", sorted(SPECS))
def test_each_topic_is_configured_as_promised(name: str) -> None:
    spec = SPECS[name]
    assert spec.compatibility == "BACKWARD"
    assert spec.config["max.message.bytes"] == EIGHT_MEBIBYTES
    assert spec.producers
    assert spec.consumers
    if spec.is_compacted:
        assert spec.config["delete.retention.ms"] == NINETY_DAYS
    else:
        assert int(spec.config["retention.ms"]) > 0
    compacted = name.startswith(("catalog.", "rollups.")) or name in (
        "aggregator.claims", "poller.backfills", "poller.spending", "notifier.deliveries", "notifier.endpoints",
    )  # fmt: skip
    assert spec.is_compacted == compacted
    assert (spec.config.get("message.timestamp.type") == "LogAppendTime") == (name == "platform.raw")
    # docs/decisions/0020: no broker recompresses what strangers send.
    is_ours = name.startswith(("metrics.", "rollups.", "poller.", "aggregator.", "notifier."))
    assert spec.config.get("compression.type") == (None if is_ours else "producer")


def test_dead_letters_and_their_source_name_each_other() -> None:
    for name, spec in SPECS.items():
        if spec.dead_letters is not None:
            assert SPECS[spec.dead_letters].dead_letters_of == name
        if spec.dead_letters_of is not None:
            assert SPECS[spec.dead_letters_of].dead_letters == name


@pytest.mark.parametrize("path", sorted(AVRO_DIR.glob("*.avsc")), ids=lambda path: path.name)
def test_each_field_has_a_doc(path: Any) -> None:
    def undocumented(schema: Any, at: str) -> list[str]:
        if isinstance(schema, list):
            return [name for part in schema for name in undocumented(part, at)]
        if not isinstance(schema, dict):
            return []
        missing: list[str] = []
        for field in schema.get("fields", ()):
            name = f"{at}.{field['name']}"
            if not field.get("doc", "").endswith("."):
                missing.append(name)
            missing += undocumented(field["type"], name)
        for part in ("items", "values"):
            missing += undocumented(schema.get(part), at)
        return missing

    schema = json.loads(path.read_text(encoding="utf-8"))
    assert schema["doc"]
    assert not undocumented(schema, schema["name"])


def test_no_topic_but_the_tokens_one_has_a_token_field() -> None:
    for name in SPECS:
        if name != "catalog.tokens":
            fields = {field["name"] for field in schema_of(name)["fields"]}
            assert not fields & {"access_token", "refresh_token", "ciphertext"}, name


def test_each_schema_has_examples_and_each_example_its_schema() -> None:
    held = {(example.topic, example.version) for example in EXAMPLES}
    wanted = {(topic, version) for topic, versions in schema_files().items() for version in versions}
    assert held == wanted
    strays = [path for path in EXAMPLES_DIR.rglob("*") if path.is_file() and path.parent.parent.parent != EXAMPLES_DIR]
    assert not strays, f"examples lie in examples/<topic>/<version>/: {strays}"


@pytest.mark.parametrize("example", EXAMPLES, ids=IDS)
def test_each_example_is_a_value_of_its_topic(example: Example) -> None:
    schema = schema_of(example.topic, example.version)
    assert set(example.content) == {field["name"] for field in schema["fields"]}, "every field, and no other"
    record = example.record(schema)
    written = RecordCodec(example.topic, schema_id=1, fetch_schema=lambda _: schema_text(example.topic))
    if example.version == newest_version(example.topic):
        assert normal(written.decode(written.encode(record))) == record


@pytest.mark.parametrize(
    "example", [e for e in EXAMPLES if e.topic not in RECORDS], ids=lambda e: f"{e.topic}/{e.name}"
)
def test_each_example_reads_as_its_typed_event(example: Example) -> None:
    record = example.record(schema_of(example.topic, example.version))
    event = typed(example.topic).decode(records(example.topic).encode(record))
    encoded = typed(example.topic).encode(event)
    # An example of an earlier version lacks what came later.
    assert _as_far_as(normal(records(example.topic).decode(encoded)), record) == record


def _as_far_as(read: Any, record: Any) -> Any:
    """What was read, without fields that the record lacks."""
    if isinstance(read, dict) and isinstance(record, dict):
        return {name: _as_far_as(read[name], record[name]) for name in record}
    if isinstance(read, list) and isinstance(record, list):
        return [_as_far_as(*pair) for pair in zip(read, record, strict=True)]
    return read


def _values(metrics: tuple[Metric, ...], content: dict[str, Any]) -> tuple[int | None, ...]:
    return tuple(content[m.name] if not m.is_duration else None for m in metrics)


@pytest.mark.parametrize(
    "example", [e for e in EXAMPLES if e.topic in ("metrics.post-snapshots", "rollups.posts")], ids=lambda e: e.name
)
def test_each_example_derives_its_figures_by_the_one_definition(example: Example) -> None:
    for content in (example.content, *example.content.get("channels", ())):
        values = _values(POST_METRICS, content)
        assert content["engagements"] == post_engagements(values)
        assert content["engagement_rate"] == post_engagement_rate(values)


def test_masks_fit_their_column() -> None:
    # `spoken` and `ranged` are UInt32 columns.
    assert max(len(POST_METRICS), len(CHANNEL_METRICS)) <= 32
