"""Fixtures that every test may use: shared engines, and names of its own in them."""

from __future__ import annotations

import gc
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import properties
from tests.support.budgets import FolderTimes
from tests.support.certificates import share_authorities
from tests.support.engines import EmbeddedEngines, Engines, ExternalEngines, in_database, query_clickhouse
from tests.support.processes import FilesTogether, in_order, take_interrupts, take_own_ports

properties.register()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--engines",
        choices=["embedded", "containers", "external"],
        default="embedded",
        help="where Kafka, the registry and ClickHouse come from: child processes, Docker, or TIDEMARK_* addresses",
    )


def pytest_configure(config: pytest.Config) -> None:
    # Until all tests are collected: hardly anything of theirs is garbage, and looking through it takes seconds.
    gc.disable()
    take_own_ports()
    take_interrupts()
    share_authorities()
    config.pluginmanager.register(FolderTimes())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    in_order(items)


def pytest_collection_finish() -> None:
    # Ten thousand tests and their modules stay to the end: no collection of garbage has to look through them.
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FilesTogether:
    return FilesTogether(config, log)


@pytest.fixture(scope="session")
def engines(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    """The engines of this test run; each starts when its address is first asked for."""
    kind = request.config.getoption("--engines")
    running: Engines
    if kind == "embedded":
        running = EmbeddedEngines(tmp_path_factory.mktemp("engines"))
    elif kind == "containers":
        # Every process of every run would import Docker's client.
        from tests.support.containers import ContainerEngines

        running = ContainerEngines()
    else:
        running = ExternalEngines()
    yield running
    running.close()


@pytest.fixture
def embedded_engines(engines: Engines) -> EmbeddedEngines:
    """The engines as child processes, for tests that stop and kill them; skipped with other engines."""
    if not isinstance(engines, EmbeddedEngines):
        pytest.skip("kills engines: runs with --engines=embedded only")
    return engines


@pytest.fixture
def topic_prefix() -> str:
    """A prefix for this test's topics and groups, such as `t8f3a21c0.`."""
    return f"t{secrets.token_hex(4)}."


@pytest.fixture
def database(engines: Engines) -> Iterator[str]:
    """The name of an empty ClickHouse database of this test's own."""
    name = f"t{secrets.token_hex(4)}"
    query_clickhouse(engines.clickhouse_url, f"CREATE DATABASE {name}")
    yield name
    query_clickhouse(engines.clickhouse_url, f"DROP DATABASE IF EXISTS {name}")


@pytest.fixture
def clickhouse_url(engines: Engines, database: str) -> str:
    """Address of this test's own database, read-write."""
    return in_database(engines.clickhouse_url, database)


@pytest.fixture
def clickhouse_analyst_url(engines: Engines, database: str) -> str:
    """Address of this test's own database for the user `analyst`."""
    return in_database(engines.clickhouse_analyst_url, database)
