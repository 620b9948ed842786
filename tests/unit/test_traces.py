"""One poll's trace: from the call to a platform, by the message's headers, to the insert into ClickHouse.

The poller's exchange and publisher, the topic's message and the aggregator's reader, pipeline and writer are the real
ones; a platform, the topics, the tables and the exporter are in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import httpx
import orjson
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client import CollectorRegistry

from schemas.codec import codec, schema_text
from schemas.events import Origin
from schemas.topic_names import DEAD_LETTERS, RAW
from services.aggregator import rows
from services.aggregator.batch import Batch
from services.aggregator.batch_trace import NO_TRACE, trace_of
from services.aggregator.clickhouse import ClickHouse
from services.aggregator.errors import RowsRefused
from services.aggregator.pipeline import Pipeline
from services.aggregator.publisher import Encoded, PartitionPublisher
from services.aggregator.reading import Message
from services.aggregator.set_aside import BatchReader
from services.aggregator.settings import AggregatorSettings
from services.aggregator.topic_writer import TopicWriter
from services.aggregator.writing import BatchWriter
from services.platforms import all_platforms
from services.poller.asking.access import Access
from services.poller.asking.budget import Budget
from services.poller.asking.exchange import Answer, Exchange
from services.poller.asking.fetch import Fetcher
from services.poller.asking.questions import ChannelQuestion
from services.poller.connections.redact import Redactor
from services.poller.errors import TimedOut
from services.poller.metrics import PollerMetrics
from services.poller.publisher import KafkaPublisher, Room
from services.runtime.brokers import Place
from services.runtime.telemetry import TelemetryTracer
from services.runtime.tracing import TRACEPARENT, UNTRACED, Tracer
from tests.support.manual_clock import ManualTime
from tests.support.memory_brokers import MemoryBrokers
from tests.support.platform_transport import PlatformTransport, json_answer
from tests.support.state_store import StateStore
from tests.unit.poller.asking.test_questions import of_channel

SECRET = "tok-SECRET-1234567"
SETTINGS = AggregatorSettings.model_validate(
    {
        "kafka_bootstrap": "127.0.0.1:1",
        "schema_registry_url": "http://127.0.0.1:1",
        "clickhouse_url": "http://u:p@127.0.0.1:1/x",
        "topic_partitions": 1,
    }
)
RAW_CODEC = codec(RAW, schema_id=1, fetch_schema=lambda _: schema_text(RAW))
LETTERS = codec(DEAD_LETTERS, schema_id=2, fetch_schema=lambda _: schema_text(DEAD_LETTERS))
NO_PARENT = "00-" + "0" * 32 + "-" + "0" * 16 + "-01"
GOOD = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Store:
    """In place of ClickHouse: takes rows, refuses those of some tables."""

    def __init__(self) -> None:
        self.states = StateStore()
        self.refused: dict[str, Exception] = {}

    async def insert(self, table: rows.Table, some: Sequence[rows.Row]) -> None:
        await asyncio.sleep(0)
        if table[0] in self.refused:
            raise self.refused[table[0]]
        self.states.insert({table: list(some)})


class Transactions:
    """In place of a partition's publisher."""

    def __init__(self) -> None:
        self.sent: list[Encoded] = []

    def publish(self, messages: Sequence[Encoded]) -> None:
        self.sent += messages


class Aggregator:
    """What reads, folds and writes the raw events of partition 0."""

    def __init__(self, time: ManualTime, tracer: Tracer) -> None:
        self.store, self.transactions = Store(), Transactions()
        self.reader = BatchReader(0, SETTINGS, RAW_CODEC, LETTERS, time, tracer)
        topics = TopicWriter(0, SETTINGS.topic, _Encoders(), cast("PartitionPublisher", self.transactions), self.reader)
        writer = BatchWriter(cast("ClickHouse", self.store), topics, self.reader, time)
        self.pipeline = Pipeline(0, self.store.states, writer, self.reader, time, 1000, lambda: None, tracer)

    async def take(self, messages: Sequence[Message]) -> Batch:
        batch = await asyncio.to_thread(self.reader.read, messages)
        await self.pipeline.apply(batch)
        await self.pipeline.settle()
        return batch


class _Encoders(dict[str, Any]):
    """Encodes any topic's fields as nothing, which is enough for messages that nobody reads."""

    def items(self) -> Any:
        names = ("metrics.post-snapshots", "metrics.channel-snapshots", "rollups.posts", "rollups.channels")
        return [(name, lambda _: b"") for name in names]


