"""The static files of the pages, read once from this folder. Pure but for reading the files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from hashlib import blake2b
from pathlib import Path

_FOLDER = Path(__file__).parent / "static"
MEDIA_TYPES: Mapping[str, str] = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".html": "text/html; charset=utf-8",
}
_VERSION, _MODULES = b"{version}", b"{modules}"
_IMPORTED = re.compile(rb'^import\b[^"]*\bfrom ?"\./([^"]+)"', re.MULTILINE)


@cache
def files() -> dict[str, bytes]:
    """Every file that is served, by its path below `static`."""
    return {
        path.relative_to(_FOLDER).as_posix(): path.read_bytes()
        for path in sorted(_FOLDER.rglob("*"))
        if path.suffix in MEDIA_TYPES
    }


@cache
def version() -> str:
    """A name for exactly these files: it changes whenever a file does."""
    digest = blake2b(digest_size=8)
    for name, content in files().items():
        digest.update(b"%s\0%d\0" % (name.encode(), len(content)))
        digest.update(content)
    return digest.hexdigest()


def modules(name: str) -> list[str]:
    """The scripts that a script imports, and those that they import, by path below `static`; the nearest first."""
    found = [name]
    for one in found:
        folder = one.rpartition("/")[0]
        for imported in _IMPORTED.findall(files()[one]):
            path = f"{folder}/{imported.decode()}".lstrip("/")
            if path not in found:
                found.append(path)
    return found[1:]


@cache
def document(name: str) -> bytes:
    """A page whose addresses of scripts and styles hold the version of the files.

    The page names all scripts that it comes to need: else a browser would learn of each only from the one before it.
    """
    text = files()[name]
    lines = [
        b'<link rel="modulepreload" href="/static/{version}/%s">' % path.encode()
        for path in modules(name.replace(".html", ".js"))
    ]
    return text.replace(_MODULES, b"\n".join(lines)).replace(_VERSION, version().encode())


def media_type(name: str) -> str:
    """The media type of a file, by its suffix."""
    return MEDIA_TYPES[Path(name).suffix]
