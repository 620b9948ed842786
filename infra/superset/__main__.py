"""`python -m infra.superset FILE`: packs the importable dashboard for Superset.

Superset asks for the password of the user when it imports the file.
"""

from __future__ import annotations

import argparse
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

from infra.superset.bundle import Place, documents
from services.runtime.clock import SystemClock, iso_seconds

CHARTS = Path(__file__).with_name("charts.json")
# The folder in the archive around all files, whose name Superset ignores.
_ROOT = "tidemark"


def read_charts() -> list[list[dict[str, Any]]]:
    """The rows of charts of `charts.json`."""
    rows: list[list[dict[str, Any]]] = json.loads(CHARTS.read_text(encoding="utf-8"))["rows"]
    return rows


def pack(file: Path, place: Place) -> int:
    """Write the archive, and return the number of files in it.

    Raises:
        OSError: the file can't be written.
    """
    found = documents(read_charts(), place, iso_seconds(SystemClock().now()))
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, document in found.items():
            # JSON is YAML; Superset reads files by their names' ends.
            archive.writestr(f"{_ROOT}/{path}", json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    return len(found)


def main() -> None:
    """Read the command line and write the archive."""
    plain = Place()
    parser = argparse.ArgumentParser(prog="python -m infra.superset", description=__doc__)
    parser.add_argument("file", type=Path, help="the archive to write")
    parser.add_argument("--host", default=plain.host)
    parser.add_argument("--port", type=int, default=plain.port)
    parser.add_argument("--user", default=plain.user, help="who may only read")
    parser.add_argument("--database", default=plain.database)
    parser.add_argument("--secure", action="store_true", help="https")
    given = parser.parse_args()
    place = Place(given.host, given.port, given.user, given.database, given.secure)
    try:
        files = pack(given.file, place)
    except OSError as error:
        sys.exit(f"{given.file} can't be written: {error.strerror}")
    sys.stdout.write(f"{given.file}: {files} files; import it in Superset under Dashboards\n")


if __name__ == "__main__":
    main()
