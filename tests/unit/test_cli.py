"""The command refuses what can't be meant in one line that names it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.cli import main


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["up", "--ports", "weird"], "--ports"),
        (["audit", "--sample", "7"], "--sample"),
        (["up", "--unheard-of"], "--unheard-of"),
        (["unheard-of"], "unheard-of"),
        (["sandbox", "--port", "none"], "--port"),
    ],
)
def test_a_bad_option_is_one_line(
    arguments: list[str], named: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["tidemark", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("tidemark: ")
    assert named in shown.err
    assert shown.err.count("\n") == 1


def test_no_command_is_a_call_for_help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["tidemark"])
    with pytest.raises(SystemExit):
        main()
    shown = capsys.readouterr()
    assert "aggregator" in shown.out
    assert shown.err == ""


@pytest.mark.parametrize("command", ["audit", "rebuild"])
def test_all_settings_that_are_missing_are_named_at_once(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("TIDEMARK_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("sys.argv", ["tidemark", command])
    with pytest.raises(SystemExit):
        main()
    (line,) = capsys.readouterr().err.splitlines()
    for name in ("KAFKA_BOOTSTRAP", "SCHEMA_REGISTRY_URL", "CLICKHOUSE_URL"):
        assert f"TIDEMARK_{name}" in line
    assert "--data-dir" in line


def test_no_command_loads_clients_before_it_needs_them() -> None:
    loaded = "import sys, services.cli; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    ran = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    heavy = {"aiokafka", "authlib", "chdb", "clickhouse_connect", "confluent_kafka", "fastavro", "faust", "httpx"}
    assert heavy & set(ran.stdout.split()) == set()
