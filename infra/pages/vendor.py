"""Copies the libraries of the pages from npm into `services/query_api/pages/static/vendor`.

    python -m infra.pages.vendor          the libraries, at the versions of package-lock.json
    python -m infra.pages.vendor --axe F  axe-core, for tests of accessibility, into the file F

npm checks each package against the integrity in package-lock.json, and runs no script of any package. Users of Tidemark
need neither npm nor this: the files are in the repository, with their licences.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

_HERE = Path(__file__).parent
VENDOR = _HERE.parents[1] / "services" / "query_api" / "pages" / "static" / "vendor"
LOCK = _HERE / "package-lock.json"
LIST = "vendored.json"
# The name here, and the file within node_modules.
FILES = {
    "preact.js": "preact/dist/preact.module.js",
    "hooks.js": "preact/hooks/dist/hooks.module.js",
    "htm.js": "htm/dist/htm.module.js",
    "uplot.js": "uplot/dist/uPlot.esm.js",
    "uplot.css": "uplot/dist/uPlot.min.css",
}
# A browser finds no package by its name: this one is imported by a relative address.
_IMPORTS = {"hooks.js": (b'from"preact"', b'from"./preact.js"')}
_SOURCE_MAP = b"//# sourceMappingURL="


def packages() -> dict[str, dict[str, str]]:
    """The locked packages by name, each with version, integrity and licence."""
    locked = json.loads(LOCK.read_text(encoding="utf-8"))["packages"]
    return {
        path.removeprefix("node_modules/"): {key: held[key] for key in ("version", "integrity", "license")}
        for path, held in locked.items()
        if path
    }


def main(arguments: list[str]) -> None:
    """Install what is locked into a temporary folder, and copy the files."""
    npm = shutil.which("npm")
    if npm is None:
        sys.exit("npm is missing: `make vendor` needs it (Debian: apt-get install npm)")
    with tempfile.TemporaryDirectory() as folder:
        modules = Path(folder) / "node_modules"
        for name in ("package.json", "package-lock.json"):
            shutil.copy(_HERE / name, folder)
        subprocess.run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder, check=True)  # noqa: S603
        if arguments[:1] == ["--axe"]:
            target = Path(arguments[1])
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(modules / "axe-core" / "axe.min.js", target)
            return
        _copy(modules)


def _copy(modules: Path) -> None:
    VENDOR.mkdir(parents=True, exist_ok=True)
    held = packages()
    listed = {}
    for name, source in FILES.items():
        content = (modules / source).read_bytes().partition(_SOURCE_MAP)[0]
        if name in _IMPORTS:
            content = content.replace(*_IMPORTS[name])
        (VENDOR / name).write_bytes(content)
        package = source.partition("/")[0]
        listed[name] = {"package": package, **held[package], "sha256": sha256(content).hexdigest()}
    (VENDOR / LIST).write_text(json.dumps(listed, indent=2) + "\n", encoding="utf-8")
    texts = [
        f"{package} {held[package]['version']} ({held[package]['license']})\n\n"
        + (modules / package / "LICENSE").read_text(encoding="utf-8").strip()
        for package in sorted({source.partition("/")[0] for source in FILES.values()})
    ]
    (VENDOR / "LICENSES.txt").write_text(f"\n\n{'-' * 80}\n\n".join(texts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
