"""The client is a distribution of its own: small, without engines, and complete with what it declares."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[3]
CLIENT = ROOT / "tidemark_client"
LARGEST_BYTES = 5_000_000
IMPORTS = """
import sys
sys.path[:0] = sys.argv[1:]
import tidemark_client
from tidemark_client import Tidemark, TidemarkAdmin, TidemarkError
print(tidemark_client.__file__)
print(*sorted(name for name in sys.modules if name.partition(".")[0] in ("services", "infra", "schemas")))
"""


def _project(path: Path) -> dict[str, object]:
    project: dict[str, object] = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    return project


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built without the network, from a copy: a build writes into its folder."""
    folder = tmp_path_factory.mktemp("client")
    source = folder / "tidemark_client"
    shutil.copytree(CLIENT, source, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
    subprocess.run(
        [sys.executable, "-m", "uv", "build", "--wheel", "--offline", "--no-build-isolation",
         "--python", sys.executable, "--out-dir", str(folder / "dist"), str(source)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    (built,) = (folder / "dist").glob("*.whl")
    return built


def _closure(names: list[str]) -> dict[str, Distribution]:
    """The distributions that requirements bring along, as they are installed here."""
    found: dict[str, Distribution] = {}
    while names:
        requirement = Requirement(names.pop())
        if requirement.name in found or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        found[requirement.name] = distribution(requirement.name)
        names += found[requirement.name].requires or []
    return found


def _linked(distributions: dict[str, Distribution], folder: Path) -> Path:
    """A folder to import from that holds these distributions and no others."""
    folder.mkdir()
    for held in distributions.values():
        for file in held.files or ():
            top = file.parts[0]
            if top not in ("..", "__pycache__") and not (folder / top).exists():
                (folder / top).symlink_to(Path(str(held.locate_file(top))).resolve())
    return folder


def test_it_is_small_and_holds_the_client_alone(wheel: Path) -> None:
    assert wheel.stat().st_size < LARGEST_BYTES
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    expected = {f"tidemark_client/{path.name}" for path in CLIENT.glob("*.py")} | {"tidemark_client/py.typed"}
    assert {name for name in names if ".dist-info/" not in name} == expected


def test_it_runs_with_what_it_declares_and_without_the_server(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    subprocess.run(
        [sys.executable, "-m", "uv", "pip", "install", "--offline", "--no-deps", "--quiet",
         "--python", sys.executable, "--target", str(target), str(wheel)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        declared = re.findall(r"^Requires-Dist: (.+)$", archive.read(metadata).decode(), re.MULTILINE)
    dependencies = _linked(_closure(declared), tmp_path / "dependencies")
    # -I and -S: neither this repository nor the environment's packages can be imported.
    shown = subprocess.run(
        [sys.executable, "-I", "-S", "-c", IMPORTS, str(target), str(dependencies)],
        cwd=tmp_path, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    imported_from, server_modules = shown.stdout.splitlines()
    assert Path(imported_from).is_relative_to(target)
    assert not server_modules


def test_it_declares_what_the_server_declares_of_it() -> None:
    client, server = _project(CLIENT / "pyproject.toml"), _project(ROOT / "pyproject.toml")
    assert client["version"] == server["version"]
    of_client, of_server = client["dependencies"], server["dependencies"]
    assert isinstance(of_client, list)
    assert isinstance(of_server, list)
    assert set(of_client) <= set(of_server)
