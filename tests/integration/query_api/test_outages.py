"""What callers see while Kafka or ClickHouse is away, and that it ends with the outage."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from infra.embedded.kafka import Broker
from services.query_api.admin.catalog import Catalog
from services.query_api.admin.keys import Keys
from services.query_api.admin.parameters import ChannelPut, KeyRequest
from services.query_api.admin.vault import TokenVault
from services.query_api.directory import Directory
from services.query_api.errors import NotFound, ReadsUnavailable, WritesUnavailable
from services.query_api.feed import CatalogFeed
from services.query_api.publisher import Codecs, KafkaPublisher
from services.query_api.reads.clickhouse import ClickHouse
from services.query_api.reads.query import PostQuestion
from services.query_api.reads.read_model import ClickHouseReadModel
from services.query_api.serving.auth import KeyRing
from services.runtime.clock import SystemClock
from services.runtime.registry import Registry
from services.runtime.settings import ClickHouseSettings, KafkaSettings, RegistrySettings
from services.runtime.topics import ensure_topics
from tests.support.engines import EmbeddedEngines, Engines
from tests.support.waiting import PATIENCE, wait_until, wait_until_async

PUT = ChannelPut(platform="x", external_id="1")


class Writing:
    """The writing half and the memory of one instance of the service."""

    def __init__(self, kafka: KafkaSettings, registry: RegistrySettings) -> None:
        self.keys, self.directory, vault = KeyRing(), Directory(), TokenVault()
        codecs = Codecs(Registry(registry, kafka))
        self.publisher = KafkaPublisher(kafka, codecs)
        self.feed = CatalogFeed(kafka, codecs, (self.keys, self.directory, vault))
        clock = SystemClock()
        self.catalog = Catalog(
            self.publisher, directory=self.directory, keys=self.keys, vault=vault, cipher=None, clock=clock
        )
        self.key_maker = Keys(self.catalog, self.keys, clock)

    async def start(self) -> None:
        self.publisher.start()
        self.feed.start()

    async def wait_until_ready(self) -> None:
        async def is_ready() -> bool:
            return self.feed.missing is None

        await wait_until_async(is_ready, 30, lambda: str(self.feed.missing))

    async def put_channel(self, workspace_id: str, channel_id: str) -> bool:
        try:
            await self.catalog.put_channel(workspace_id, channel_id, PUT)
        except WritesUnavailable:
            return False
        return True

    async def stop(self) -> None:
        await asyncio.gather(self.publisher.stop(), self.feed.stop())


@pytest.fixture(scope="module")
def broker(engines: Engines) -> Iterator[Broker]:
    """A broker of this file's own, to be stopped; each test leaves it running."""
    if not isinstance(engines, EmbeddedEngines):
        pytest.skip("kills engines: runs with --engines=embedded only")
    (started,) = engines.start_cluster(1)
    yield started
    engines.child(_name(started)).stop(10)


def _name(broker: Broker) -> str:
    return f"{broker.folder.name}-{broker.node_id}"


@pytest.fixture
async def instances(embedded_engines: EmbeddedEngines, broker: Broker) -> AsyncIterator[tuple[Writing, Writing]]:
    """Two instances on the same topics."""
    kafka = KafkaSettings(kafka_bootstrap=broker.bootstrap, topic_partitions=2, topic_prefix="outage.")
    registry = RegistrySettings(schema_registry_url=embedded_engines.schema_registry_url)
    await asyncio.to_thread(lambda: list(ensure_topics(kafka, registry)))
    both = Writing(kafka, registry), Writing(kafka, registry)
    for instance in both:
        await instance.start()
        await instance.wait_until_ready()
    yield both
    for instance in both:
        await instance.stop()


