"""`docs/refusals.md` is written from the catalogue of refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra import refusals
from infra.sandbox.refusals import catalogue


def test_the_page_is_up_to_date() -> None:
    assert refusals.main(["--check"]) == 0, "run `python -m infra.refusals`"


def test_every_row_is_on_the_page() -> None:
    lines = refusals.page().splitlines()
    for row in catalogue().values():
        (line,) = [line for line in lines[lines.index(f"## {row.platform}") :] if line.startswith(f"| `{row.name}` |")][
            :1
        ]
        assert row.source in line
        assert row.does in line
        assert line.count("|") == 6, "a row has five cells"


def test_a_page_that_is_not_up_to_date_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(refusals, "ROOT", tmp_path)
    monkeypatch.setattr(refusals, "PAGE", tmp_path / "refusals.md")
    assert refusals.main(["--check"]) == 1
    assert "run `python -m infra.refusals`" in capsys.readouterr().err
    assert refusals.main([]) == 0
    assert refusals.main(["--check"]) == 0
    assert refusals.main(["--help-me"]) == 2
