"""`python -m infra.sbom FOLDER`: writes the bills of materials (CycloneDX 1.6, JSON) and a table of licences.

    image.cdx.json      the image: Python packages and the pages' libraries
    embedded.cdx.json   what `tidemark up` runs besides: ClickHouse's engine, Java, Kafka and the registry
    licences.txt        every part with its licence, by licence

The engines are fetched first where they are missing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from infra.embedded import artifacts
from infra.embedded.lockfile import read_lock
from infra.sbom.components import IMAGE, jars, pins, python_component, scripts
from infra.sbom.components import closure as closure_of
from infra.sbom.licences import licences

ROOT = Path(__file__).parents[2]
NOT_STATED = "not stated by the part itself"


def image() -> list[Component]:
    """What the image holds besides Python itself and the base's own files."""
    lock = (ROOT / "infra" / "docker" / "requirements.lock").read_text(encoding="utf-8")
    return [*(python_component(pin) for pin in pins(lock, IMAGE)), *scripts()]


def embedded() -> list[Component]:
    """What the extra `embedded` and the engines' bundles bring."""
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    own = closure_of("tidemark[embedded]") - closure_of("tidemark")
    packages = [python_component(pin) for pin in pins(lock, IMAGE) if pin.name in own]
    bundles = read_lock()
    folders = artifacts.ensure(*bundles)
    return [*packages, *(jar for name, bundle in bundles.items() for jar in jars(bundle, folders[name]))]


def bill(name: str, parts: Iterable[Component]) -> Bom:
    """A bill of parts, all of which the named thing depends on."""
    whole = Component(
        name=name,
        version=version("tidemark"),
        type=ComponentType.APPLICATION,
        bom_ref=name,
        purl=PackageURL("generic", None, name, version("tidemark")),
        licenses=licences(["Apache-2.0"]),
    )
    bom = Bom(components=parts)
    bom.metadata.component = whole
    bom.register_dependency(whole, bom.components)
    return bom


def titles(part: Component) -> str:
    """A part's licences in words."""
    found = [one.value if isinstance(one, LicenseExpression) else one.id or one.name or "" for one in part.licenses]
    return " / ".join(sorted(found)) or NOT_STATED


def table(parts: Iterable[Component]) -> str:
    """Every part behind its licence, one a line, sorted."""
    lines = {
        f"{titles(part)}\t{part.group + ':' if part.group else ''}{part.name} {part.version or ''}".rstrip()
        for part in parts
    }
    return "".join(f"{line}\n" for line in sorted(lines))


def main(folder: Path) -> None:
    """Write the three files."""
    folder.mkdir(parents=True, exist_ok=True)
    shipped, engines = image(), embedded()
    for name, parts in (("image", shipped), ("embedded", engines)):
        text = JsonV1Dot6(bill(f"tidemark-{name}", parts)).output_as_string(indent=2)
        (folder / f"{name}.cdx.json").write_text(text + "\n", encoding="utf-8")
    (folder / "licences.txt").write_text(table([*shipped, *engines]), encoding="utf-8")
    sys.stdout.write(f"{folder}: {len(shipped)} parts of the image, {len(engines)} of the embedded engines\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
