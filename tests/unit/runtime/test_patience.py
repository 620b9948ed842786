"""A command that waits says so; one that doesn't is quiet."""

from __future__ import annotations

import functools

import pytest

from services.runtime import patience, progress
from services.runtime.patience import waiting_for
from services.runtime.progress import ProgressBar
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


def test_the_first_word_comes_sooner_than_the_next(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "FIRST_SECONDS", 0.01)
    with waiting_for("Kafka", every_seconds=600):
        wait_until(lambda: capsys.readouterr().err == "tidemark: waiting for Kafka (0 s)\n", 10, "one line")


def test_a_short_one_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    with waiting_for("Kafka"):
        pass
    assert capsys.readouterr().err == ""


def test_progress_that_stands_still_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "saying", functools.partial(patience.saying, every_seconds=0.01))
    said = ""

    def tells(text: str) -> bool:
        nonlocal said
        said += capsys.readouterr().err
        return said.count(text) >= 2

    with ProgressBar("audit") as bar:
        wait_until(lambda: tells("audit: starting (0 s)"), 10, "the start is told")
        bar.show("raw events", 3, 7)
        wait_until(lambda: tells("audit: 3 of 7, raw events (0 s)"), 10, "the same step is told again")
