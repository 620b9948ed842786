"""The repository as readers find it: documents that are true, and files that name no machine."""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import typer
from pydantic import SecretStr

import services
from schemas.metrics import PLATFORMS
from services import cli
from services.poller.settings import PlatformSettings
from services.runtime.settings import ENV_PREFIX, Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
SECURITY = ROOT / "docs" / "security.md"
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
VERBS = {
    "help", "setup", "demo", "up", "test", "test-long", "bench", "lint", "lock", "vendor", "browser", "pictures",
    "helm-check", "compose-check", "sbom",
}  # fmt: skip

# Put together here, so that this file does not hold them.
REGISTRY_HOSTS = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"), ("files", "pythonhosted", "org"), ("repo1", "maven", "org"),
        ("repo", "maven", "apache", "org"), ("registry", "npmjs", "org"), ("proxy", "golang", "org"), ("crates", "io"),
    )
]  # fmt: skip
# Absolute folders of somebody's machine, as a path begins in text.
MACHINE_PATH = re.compile(r"(?<![\w./<>{}$-])/(?:work|root|home|Users|mnt|opt)/[\w.-]+")
BINARY = {".png", ".gif", ".ico", ".gz", ".jar"}


@cache
def tracked() -> tuple[Path, ...]:
    """Files under version control; every file of the source folders where there is no repository."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode == 0:
        names = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    else:
        folders = [path for path in ROOT.iterdir() if not path.name.startswith(".") and path.is_dir()]
        names = [path for folder in folders for path in folder.rglob("*")]
        names += [path for path in ROOT.iterdir() if path.is_file()]
    return tuple(p for p in names if p.is_file() and p.suffix not in BINARY and "__pycache__" not in p.parts)


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def test_no_file_names_a_package_registry() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {host}" for path in tracked() for host in REGISTRY_HOSTS if host in text_of(path)
    ]
    assert not found, "locks are written without index lines, clients use the user's own configuration"


def test_no_file_names_a_folder_of_a_machine() -> None:
    found = []
    for path in tracked():
        match = MACHINE_PATH.search(text_of(path))
        if match is not None:
            found.append(f"{path.relative_to(ROOT)}: {match[0]}")
    assert not found


def test_the_lock_has_a_hash_for_everything() -> None:
    lock = text_of(ROOT / "requirements.lock")
    pins = re.findall(r"^([\w.-]+)==\S+(?: ; .+)? \\\n    --hash=sha256:[0-9a-f]{64}", lock, re.MULTILINE)
    entries = re.findall(r"^[^\s#]", lock, re.MULTILINE)
    assert len(pins) == len(entries) > 50
    assert not re.search(r"^(-|--)|https?://", lock, re.MULTILINE)


def test_each_dependency_is_in_the_lock() -> None:
    import tomllib

    project = tomllib.loads(text_of(ROOT / "pyproject.toml"))
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    names = {re.split(r"[\[<>=! ;]", line, maxsplit=1)[0].lower() for line in wanted}
    locked = set(re.findall(r"^([\w.-]+)==", text_of(ROOT / "requirements.lock"), re.MULTILINE))
    assert not names - locked, "run `make lock`"


def make_verbs() -> set[str]:
    return set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE))


def test_make_has_the_verbs_and_describes_each() -> None:
    assert make_verbs() == VERBS
    phony = re.search(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)
    assert phony is not None
    assert set(phony[1].split()) == VERBS


def test_make_help_lists_every_verb() -> None:
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"^  make (\S+)", shown, re.MULTILINE)) == VERBS


@pytest.mark.parametrize("verb", ["test", "test-long"])
def test_a_test_run_keeps_compiled_modules_where_nobody_looks(verb: str) -> None:
    """Also where the environment says not to: hundreds of processes would compile the same modules."""
    command = subprocess.run(["make", "--dry-run", verb], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    kept = re.search(r"^(PYTHONDONTWRITEBYTECODE= PYTHONPYCACHEPREFIX='(.+)') \S+ -m pytest ", command, re.MULTILINE)
    assert kept is not None, command
    assert Path(kept[2]).is_relative_to(ROOT / ".venv")
    told = subprocess.run(
        ["sh", "-c", f"{kept[1]} {sys.executable} -c 'import sys; print(sys.dont_write_bytecode, sys.pycache_prefix)'"],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert told == f"False {kept[2]}\n"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_documents_name_verbs_that_exist(path: Path) -> None:
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", text_of(path), re.MULTILINE))
    assert named <= VERBS


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_documents_name_commands_that_exist(path: Path) -> None:
    command = typer.main.get_command(cli.app)
    known = set(getattr(command, "commands", {}))
    named = set(re.findall(r"(?:`|bin/)tidemark ([a-z][a-z-]*)", text_of(path)))
    assert named <= known


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_documents_link_to_files_that_exist(path: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", text_of(path))
    assert not [link for link in links if not (path.parent / link).exists()]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_documents_name_files_that_exist(path: Path) -> None:
    named = re.findall(r"`((?:schemas|services|infra|tests|docs|benchmarks)/[\w./-]+)`", text_of(path))
    assert not [name for name in named if "NNNN" not in name and not (ROOT / name).exists()]


def test_each_line_of_the_security_page_names_the_test_that_shows_it() -> None:
    rows = [line for line in text_of(SECURITY).splitlines() if line.startswith("| **")]
    assert len(rows) >= 7
    for row in rows:
        shown_by = re.findall(r"`(tests/[\w/]+/test_\w+\.py)`", row.split("|")[-2])
        assert shown_by, f"{row[:60]}... names no test"
        assert not [name for name in shown_by if not (ROOT / name).exists()]


def test_reports_of_vulnerabilities_go_to_no_made_up_address() -> None:
    text = text_of(ROOT / "SECURITY.md")
    assert "@" not in text
    assert "http" not in text


def test_the_readme_begins_with_what_it_is_and_the_two_commands() -> None:
    first_screen = "\n".join(README.splitlines()[:24])
    assert "make demo" in first_screen
    assert "make up" in first_screen
    assert "docs/flow.svg" in first_screen


def all_settings() -> set[str]:
    """Every TIDEMARK_ variable: fields of the settings classes, and names in the code."""
    for module in pkgutil.walk_packages(services.__path__, "services."):
        if module.name.endswith(".settings"):
            importlib.import_module(module.name)
    found = set()
    classes = [Settings]
    while classes:
        known = classes.pop()
        classes += known.__subclasses__()
        if known is not PlatformSettings and known.__module__.startswith("services."):
            found |= {ENV_PREFIX + name.upper() for name in known.model_fields}
    for path in tracked():
        if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in ("services", "infra", "schemas", "benchmarks"):
            found |= set(re.findall(rf"\b{ENV_PREFIX}[A-Z0-9]+(?:_[A-Z0-9]+)*\b(?!_)", text_of(path)))
    return found


def test_each_setting_is_in_the_readme() -> None:
    table = {name for row in README.splitlines() if row.startswith("| `") for name in re.findall(r"`([^`]+)`", row)}
    parts = {f"{ENV_PREFIX}<PLATFORM>_{name.upper()}" for name in PlatformSettings.model_fields}
    assert parts <= table
    platform = re.compile(rf"{ENV_PREFIX}(?:{'|'.join(name.upper() for name in PLATFORMS)})_")
    # NAME_FILE, which the README tells of once, is the way to give any NAME.
    missing = sorted(
        name for name in all_settings() - table if name.removesuffix("_FILE") not in table and not platform.match(name)
    )
    assert not missing, f"give each a row in the README's table of settings: {missing}"
    assert " ".join(name.upper() for name in PLATFORMS) in README


def test_the_readme_shows_the_defaults() -> None:
    rows = [row.split(" | ") for row in README.splitlines() if row.startswith(f"| `{ENV_PREFIX}")]
    shown = {}
    for names, defaults, *_ in rows:
        listed = re.findall(r"`([^`]+)`", names)
        values = [part.strip() for part in defaults.split(",")]
        shown.update(dict(zip(listed, values, strict=False)) if len(values) == len(listed) else {})
    checked = 0
    classes = [Settings]
    while classes:
        known = classes.pop()
        classes += known.__subclasses__()
        for name, entry in known.model_fields.items():
            told = shown.get(ENV_PREFIX + name.upper(), "")
            if not told.startswith("`") or entry.is_required() or isinstance(entry.default, SecretStr):
                continue
            default = entry.default
            assert told.strip("`") in (str(default), f"{default:g}" if isinstance(default, float) else ""), name
            checked += 1
    assert checked > 10


def test_decisions_are_numbered_and_complete() -> None:
    numbers = [int(path.name[:4]) for path in DECISIONS]
    assert numbers == list(range(1, len(numbers) + 1)), "without gaps"
    for path in DECISIONS:
        assert re.fullmatch(r"\d{4}-[a-z0-9]+(-[a-z0-9]+)*\.md", path.name)
        text = text_of(path)
        assert "Status: " in text
        assert "## Alternatives" in text, path.name
        assert re.search(r"^Code: `", text, re.MULTILINE), f"{path.name} ends with the code it is about"


def test_the_changelog_has_its_headings() -> None:
    text = text_of(ROOT / "CHANGELOG.md")
    for heading in ("## [Unreleased]", "### Schemas", "### Tables"):
        assert heading in text


def test_the_flow_is_well_formed() -> None:
    import xml.etree.ElementTree as ElementTree

    root = ElementTree.parse(ROOT / "docs" / "flow.svg").getroot()
    assert root.get("viewBox")
