"""Reads an account's own list of posts, item by item: one that can't be read takes no other with it. No platform."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from services.platforms import abilities, base

PostOf = Callable[[dict[str, Any]], abilities.Discovered | str | None]
"""From an item to its post, to the name of the field that it lacks, or to None for what is no post of the account."""


def listed(items: Any, name: str, post_of: PostOf) -> abilities.Listed:
    """The posts among the items of a list, newest first, and what the others lack.

    Args:
        items: as the platform sent it.
        name: the platform's name of the list.

    Raises:
        MappingError: `unexpected_shape`: no list at all.
    """
    if not isinstance(items, list):
        raise base.MappingError("unexpected_shape", f"{name} is a JSON {type(items).__name__}, expected a list")
    posts: list[abilities.Discovered] = []
    lacking: dict[str, int] = {}
    for item in items:
        found = _found(item, post_of)
        if isinstance(found, str):
            lacking[found] = lacking.get(found, 0) + 1
        elif found is not None:
            posts.append(found)
    return abilities.Listed(sorted(posts, key=lambda post: -post.published_at), lacking)


def _found(item: Any, post_of: PostOf) -> abilities.Discovered | str | None:
    if not isinstance(item, dict):
        return "object"
    try:
        return post_of(item)
    except base.MappingError as error:
        return error.reason


def text_of(value: Any) -> str:
    """A text as it is; empty for anything else."""
    return value if isinstance(value, str) else ""
