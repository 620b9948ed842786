"""`make demo`: at most 120 lines, the whole in a file that it names, and exit code 0 only when all was right."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.waiting import busy

ROOT = Path(__file__).parents[2]
MOST_LINES = 120
# On a machine that does nothing else, with the engines fetched before.
LONGEST_SECONDS = 60
NAMES = ("postme", "OpenPost", "PowerPost", "PostFuze", "PostFlow", "Tidemark", "ClickHouse")


@pytest.mark.long
@pytest.mark.timeout(300)
def test_the_demo_shows_and_checks_each_api_in_120_lines(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--engines") != "embedded":
        pytest.skip("runs `tidemark up`, which has engines of its own: --engines=embedded only")
    recipe = re.search(r"^demo: .*\n\t@\$\(VENV_PYTHON\) (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe is not None
    assert recipe[1] == "-m infra.demo"
    busy_before = busy()
    shown = subprocess.run(
        [sys.executable, *recipe[1].split(), "--data-dir", str(tmp_path / "demo")],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=280,
    )  # fmt: skip
    lines = shown.stdout.splitlines()
    assert shown.returncode == 0, shown.stdout
    assert len(lines) <= MOST_LINES, shown.stdout
    for name in NAMES:
        assert any(line.startswith(f"{name}  ") for line in lines), name
    checked = [int(number) for number in re.findall(r"^checked: (\d+) figures?, all as", shown.stdout, re.MULTILINE)]
    total = re.search(r"^(\d+) figures, all as the sandbox served them, in (\d+) s$", shown.stdout, re.MULTILINE)
    assert total is not None
    assert int(total[2]) < LONGEST_SECONDS * max(busy_before, busy())
    assert sum(checked) == int(total[1]) > 100
    named = re.search(r"every answer whole, and every comparison: (\S+)", shown.stdout)
    assert named is not None
    whole = Path(named[1]).read_text(encoding="utf-8")
    assert whole.count("\nright: ") == int(total[1])
    assert all(f"\n== {name}: " in whole for name in NAMES)


def test_what_the_demo_makes_is_ignored_by_git() -> None:
    from infra.demo.__main__ import ANSWERS_FOLDER

    subprocess.run(["git", "check-ignore", "--quiet", str(ANSWERS_FOLDER / "answers.txt")], cwd=ROOT, check=True)
