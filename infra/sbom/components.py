"""The parts of Tidemark as components of a bill: Python packages, vendored scripts, and the jars of the engines.

In: the locks of this repository, the metadata of installed packages, and the engines' folders. Nothing here asks a
registry: a licence is the one that the part itself states.
"""

from __future__ import annotations

import json
import re
import zipfile
from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.component import Component, ComponentType
from defusedxml import ElementTree
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from infra.embedded.lockfile import Bundle
from infra.pages.vendor import LIST, VENDOR
from infra.sbom.licences import licences

# The image's Python and machine; its lock also has packages for others.
IMAGE = {
    "python_version": "3.12",
    "python_full_version": "3.12.12",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_machine": "x86_64",
    "os_name": "posix",
    "implementation_name": "cpython",
    "platform_python_implementation": "CPython",
}
_CLASSIFIER = "License :: "
_POM = re.compile(r"META-INF/maven/[^/]+/[^/]+/pom\.xml")
_QUARKUS_LIST = "quarkus-app-dependencies.txt"
_LICENCE_FILE = re.compile(r"(?:^|/)LICEN[CS]E[^/]*$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Pin:
    """One package of a lock of requirements; hashes as hex SHA-256."""

    name: str
    version: str
    hashes: tuple[str, ...] = field(default=())


def pins(lock: str, environment: Mapping[str, str]) -> Iterator[Pin]:
    """The packages of a lock that an environment installs.

    Args:
        lock: the text of a file that uv or pip-compile wrote with hashes.
        environment: values of markers.
    """
    for entry in re.split(r"\n(?=\S)", lock):
        head, *rest = entry.split(" \\\n")
        if head.startswith("#") or "==" not in head:
            continue
        requirement = Requirement(head)
        if requirement.marker is None or requirement.marker.evaluate(dict(environment)):
            (specifier,) = requirement.specifier
            hashes = re.findall(r"--hash=sha256:([0-9a-f]{64})", "".join(rest))
            yield Pin(canonicalize_name(requirement.name), specifier.version, tuple(hashes))


def closure(*wanted: str) -> set[str]:
    """The names of installed packages that requirements bring, themselves included."""
    found: set[tuple[str, frozenset[str]]] = set()
    waiting = [Requirement(text) for text in wanted]
    while waiting:
        requirement = waiting.pop()
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key in found:
            continue
        try:
            held = distribution(requirement.name)
        except PackageNotFoundError:
            continue  # For another machine or Python.
        found.add(key)
        for text in held.requires or ():
            one = Requirement(text)
            extras = [*requirement.extras, ""]
            if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(one)
    return {name for name, _ in found}


def python_component(pin: Pin) -> Component:
    """A Python package, with the licence that its metadata states where it is installed here."""
    try:
        stated = _stated(distribution(pin.name))
    except PackageNotFoundError:
        stated = []
    return Component(
        name=pin.name,
        version=pin.version,
        type=ComponentType.LIBRARY,
        bom_ref=f"pkg:pypi/{pin.name}@{pin.version}",
        purl=PackageURL("pypi", None, pin.name, pin.version),
        licenses=licences(stated),
        # One for each file of the release: wheels of several machines.
        properties=[Property(name="tidemark:sha256", value=one) for one in pin.hashes],
    )


def _stated(held: Distribution) -> list[str]:
    metadata = held.metadata
    if "License-Expression" in metadata:
        return [metadata["License-Expression"]]
    classified = [text.rpartition(" :: ")[2] for text in metadata.get_all("Classifier", ()) if _CLASSIFIER in text]
    # Some have the whole text there.
    title = [text for text in metadata.get_all("License", ()) if text and "\n" not in text and len(text) < 100]
    return [*title[:1]] if title and not classified else [*classified, *title]


def scripts() -> Iterator[Component]:
    """The libraries of the pages, as they were vendored."""
    listed: dict[str, dict[str, str]] = json.loads((VENDOR / LIST).read_text(encoding="utf-8"))
    for package in dict.fromkeys(entry["package"] for entry in listed.values()):
        files = {name: entry for name, entry in listed.items() if entry["package"] == package}
        entry = next(iter(files.values()))
        algorithm, _, digest = entry["integrity"].partition("-")
        assert algorithm == "sha512"
        yield Component(
            name=package,
            version=entry["version"],
            type=ComponentType.LIBRARY,
            bom_ref=f"pkg:npm/{package}@{entry['version']}",
            purl=PackageURL("npm", None, package, entry["version"]),
            hashes=[HashType(alg=HashAlgorithm.SHA_512, content=b64decode(digest).hex())],
            licenses=licences([entry["license"]]),
            properties=[Property(name="tidemark:vendored", value=name) for name in files],
        )


def jars(bundle: Bundle, folder: Path) -> Iterator[Component]:
    """The jars of an engine: those of the lock, and those in its archives.

    Args:
        folder: of the engine's files, unpacked and verified.
    """
    known = {file.filename: (file.group, file.artifact, file.version) for file in bundle.files} | _unpacked(folder)
    for path in sorted(folder.rglob("*.jar")):
        group, name, version = known.get(path.name, ("", path.stem, ""))
        purl = PackageURL("maven", group or None, name, version or None)
        yield Component(
            group=group or None,
            name=name,
            version=version or None,
            type=ComponentType.LIBRARY,
            bom_ref=f"{bundle.name}/{path.relative_to(folder).as_posix()}",
            purl=purl,
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256(path.read_bytes()).hexdigest())],
            licenses=licences(_of_jar(path)),
            properties=[Property(name="tidemark:engine", value=bundle.name)],
        )


def _unpacked(folder: Path) -> dict[str, tuple[str, str, str]]:
    """Group, name and version of an archive's jars by file name, from the list that Quarkus puts beside them."""
    listed = folder / _QUARKUS_LIST
    found = {}
    for line in listed.read_text(encoding="utf-8").split() if listed.exists() else ():
        group, name, classifier, kind, version = line.split(":")
        found[f"{group}.{name}-{f'{classifier}-' if classifier else ''}{version}.{kind}"] = (group, name, version)
    return found


def _of_jar(path: Path) -> list[str]:
    """The licences that a jar states: in its POM, in its manifest, or by a file of Apache's text."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        poms = [name for name in names if _POM.fullmatch(name)]
        # A jar with several has others' parts in it, each with its own licence.
        for name in poms if len(poms) == 1 else ():
            root = ElementTree.fromstring(archive.read(name))
            found = [
                (one.findtext("{*}name") or one.findtext("{*}url") or "").strip()
                for one in root.findall("{*}licenses/{*}license")
            ]
            if any(found):
                return found
        if "META-INF/MANIFEST.MF" in names:
            # Lines of more than 72 bytes go on behind a space.
            text = archive.read("META-INF/MANIFEST.MF").decode(errors="replace").replace("\r\n", "\n")
            match = re.search(r"^Bundle-License: (.*)$", text.replace("\n ", ""), re.MULTILINE)
            if match:
                return [part.split(";")[0].strip() for part in re.split(r",(?=\s*(?:\"|http))", match[1])]
        for name in names:
            if _LICENCE_FILE.search(name):
                text = archive.read(name)[:400].decode(errors="replace")
                if "Apache License" in text and "Version 2.0" in text:
                    return ["Apache-2.0"]
    return []
