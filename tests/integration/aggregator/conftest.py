"""One aggregator for the tests of this folder.

Each test has workspaces of its own. Files that break or rebuild tables come first (tests/support/processes.py), and
leave them mended. The aggregator ends with the folder's last test: at rest it costs time, too.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from tests.support.backend import Backend
from tests.support.engines import Engines, in_database, query_clickhouse


def make_backend(engines: Engines, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """A backend with topics and a database of its own, taken down at the end."""
    name = f"t{secrets.token_hex(4)}"
    query_clickhouse(engines.clickhouse_url, f"CREATE DATABASE {name}")
    backend = Backend(
        engines, f"{name}.", in_database(engines.clickhouse_url, name), tmp_path_factory.mktemp("backend")
    )
    try:
        yield backend
    finally:
        backend.close()
        query_clickhouse(engines.clickhouse_url, f"DROP DATABASE IF EXISTS {name}")


@pytest.fixture(scope="package")
def backend(engines: Engines, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """A backend whose aggregator runs, also after a test that kills it or breaks what all workspaces depend on."""
    for made in make_backend(engines, tmp_path_factory):
        made.start_aggregator()
        yield made


@pytest.fixture(scope="package")
def bare_backend(engines: Engines, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """Topics and tables without an aggregator."""
    yield from make_backend(engines, tmp_path_factory)


@pytest.fixture
def workspace() -> str:
    """A tenant of this test's own."""
    return f"w-{secrets.token_hex(4)}"
