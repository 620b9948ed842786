"""What the demo prints stays short whatever the answers hold, and the file has everything."""

from __future__ import annotations

import io
import re
from pathlib import Path

from rich.console import Console

from infra.demo.report import HEAD_LINES, SHOWN_DIFFERENCES, Report


def make_report(folder: Path) -> tuple[Report, io.StringIO, Path]:
    printed, answers = io.StringIO(), folder / "demo" / "answers.txt"
    return Report(Console(file=printed, soft_wrap=True, highlight=False), answers), printed, answers


def test_a_long_answer_shows_its_head_and_is_whole_in_the_file(tmp_path: Path) -> None:
    report, printed, answers = make_report(tmp_path)
    report.show("postme", "GET /x", {f"metric-{number}": number for number in range(500)})
    report.equal("likes", 1, 1)
    report.equal("views", 2, 2)
    report.finish()
    lines = printed.getvalue().splitlines()
    assert lines[1] == "postme  GET /x"
    assert lines[2].startswith('{"metric-0": 0, "metric-1": 1, ')
    assert re.fullmatch(r"\.\.\. and \d\d more lines", lines[2 + HEAD_LINES])
    assert lines[-1] == "checked: 2 figures, all as the sandbox served them"
    assert len(lines) == HEAD_LINES + 4
    whole = answers.read_text(encoding="utf-8")
    assert '"metric-499": 499' in whole
    assert "right: likes: 1\n" in whole


def test_a_short_answer_is_shown_whole(tmp_path: Path) -> None:
    report, printed, _ = make_report(tmp_path)
    report.show("ClickHouse", "SELECT [1]", [1])
    assert printed.getvalue().splitlines()[1:] == ["ClickHouse  SELECT [1]", "[1]"]


def test_differences_are_told_at_the_answer_and_some_at_the_end(tmp_path: Path) -> None:
    report, printed, answers = make_report(tmp_path)
    report.show("postme", "GET /x", {})
    for number in range(SHOWN_DIFFERENCES + 3):
        report.equal(f"figure {number}", number, None)
    report.finish()
    report.show_differences()
    lines = printed.getvalue().splitlines()
    assert f"checked: {SHOWN_DIFFERENCES + 3} figures, {SHOWN_DIFFERENCES + 3} of them wrong" in lines
    assert lines[-1] == "... and 3 more"
    assert lines[-2] == f"wrong figure {SHOWN_DIFFERENCES - 1}: the answer has 9, the sandbox served None"
    assert answers.read_text(encoding="utf-8").count("WRONG: ") == SHOWN_DIFFERENCES + 3


def test_the_file_of_an_earlier_run_is_replaced(tmp_path: Path) -> None:
    answers = tmp_path / "answers.txt"
    answers.write_text("earlier", encoding="utf-8")
    Report(Console(file=io.StringIO()), answers)
    assert answers.read_text(encoding="utf-8") == ""