class World:
    """A poller and an aggregator, each with a tracer of its own, and the topic between them."""

    def __init__(self, poller: Tracer, aggregator: Tracer) -> None:
        self.time = ManualTime()
        self.wire = PlatformTransport(_videos)
        self.brokers = MemoryBrokers({RAW: 1})
        self.publisher = KafkaPublisher(SETTINGS, {RAW: RAW_CODEC}, 1, Room(9, 1 << 20), self.brokers, poller)
        self.exchange = Exchange(
            time=self.time, platforms=all_platforms(), fetcher=Fetcher({}, transports=lambda *_: self.wire),
            publisher=self.publisher, budget=Budget(lambda _, upper: upper),
            metrics=PollerMetrics(CollectorRegistry()), tracer=poller,
        )  # fmt: skip
        self.access = Access({"authorization": f"Bearer {SECRET}"}, Redactor([SECRET]), ("w1", "c1"))
        self.aggregator = Aggregator(self.time, aggregator)

    async def poll(self, *names: str) -> None:
        question = _polled(*names)
        assert isinstance(await self.exchange.make("youtube", question, self.access, Origin.SCHEDULE), Answer)

    async def messages(self) -> list[Message]:
        """What the topic holds, as the aggregator receives it."""
        reader = self.brokers.reader(is_committed=False)
        await reader.start()
        reader.stand({Place(RAW, 0): 0})
        records = await reader.read(0, 100)
        return [Message(r.topic, r.partition, r.offset, r.key, r.value, r.timestamp, tuple(r.headers)) for r in records]


def _polled(*names: str) -> ChannelQuestion:
    question = of_channel(*names)
    question.plan.active = True
    return question


def _videos(request: httpx.Request) -> httpx.Response:
    names = request.url.params["id"].split(",")
    items = [{"id": name, "statistics": {"viewCount": "5"}} for name in names]
    return json_answer(200, orjson.dumps({"items": items, "echo": SECRET}))


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    monkeypatch.delenv("OTEL_TRACES_SAMPLER", raising=False)
    return InMemorySpanExporter()


def tracer(exporter: InMemorySpanExporter, service: str = "poller") -> TelemetryTracer:
    return TelemetryTracer(service, "1", f"{service}-0", SimpleSpanProcessor(exporter))


@pytest.fixture
async def world(exporter: InMemorySpanExporter) -> AsyncIterator[World]:
    made = World(tracer(exporter), tracer(exporter, "aggregator"))
    await made.publisher.start()
    yield made
    await made.publisher.close(1)


def of(exporter: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in exporter.get_finished_spans() if span.name == name]


async def test_one_trace_reaches_from_the_call_to_the_insert(world: World, exporter: InMemorySpanExporter) -> None:
    await world.poll("a", "b")
    await world.aggregator.take(await world.messages())
    (call,) = of(exporter, "GET youtube posts")
    (send,) = of(exporter, f"send {RAW}")
    (process,) = of(exporter, f"process {RAW}")
    (own, shared) = sorted(of(exporter, f"INSERT {rows.RAW_EVENTS[0]}"), key=lambda span: not span.links)
    chain = (call, send, process, own)
    assert {span.context.trace_id for span in chain} == {call.context.trace_id}
    assert [span.parent.span_id if span.parent else None for span in chain] == [
        None, *(span.context.span_id for span in chain[:-1]),
    ]  # fmt: skip
    assert [span.kind for span in chain] == [SpanKind.CLIENT, SpanKind.PRODUCER, SpanKind.CONSUMER, SpanKind.CLIENT]
    assert [span.resource.attributes["service.name"] for span in chain] == [
        "tidemark-poller", "tidemark-poller", "tidemark-aggregator", "tidemark-aggregator",
    ]  # fmt: skip
    assert all(span.status.status_code is not StatusCode.ERROR for span in exporter.get_finished_spans())

    # The batch is a trace of its own, with links in both directions.
    (batch,) = of(exporter, "write batch")
    assert batch.context.trace_id != call.context.trace_id
    assert batch.parent is None
    assert [link.context.span_id for link in batch.links] == [process.context.span_id]
    assert [link.context.span_id for link in own.links] == [batch.context.span_id]
    parts = {span.name for span in exporter.get_finished_spans() if span.parent and span.parent == batch.context}
    assert {"fill batch", "fold batch", "publish batch", f"INSERT {rows.POST_SNAPSHOTS[0]}"} <= parts
    assert shared.parent == batch.context
    assert batch.start_time <= own.start_time <= own.end_time <= batch.end_time  # type: ignore[operator]  # both ended

    attributes = dict(call.attributes or {})
    assert attributes.pop("server.address") == "www.googleapis.com"
    assert attributes == {
        "http.request.method": "GET", "http.response.status_code": 200, "tidemark.platform": "youtube",
        "tidemark.kind": "POST_METRICS", "tidemark.shape": "posts", "tidemark.origin": "SCHEDULE",
        "tidemark.targets": 2, "tidemark.channels": 1, "tidemark.workspace_id": "w1", "tidemark.channel_id": "c1",
    }  # fmt: skip
    for span in (send, process):
        assert (span.attributes or {})["tidemark.workspace_id"] == "w1"


