"""Files that are made from other files of the project: written, or compared with what they should be."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path


def write_or_check(path: Path, text: str, module: str, arguments: Sequence[str]) -> int:
    """Write a file, or with `--check` compare it; returns the exit code.

    Args:
        text: what the file should hold.
        module: writes the file, as `python -m` names it.
    """
    if "--check" in arguments:
        if path.exists() and path.read_text(encoding="utf-8") == text:
            return 0
        sys.stderr.write(f"{path} is not up to date: run python -m {module}\n")
        return 1
    path.write_text(text, encoding="utf-8")
    return 0
