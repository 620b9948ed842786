"""What the guard of the disk does about parts that a full disk cut."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from infra.embedded.clickhouse.disk import DiskGuard
from infra.embedded.clickhouse.errors import NOT_ENOUGH_SPACE, ServerError
from tests.support.waiting import wait_until


class FakeEngine:
    """An engine with one broken part, which it can't drop before there is space."""

    def __init__(self) -> None:
        self.has_space = threading.Event()
        self.parts = ["all_1_1_0"]
        self.tried = 0

    def control(self, sql: str, params: Mapping[str, str] | None = None) -> str:
        if "FROM system.parts" in sql:
            return "\n".join(json.dumps(["tidemark", "t", part]) for part in self.parts)
        if sql.startswith("CHECK TABLE"):
            return "0"
        if "DROP PART" in sql:
            self.tried += 1
            if not self.has_space.is_set():
                raise ServerError(NOT_ENOUGH_SPACE, "no space left")
            self.parts.clear()
        return ""


def test_a_broken_part_is_dropped_once_there_is_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, is_low = FakeEngine(), True
    guard = DiskGuard(tmp_path, 0, engine)

    def low() -> bool:
        if is_low:
            guard._lowest_at = float("inf")
        return is_low

    try:
        writing = guard.writing()
        writing.__enter__()
        monkeypatch.setattr(guard, "_is_low", low)
        with pytest.raises(ServerError, match="became full"):
            writing.__exit__(None, None, None)
        assert (engine.tried, engine.parts) == (1, ["all_1_1_0"])
        is_low = False
        wait_until(lambda: engine.tried > 2, 10, "tried again")
        engine.has_space.set()
        wait_until(lambda: not engine.parts, 10, "dropped")
        tried = engine.tried
        wait_until(lambda: not guard._undropped, 10, "forgotten")
        assert engine.tried == tried
    finally:
        guard.close()