async def test_an_outage_of_kafka_refuses_writes_keeps_keys_and_ends(
    embedded_engines: EmbeddedEngines, broker: Broker, instances: tuple[Writing, Writing]
) -> None:
    here, there = instances

    async def written() -> bool:
        return await here.put_channel("w1", "c1")

    await wait_until_async(written, 30, "the first write was not taken")
    made = await here.key_maker.make("w1", KeyRequest(scopes=["analytics:read"]))
    headers = [(b"x-api-key", made.key.encode())]
    assert here.keys.authenticate(headers).key_id == made.id

    async def known_there() -> bool:
        return ("w1", made.id) in there.keys

    await wait_until_async(known_there, 2, "a key made on one instance must work on the other within 2 s")
    embedded_engines.child(_name(broker)).stop(10)
    started = time.monotonic()
    # Each of them waits for Kafka for as long as it may: both at once.
    put, revoked = await asyncio.gather(
        here.put_channel("w1", "c2"), here.key_maker.revoke("w1", made.id), return_exceptions=True
    )
    assert time.monotonic() - started < 10 * PATIENCE
    assert put is False
    assert isinstance(revoked, WritesUnavailable)
    assert there.keys.authenticate(headers).key_id == made.id
    embedded_engines.spawn(_name(broker), broker.command())
    await asyncio.to_thread(wait_until, broker.answers, 60, "the broker did not come back")

    async def written_again() -> bool:
        return await here.put_channel("w1", "c3")

    await wait_until_async(written_again, 60, "writes did not go on")
    # A refused write may take effect after all, once Kafka is back; so repeating it finds it done, or does it.
    with suppress(NotFound):
        await here.key_maker.revoke("w1", made.id)

    async def revoked_there() -> bool:
        return ("w1", made.id) not in there.keys

    await wait_until_async(revoked_there, 30, "a revocation must reach the other instance")


async def test_an_instance_reads_the_topics_to_their_end_before_it_is_ready(
    embedded_engines: EmbeddedEngines, broker: Broker, instances: tuple[Writing, Writing]
) -> None:
    here, _ = instances
    ids = [f"c{number}" for number in range(50)]

    async def written() -> bool:
        return await here.put_channel("w1", ids[0])

    await wait_until_async(written, 30, "the first write was not taken")
    assert all(await asyncio.gather(*(here.put_channel("w1", channel_id) for channel_id in ids[1:])))
    await here.catalog.delete_channel("w1", ids[0])
    kafka = KafkaSettings(kafka_bootstrap=broker.bootstrap, topic_partitions=2, topic_prefix="outage.")
    late = Writing(kafka, RegistrySettings(schema_registry_url=embedded_engines.schema_registry_url))
    assert late.feed.missing is not None
    await late.start()
    await late.wait_until_ready()
    assert [channel_id for channel_id in ids if late.directory.get("w1", channel_id) is None] == [ids[0]]
    await late.stop()


@pytest.mark.parametrize("port", ["refused", "silent"])
async def test_clickhouse_away_is_an_error_in_time_and_never_a_hang(port: str) -> None:
    server = await asyncio.start_server(_say_nothing, "127.0.0.1", 0)
    number = server.sockets[0].getsockname()[1]
    if port == "refused":
        server.close()
        await server.wait_closed()
    clickhouse = ClickHouse(ClickHouseSettings(clickhouse_url=SecretStr(f"http://u:p@127.0.0.1:{number}/d")))
    model = ClickHouseReadModel(clickhouse, Directory())
    started = time.monotonic()
    *found, answers = await asyncio.gather(
        *(model.answer(PostQuestion("w1", f"p{n}")) for n in range(20)), clickhouse.answers(), return_exceptions=True
    )
    assert all(isinstance(one, ReadsUnavailable) for one in found)
    assert answers is False
    assert time.monotonic() - started < 8 * PATIENCE
    await clickhouse.close()
    server.close()


async def _say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await reader.read()
    finally:
        writer.close()


async def test_a_clickhouse_that_comes_back_is_used_again(clickhouse_url: str) -> None:
    parts = urlsplit(clickhouse_url)
    relay = _Relay(parts.hostname or "", parts.port or 0)
    await relay.open()
    address = clickhouse_url.replace(f"{parts.hostname}:{parts.port}", f"127.0.0.1:{relay.port}")
    clickhouse = ClickHouse(ClickHouseSettings(clickhouse_url=SecretStr(address)))
    assert await clickhouse.rows("one", "SELECT 1", {}) == [[1]]
    await relay.close()
    with pytest.raises(ReadsUnavailable):
        await clickhouse.rows("one", "SELECT 1", {})
    await relay.open()
    assert await clickhouse.rows("one", "SELECT {x:String}", {"x": "it's"}) == [["it's"]]
    await clickhouse.close()
    await relay.close()


class _Relay:
    """A port that leads to another one, and can be cut."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.close()
        self._writers.clear()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward_reader, onward = await asyncio.open_connection(*self._target)
        self._writers += [writer, onward]
        await asyncio.gather(_copy(reader, onward), _copy(onward_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(65_536):
            writer.write(chunk)
            await writer.drain()
    except OSError:
        pass  # the other side was cut
    finally:
        writer.close()