async def test_no_span_holds_a_secret(world: World, exporter: InMemorySpanExporter) -> None:
    await world.poll("a", SECRET)
    await world.aggregator.take(await world.messages())
    world.wire.answer = lambda _: json_answer(403, b'{"error": {"message": "access_token=%b"}}' % SECRET.encode())
    await world.poll(SECRET)
    world.wire.answer = _raises(httpx.ConnectTimeout(f"to https://host/?access_token={SECRET}"))
    with pytest.raises(TimedOut):
        await world.poll(SECRET)
    stranger = Message(RAW, 0, 9, b"w1", f"access_token={SECRET}".encode(), 1, ((f"x-{SECRET}", SECRET.encode()),))
    await world.aggregator.take([*await world.messages(), stranger])
    spans = exporter.get_finished_spans()
    failed = {
        (span.attributes or {}).get("error.type") for span in spans if span.status.status_code is StatusCode.ERROR
    }
    assert {"403", "TimedOut", "malformed_event"} <= failed
    assert len(spans) > 10
    for span in spans:
        text = span.to_json()
        assert SECRET not in text, text
        assert "access_token" not in text
        assert "/youtube/v3" not in text
        assert not span.events, "an exception's text could quote a request"
        assert not span.status.description


def _raises(error: Exception) -> Any:
    def answer(_: httpx.Request) -> httpx.Response:
        raise error

    return answer


HOSTILE = {
    "no text": [(TRACEPARENT, b"\xff\xfe" * 30)],
    "a megabyte": [(TRACEPARENT, GOOD.encode() + b"-" + b"a" * (1 << 20))],
    "null": [(TRACEPARENT, None)],
    "empty": [(TRACEPARENT, b"")],
    "a later version that ends": [(TRACEPARENT, b"ff" + GOOD[2:].encode())],
    "a version that is none": [(TRACEPARENT, b"zz" + GOOD[2:].encode())],
    "more than this version has": [(TRACEPARENT, GOOD.encode() + b"-00")],
    "zeros": [(TRACEPARENT, NO_PARENT.encode())],
    "capitals": [(TRACEPARENT, GOOD.upper().encode())],
    "a line end": [(TRACEPARENT, GOOD.encode() + b"\r\nx: y")],
    "two": [(TRACEPARENT, GOOD.encode())] * 2,
    "many": [(TRACEPARENT, GOOD.encode())] * 10_000,
    "behind many": [*[(f"h{number}", b"x") for number in range(10_000)], (TRACEPARENT, GOOD.encode())],
    "a name in capitals": [("TraceParent", GOOD.encode())],
}


@pytest.mark.parametrize("headers", HOSTILE.values(), ids=HOSTILE)
async def test_hostile_headers_change_nothing(
    world: World, exporter: InMemorySpanExporter, headers: list[tuple[str, bytes | None]]
) -> None:
    await world.poll("a")
    (message,) = await world.messages()
    await world.aggregator.take([message._replace(headers=(), offset=1)])
    plain = {name: dict(table) for name, table in world.aggregator.store.states.tables.items()}
    exporter.clear()
    await world.aggregator.take([message._replace(headers=tuple(headers), offset=1)])
    assert world.aggregator.store.states.tables["raw_events_store"] == plain["raw_events_store"]
    assert world.aggregator.store.states.tables["post_snapshots_store"].keys() == plain["post_snapshots_store"].keys()
    assert not [sent for sent in world.aggregator.transactions.sent if sent.topic == DEAD_LETTERS]
    (process,) = of(exporter, f"process {RAW}")
    assert process.parent is None, "a trace of its own"
    assert f"{process.context.trace_id:032x}" != GOOD[3:35]


