"""The Faust app of a worker."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from mode.utils.queues import FlowControlEvent
from pydantic import SecretStr

from services.aggregator.app import _BUFFER_MAX_BYTES, _Buffer, build_app
from services.aggregator.reading import Message
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


def test_the_buffer_counts_what_headers_take() -> None:
    """Keys and values alone were counted: events of a thousand headers each filled the memory."""
    headers = tuple((f"h{number}", None) for number in range(1_000))
    event = SimpleNamespace(message=Message("t", 0, 0, b"k", b"v", 0, headers))
    buffer = _Buffer(maxsize=1_000, flow_control=FlowControlEvent())
    while not buffer.full():
        buffer.put_nowait(event)
    assert buffer.qsize() <= _BUFFER_MAX_BYTES // 200_000 + 1
    for _ in range(buffer.qsize()):
        buffer.get_nowait()
    assert buffer._bytes == 0
