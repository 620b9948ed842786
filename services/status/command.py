"""`tidemark status`: asks services and engines twice, an interval apart, and prints one screen or JSON."""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import orjson
from pydantic import ValidationError
from rich.console import Console

from schemas.topic_names import CHANNELS, POSTS, RAW
from services.runtime.environment import read_dotenv
from services.runtime.patience import waiting_for
from services.runtime.settings import ClickHouseSettings, KafkaSettings, Settings, SettingsError, describe, exit_with
from services.status.addresses import Addresses, find
from services.status.probe import Answer, ask_clickhouse, ask_kafka, ask_service, memory_of_children
from services.status.report import Report, full_report, is_healthy, service_report
from services.status.screen import draw

_GROUP = "tidemark-aggregator"
_POLLERS = "tidemark-poller"
# The topics that pollers join their group on.
_CATALOG = (CHANNELS, POSTS)
Loaded = TypeVar("Loaded", bound=Settings)


def run(data_dir: Path, *, as_json: bool, interval_seconds: float) -> int:
    """Print the state of everything; returns 0 when all of it is ready, else 1."""
    try:
        addresses = find(data_dir, {**read_dotenv(Path(".env")), **os.environ})
    except SettingsError as error:
        exit_with(str(error))
    with waiting_for("services and engines to answer"):
        report = collect(addresses, interval_seconds)
    if as_json:
        sys.stdout.write(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        draw(report, Console(width=None if sys.stdout.isatty() else 160))
    return 0 if report["services"] and is_healthy(report) else 1


def collect(addresses: Addresses, interval_seconds: float) -> Report:
    """Ask all services and engines twice, an interval apart; takes the interval and the time of the slowest answer."""
    with ThreadPoolExecutor(8) as threads:
        before = dict(zip(addresses.services, threads.map(ask_service, addresses.services.values()), strict=True))
        started = time.monotonic()
        kafka = threads.submit(_kafka, addresses)
        clickhouse = threads.submit(_clickhouse, addresses)
        time.sleep(interval_seconds)
        # A service that did not answer is not asked a second time, which would only take the same time-out again.
        silent = {name: state for name, state in before.items() if state.is_silent}
        again = {name: origin for name, origin in addresses.services.items() if name not in silent}
        now = {**silent, **dict(zip(again, threads.map(ask_service, again.values()), strict=True))}
        now = {name: now[name] for name in addresses.services}
        seconds = time.monotonic() - started
        services = {name: service_report(before[name], state, seconds) for name, state in now.items()}
        memory = memory_of_children(addresses.supervisor_pid) if addresses.supervisor_pid is not None else {}
        return full_report(services, kafka.result(), clickhouse.result(), memory)


def _kafka(addresses: Addresses) -> Answer:
    settings = _settings(KafkaSettings, addresses)
    if isinstance(settings, str):
        return Answer(problem=settings)
    group = addresses.environment.get("TIDEMARK_AGGREGATOR_GROUP", _GROUP)
    pollers = addresses.environment.get("TIDEMARK_POLLER_GROUP", _POLLERS)
    return ask_kafka(
        settings,
        {
            f"{settings.topic_prefix}{group}": (settings.topic(RAW),),
            f"{settings.topic_prefix}{group}-catalog": tuple(settings.topic(name) for name in _CATALOG),
        },
        {
            f"{settings.topic_prefix}{group}": settings.topic(RAW),
            f"{settings.topic_prefix}{pollers}": settings.topic(CHANNELS),
        },
    )


def _clickhouse(addresses: Addresses) -> Answer:
    settings = _settings(ClickHouseSettings, addresses)
    return Answer(problem=settings) if isinstance(settings, str) else ask_clickhouse(settings)


def _settings(kind: type[Loaded], addresses: Addresses) -> Loaded | str:
    """Settings made from the addresses that were found; or, where some are missing, a line that names those."""
    told = {name.removeprefix("TIDEMARK_").lower(): value for name, value in addresses.environment.items()}
    known = {name: value for name, value in told.items() if name in kind.model_fields}
    try:
        return kind.model_validate(known)
    except ValidationError as error:
        return f"{describe(error)}; give --data-dir of a running `tidemark up`, or set it"