async def test_a_strangers_valid_trace_goes_on(world: World, exporter: InMemorySpanExporter) -> None:
    await world.poll("a")
    (message,) = await world.messages()
    headers = (("other", None), (TRACEPARENT, GOOD.encode()), ("tracestate", b"a=1"))
    await world.aggregator.take([message._replace(headers=headers)])
    inserts = [span for span in of(exporter, f"INSERT {rows.RAW_EVENTS[0]}") if span.links]
    assert [f"{span.context.trace_id:032x}" for span in inserts] == [GOOD[3:35]]
    later = b"cc" + GOOD[2:].encode() + b"-what-comes-then"
    exporter.clear()
    await world.aggregator.take([message._replace(headers=((TRACEPARENT, later),), offset=1)])
    (process,) = of(exporter, f"process {RAW}")
    assert f"{process.context.trace_id:032x}" == GOOD[3:35]


async def test_a_refused_row_fails_its_own_traces_insert_alone(world: World, exporter: InMemorySpanExporter) -> None:
    await world.poll("a")
    await world.poll("b")
    messages = await world.messages()
    refused = RAW_CODEC.decode(messages[0].value or b"")
    world.aggregator.store.refused[rows.RAW_EVENTS[0]] = RowsRefused(
        [(refused.workspace_id, refused.event_id)], "too long"
    )
    await world.aggregator.take(messages)
    first, second = [span for span in of(exporter, f"INSERT {rows.RAW_EVENTS[0]}") if span.links]
    assert (first.status.status_code, (first.attributes or {})["error.type"]) == (StatusCode.ERROR, "not_stored")
    assert second.status.status_code is not StatusCode.ERROR
    (batch,) = of(exporter, "write batch")
    assert len(batch.links) == 2


async def test_a_failed_batch_ends_its_spans(world: World, exporter: InMemorySpanExporter) -> None:
    await world.poll("a")
    world.aggregator.store.refused[rows.POST_SNAPSHOTS[0]] = RuntimeError("no such table")
    with pytest.raises(RuntimeError):
        await world.aggregator.take(await world.messages())
    (batch,) = of(exporter, "write batch")
    (own,) = [span for span in of(exporter, f"INSERT {rows.RAW_EVENTS[0]}") if span.links]
    for span in (batch, own):
        assert (span.attributes or {})["error.type"] == "RuntimeError"


async def test_a_message_that_was_sent_again_keeps_its_trace(
    world: World, exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.poller.publisher._RETRY_SECONDS", 0.0)
    world.brokers.sends_to_fail = 2
    await world.poll("a")
    await world.publisher._room.emptied()
    (message,) = await world.messages()
    (send,) = of(exporter, f"send {RAW}")
    assert message.headers == ((TRACEPARENT, _traceparent(send).encode()),)


def _traceparent(span: ReadableSpan) -> str:
    return f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-{span.context.trace_flags:02x}"


async def test_what_is_not_sampled_is_not_noted_anywhere(
    exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    poller = tracer(exporter)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "1")
    world = World(poller, tracer(exporter, "aggregator"))
    await world.publisher.start()
    await world.poll("a")
    (message,) = await world.messages()
    ((name, value),) = message.headers
    assert (name, int((value or b"")[-2:], 16) & 1) == (TRACEPARENT, 0), "the decision is the poller's"
    batch = await world.aggregator.take([message])
    assert trace_of(tracer(exporter), 0, batch) is NO_TRACE
    assert exporter.get_finished_spans() == ()
    await world.publisher.close(1)


async def test_without_tracing_a_message_has_no_headers(exporter: InMemorySpanExporter) -> None:
    world = World(UNTRACED, UNTRACED)
    await world.publisher.start()
    await world.poll("a")
    (message,) = await world.messages()
    assert message.headers == ()
    batch = await world.aggregator.take([message._replace(headers=((TRACEPARENT, GOOD.encode()),))])
    assert trace_of(UNTRACED, 0, batch) is NO_TRACE
    assert world.aggregator.store.states.tables["raw_events_store"]
    await world.publisher.close(1)
