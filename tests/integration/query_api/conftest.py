"""The project's tables and topics, and the service on them: one each for the tests of this folder.

A test finds the tables empty. Tests of the running service keep apart by their workspaces, and leave it running.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator

import pytest
from pydantic import SecretStr

from services.query_api.directory import Directory
from services.query_api.reads.clickhouse import ClickHouse
from services.query_api.reads.read_model import ClickHouseReadModel
from services.runtime.migrations import migrate
from services.runtime.settings import ClickHouseSettings, KafkaSettings, RegistrySettings
from services.runtime.topics import ensure_topics
from tests.integration.query_api.rollups import Topics
from tests.integration.query_api.rows import Store
from tests.integration.query_api.running import Service, Workers, environment_of, workers_with_a_store
from tests.support.engines import Engines, in_database, query_clickhouse


@pytest.fixture(scope="package")
def tables(engines: Engines) -> Iterator[Store]:
    """The project's tables."""
    name = f"t{secrets.token_hex(4)}"
    url = in_database(engines.clickhouse_url, name)
    list(migrate(ClickHouseSettings(clickhouse_url=SecretStr(url))))
    yield Store(url)
    query_clickhouse(engines.clickhouse_url, f"DROP DATABASE {name}")


@pytest.fixture
def store(tables: Store) -> Iterator[Store]:
    """The project's tables, empty."""
    yield tables
    tables.clear()


@pytest.fixture
def directory() -> Directory:
    """Channels in memory, none at first."""
    return Directory()


@pytest.fixture
async def read_model(store: Store, directory: Directory) -> AsyncIterator[ClickHouseReadModel]:
    """The read model of production."""
    clickhouse = ClickHouse(ClickHouseSettings(clickhouse_url=SecretStr(store.url)))
    yield ClickHouseReadModel(clickhouse, directory)
    await clickhouse.close()


@pytest.fixture(scope="package")
def kafka_settings(engines: Engines) -> KafkaSettings:
    """The project's topics."""
    settings = KafkaSettings(
        kafka_bootstrap=engines.kafka_bootstrap, topic_prefix=f"t{secrets.token_hex(4)}.", topic_partitions=3
    )
    list(ensure_topics(settings, RegistrySettings(schema_registry_url=engines.schema_registry_url)))
    return settings


@pytest.fixture(scope="package")
def service(
    engines: Engines, kafka_settings: KafkaSettings, tables: Store, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """The service, ready."""
    running = Service(
        environment_of(engines, kafka_settings, tables), tmp_path_factory.mktemp("service") / "service.log"
    )
    running.start()
    running.wait_until_ready()
    yield running
    running.stop()


@pytest.fixture(scope="package")
def store_workers(
    engines: Engines, kafka_settings: KafkaSettings, tables: Store, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workers]:
    """Two workers that share a store; each test leaves two behind."""
    yield from workers_with_a_store(engines, kafka_settings, tables, tmp_path_factory.mktemp("store-workers"))


@pytest.fixture(scope="package")
def topics(engines: Engines, kafka_settings: KafkaSettings) -> Topics:
    """The topics of the service, written as the aggregator does."""
    return Topics(engines, kafka_settings)
