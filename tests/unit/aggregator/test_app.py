"""The Faust app of a worker."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from pydantic import SecretStr

from services.aggregator.app import build_app
from services.aggregator.settings import AggregatorSettings


def test_a_worker_makes_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    app = build_app(
        AggregatorSettings(
            kafka_bootstrap="127.0.0.1:1",
            schema_registry_url="http://127.0.0.1:1",
            clickhouse_url=SecretStr("http://127.0.0.1:1"),
        )
    )
    app.finalize()
    # What Faust does first of all when a worker starts.
    app._create_directories()
    assert list(tmp_path.iterdir()) == []
