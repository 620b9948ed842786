"""The lock of every file fetched from Maven: coordinates, size and SHA-256. The lock names no repository.

`artifacts.lock` is TOML, written by `python -m infra.embedded.artifacts lock` and read here.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

LOCK_PATH = Path(__file__).with_name("artifacts.lock")


@dataclass(frozen=True)
class LockedFile:
    """One file of one Maven artifact, pinned by content."""

    group: str
    artifact: str
    version: str
    packaging: str
    classifier: str
    size_bytes: int
    sha256: str

    @property
    def filename(self) -> str:
        """The file's name in a Maven repository."""
        classifier = f"-{self.classifier}" if self.classifier else ""
        return f"{self.artifact}-{self.version}{classifier}.{self.packaging}"

    @property
    def coordinate(self) -> str:
        """`group:artifact:packaging[:classifier]:version`, Maven's own long form."""
        parts = [self.group, self.artifact, self.packaging, self.classifier, self.version]
        return ":".join(part for part in parts if part)

    @property
    def maven_path(self) -> Path:
        """The file's relative path in a Maven repository."""
        return Path(*self.group.split("."), self.artifact, self.version, self.filename)


@dataclass(frozen=True)
class Bundle:
    """A set of locked files that are used together, such as the jars of one engine.

    Attributes:
        requested: the pinned coordinates that the files were resolved from, `group:artifact:version`,
            followed by `:classifier:packaging` for a file that is taken without its dependencies.
        unpacked: SHA-256 over names and sums of the files in the bundle's archives; empty for a bundle without
            archives.
    """

    name: str
    requested: tuple[str, ...]
    files: tuple[LockedFile, ...]
    unpacked: str = ""

    @property
    def digest(self) -> str:
        """A short hash that changes with any file of the bundle."""
        return hashlib.sha256("\n".join(sorted(f.sha256 for f in self.files)).encode()).hexdigest()

    @property
    def size_bytes(self) -> int:
        """How many bytes are fetched when nothing is cached."""
        return sum(f.size_bytes for f in self.files)


def parse_coordinate(coordinate: str) -> tuple[str, str, str, str, str]:
    """Split Maven's long form into group, artifact, packaging, classifier and version.

    Raises:
        ValueError: the text has neither four nor five parts.
    """
    parts = coordinate.split(":")
    if len(parts) == 4:
        group, artifact, packaging, version = parts
        return group, artifact, packaging, "", version
    if len(parts) == 5:
        group, artifact, packaging, classifier, version = parts
        return group, artifact, packaging, classifier, version
    raise ValueError(f"not a coordinate group:artifact:packaging[:classifier]:version: {coordinate!r}")


def digest_of_tree(sums: Mapping[str, str]) -> str:
    """One SHA-256 of a folder's files, from their relative paths and sums."""
    lines = (f"{sums[name]}  {name}" for name in sorted(sums))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def read_lock(path: Path = LOCK_PATH) -> dict[str, Bundle]:
    """Read the lock: bundle name -> bundle."""
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    bundles = {}
    for name, section in document.items():
        files = []
        for entry in section["files"]:
            group, artifact, packaging, classifier, version = parse_coordinate(entry["coordinate"])
            files.append(
                LockedFile(group, artifact, version, packaging, classifier, int(entry["bytes"]), entry["sha256"])
            )
        bundles[name] = Bundle(name, tuple(section["requested"]), tuple(files), section.get("unpacked", ""))
    return bundles


def render_lock(bundles: list[Bundle]) -> str:
    """Render bundles as the lock's text; `read_lock` of it gives the same bundles."""
    lines = ["# Written by `python -m infra.embedded.artifacts lock`; do not edit by hand."]
    for bundle in bundles:
        lines += ["", f"[{bundle.name}]", "requested = ["]
        lines += [f'    "{coordinate}",' for coordinate in bundle.requested]
        lines += ["]", "files = ["]
        for f in bundle.files:
            lines.append(f'    {{ coordinate = "{f.coordinate}", bytes = {f.size_bytes}, sha256 = "{f.sha256}" }},')
        lines.append("]")
        if bundle.unpacked:
            lines.append(f'unpacked = "{bundle.unpacked}"')
    return "\n".join(lines) + "\n"
