"""Reads the state of the whole installation for operators; callers of the same moment share one reading."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

from pydantic import SecretStr

from services.runtime.settings import ENV_PREFIX, ClickHouseSettings, KafkaSettings, Settings
from services.status.addresses import Addresses, parse_targets
from services.status.command import collect
from services.status.report import is_healthy

# Rates are counted over this time.
_INTERVAL_SECONDS = 1.0
# A reading asks every service and engine, so it is shown for a while.
_SHOWN_SECONDS = 4.0


class StatusReader:
    """Reads the state of services and engines.

    Args:
        gather: asks everything, which blocks; for a thread.
    """

    def __init__(self, gather: Callable[[], dict[str, Any]]) -> None:
        self._gather = gather
        self._reading = asyncio.Lock()
        self._read_at = -math.inf
        self._held: dict[str, Any] = {}

    async def read(self) -> dict[str, Any]:
        """The state of everything, at most a few seconds old."""
        async with self._reading:
            if monotonic() - self._read_at > _SHOWN_SECONDS:
                self._held = await asyncio.to_thread(self._gather)
                self._read_at = monotonic()
            return self._held


def engines_of(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """The settings by which the status finds the engines, as an environment.

    Args:
        settings: those of this process, which also come from files and from `.env`.
        environment: where the names of consumer groups come from, which this process does not use itself.
    """
    found = {name: value for name, value in environment.items() if name.startswith(ENV_PREFIX)}
    for kind in (KafkaSettings, ClickHouseSettings):
        for name in kind.model_fields:
            value = getattr(settings, name)
            if value is not None:
                shown = value.get_secret_value() if isinstance(value, SecretStr) else value
                found[f"{ENV_PREFIX}{name.upper()}"] = str(shown)
    return found


def reader_of(targets: str, environment: dict[str, str]) -> StatusReader:
    """A reader of the services at their operators' ports, and of the engines in an environment.

    Args:
        targets: `name=http://host:port`, comma-separated.

    Raises:
        SettingsError: `targets` is no such list.
    """
    addresses = Addresses(parse_targets(targets), environment, None)

    def gather() -> dict[str, Any]:
        report = collect(addresses, _INTERVAL_SECONDS)
        return {"is_healthy": bool(report["services"]) and is_healthy(report), **report}

    return StatusReader(gather)
