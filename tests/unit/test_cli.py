"""The command refuses what can't be meant in one line that names it."""

from __future__ import annotations

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
