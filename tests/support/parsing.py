"""Counts what is parsed as platforms' JSON."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from services.platforms import json_reading


def counted(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The bodies that are parsed from now on, in this order, each as often as it is."""
    parsed: list[bytes] = []
    loads = orjson.loads

    class Counting:
        JSONDecodeError = orjson.JSONDecodeError

        @staticmethod
        def loads(text: bytes) -> Any:
            parsed.append(text)
            return loads(text)

    monkeypatch.setattr(json_reading, "orjson", Counting)
    return parsed
