"""Our own ids: of workspaces, posts, targets, channels and the like. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

ID_MAX_CHARS: Final = 128
ID_PATTERN: Final = rf"[A-Za-z0-9._:-]{{1,{ID_MAX_CHARS}}}"
WHOLE_ID_PATTERN: Final = f"^{ID_PATTERN}$"
"""The same for JSON Schema, whose patterns find a part of a text."""
_matches = re.compile(ID_PATTERN).fullmatch


def is_id(text: str) -> bool:
    """Whether a text is an id of ours."""
    return _matches(text) is not None


def are_ids(texts: Iterable[str]) -> bool:
    """Whether each text is an id of ours, for readers of millions."""
    return all(map(_matches, texts))
