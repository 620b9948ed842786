"""A command that waits says so; one that doesn't is quiet."""

from __future__ import annotations

import pytest

from services.runtime.patience import waiting_for
from tests.support.waiting import wait_until


def test_a_long_wait_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    said = ""

    def is_said() -> bool:
        nonlocal said
        said += capsys.readouterr().err
        return said.count("\n") >= 2

    with waiting_for("Kafka at kafka:9092", every_seconds=0.01):
        wait_until(is_said, 10, "two lines")
    assert "tidemark: waiting for Kafka at kafka:9092 (0 s)\n" in said


def test_a_short_one_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    with waiting_for("Kafka"):
        pass
    assert capsys.readouterr().err == ""
