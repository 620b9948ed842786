"""Files of a folder that services write to meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def below(folder: Path) -> Iterator[Path]:
    """Everything in a folder and its folders; what is gone by the time it is reached, such as a merged part of a
    table, is passed over, where `Path.rglob` would fail."""
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            yield Path(parent, name)
