"""The read model on real ClickHouse, and the catalog on real Kafka."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from services.query_api.directory import Directory
from services.query_api.reads.clickhouse import ClickHouse
from services.query_api.reads.read_model import ClickHouseReadModel
from services.runtime.migrations import migrate
from services.runtime.settings import ClickHouseSettings
from tests.integration.query_api.rows import Store


@pytest.fixture
def store(clickhouse_url: str) -> Store:
    """The project's tables, empty."""
    list(migrate(ClickHouseSettings(clickhouse_url=SecretStr(clickhouse_url))))
    return Store(clickhouse_url)


@pytest.fixture
def directory() -> Directory:
    """Channels in memory, none at first."""
    return Directory()


@pytest.fixture
async def read_model(store: Store, clickhouse_url: str, directory: Directory) -> AsyncIterator[ClickHouseReadModel]:
    """The read model of production on the test's own database."""
    clickhouse = ClickHouse(ClickHouseSettings(clickhouse_url=SecretStr(clickhouse_url)))
    yield ClickHouseReadModel(clickhouse, directory)
    await clickhouse.close()
