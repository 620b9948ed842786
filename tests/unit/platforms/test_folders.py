"""Platforms are found by listing folders: this one, and those that `TIDEMARK_PLATFORMS_PATH` names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.metrics import PLATFORMS
from services.platforms import all_platforms

ROOT = Path(__file__).parents[3]
GOOD = "from types import SimpleNamespace\nPLATFORM = SimpleNamespace(facts=SimpleNamespace(name={name!r}))\n"
LIST = "import services.platforms as p, os\ntry: print(*p.all_platforms())\nexcept ValueError as error: print(error)"


def listed(named: str, cwd: Path = ROOT) -> str:
    """What a new process finds, or why it finds nothing."""
    environment = {**os.environ, "TIDEMARK_PLATFORMS_PATH": named, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", LIST], cwd=cwd, env=environment, capture_output=True, check=True)
    return ran.stdout.decode().strip()


def test_the_folders_of_the_setting_are_listed_too(tmp_path: Path) -> None:
    for folder, name in (("one", "mastodon"), ("two", "tumblr")):
        (tmp_path / folder / "sandbox").mkdir(parents=True)
        (tmp_path / folder / f"{name}.py").write_text(GOOD.format(name=name))
        (tmp_path / folder / "_shared.py").write_text("raise RuntimeError")
    assert listed(f"{tmp_path / 'one'}{os.pathsep}two", tmp_path).split() == sorted({*PLATFORMS, "mastodon", "tumblr"})
    (tmp_path / ".env").write_text("TIDEMARK_PLATFORMS_PATH=two\n")
    assert listed("", tmp_path).split() == sorted({*PLATFORMS, "tumblr"})


def test_a_file_that_takes_helpers_from_the_base_still_loads(tmp_path: Path) -> None:
    helpers = "from services.platforms.base import Call, count, pacific_midnight, path_part\n"
    (tmp_path / "mastodon.py").write_text(helpers + GOOD.format(name="mastodon"))
    assert "mastodon" in listed(str(tmp_path)).split()
    (tmp_path / "mastodon.py").write_text(
        "from services.platforms.base import orjason\n" + GOOD.format(name="mastodon")
    )
    assert "ImportError: cannot import name 'orjason'" in listed(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("reddit", GOOD.format(name="reddit"), "there is a platform reddit already"),
        ("mastodon", GOOD.format(name="Mastodon"), "its facts say 'Mastodon', expected the file's name"),
        ("mastodon", "x = 1", "AttributeError"),
        ("mastodon", "x = ", "SyntaxError"),
    ],
)
def test_a_file_that_is_no_platform_is_named(tmp_path: Path, name: str, text: str, problem: str) -> None:
    (tmp_path / f"{name}.py").write_text(text)
    told = listed(str(tmp_path))
    assert told.startswith(f"{tmp_path}/{name}.py: ")
    assert problem in told


@pytest.mark.parametrize(
    "module", ["poller", *(pytest.param(name, marks=pytest.mark.long) for name in ("aggregator", "query_api"))]
)
def test_a_missing_folder_ends_the_start_of_a_service_in_one_line(tmp_path: Path, module: str) -> None:
    environment = {
        **os.environ,
        "TIDEMARK_PLATFORMS_PATH": str(tmp_path / "nowhere"),
        "TIDEMARK_KAFKA_BOOTSTRAP": "127.0.0.1:1",
        "TIDEMARK_SCHEMA_REGISTRY_URL": "http://127.0.0.1:1",
        "TIDEMARK_CLICKHOUSE_URL": "http://127.0.0.1:1/t",
    }
    ended = subprocess.run(
        [sys.executable, "-m", f"services.{module}"], cwd=ROOT, env=environment, capture_output=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert ended.stderr.decode() == f"tidemark: TIDEMARK_PLATFORMS_PATH: {tmp_path / 'nowhere'} is no folder\n"
    assert ended.returncode == 2


def test_the_platforms_of_the_contract_are_all_here() -> None:
    assert set(all_platforms()) >= set(PLATFORMS)
