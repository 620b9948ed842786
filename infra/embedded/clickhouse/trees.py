"""Syntax trees of any depth: read, written, compared, walked over and rebuilt without recursion.

In: JSON, or JSON's values. Out: the same. Pure, and knows nothing of SQL. The engine takes statements whose trees are a
few thousand JSON values deep (a sum of 499 terms has 1,500); Python's own recursion ends at 1,000.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

# What stands between two strings: brackets, marks, and numbers or the words true, false and null.
_PIECE = re.compile(r'[ \t\r\n:,]*+(["\[\]{}]|[^" \t\r\n:,\[\]{}]++)')
_decode = json.JSONDecoder().raw_decode


def read(text: str) -> Any:
    """JSON that the engine has written.

    Raises:
        ValueError: the text is no JSON.
    """
    try:
        return json.loads(text)
    except RecursionError:
        return _read_deep(text)


def _read_deep(text: str) -> Any:
    """JSON of any depth. Commas and colons are passed over: the engine sets them right."""
    top: list[Any] = []
    holders: list[list[Any] | dict[str, Any]] = [top]
    names: list[str | None] = [None]
    position = 0
    while (piece := _PIECE.match(text, position)) is not None:
        position = piece.end()
        mark = piece.group(1)
        if mark in ("]", "}"):
            holders.pop()
            names.pop()
            continue
        value: Any
        if mark == '"':
            value, position = _decode(text, piece.start(1))
        elif mark in ("[", "{"):
            value = [] if mark == "[" else {}
        else:
            value = json.loads(mark)
        holder = holders[-1]
        if isinstance(holder, list):
            holder.append(value)
        elif names[-1] is None:
            names[-1] = value
            continue
        else:
            holder[names[-1]] = value
            names[-1] = None
        if mark in ("[", "{"):
            holders.append(value)
            names.append(None)
    if len(top) != 1 or len(holders) != 1:
        raise ValueError("the JSON does not end")
    return top[0]


def written(tree: Any) -> str:
    """A tree as JSON."""
    try:
        return json.dumps(tree)
    except RecursionError:
        return "".join(_pieces(tree))


def _pieces(tree: Any) -> Iterator[str]:
    # What is still to be written: a text that comes out as it is, or a value.
    waiting: list[tuple[str, Any]] = [("", tree)]
    while waiting:
        text, value = waiting.pop()
        if text:
            yield text
        elif isinstance(value, Mapping):
            yield "{"
            waiting.append(("}", None))
            for place, (name, inner) in reversed(list(enumerate(value.items()))):
                waiting.append(("", inner))
                waiting.append((f"{', ' if place else ''}{json.dumps(name)}: ", None))
        elif isinstance(value, list):
            yield "["
            waiting.append(("]", None))
            for place, inner in reversed(list(enumerate(value))):
                waiting.append(("", inner))
                if place:
                    waiting.append((", ", None))
        else:
            yield json.dumps(value)


def nodes(tree: Any) -> Iterator[Mapping[str, Any]]:
    """Every mapping of a tree, each before those inside it, in the order of the text."""
    waiting = [tree]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            yield value
            waiting.extend(reversed(list(value.values())))
        elif isinstance(value, (list, tuple)):
            waiting.extend(reversed(value))


def rebuilt(tree: Any, change: Callable[[Mapping[str, Any], dict[str, Any]], Any]) -> Any:
    """A copy of a tree in which each mapping is replaced.

    Args:
        change: returns what stands in a mapping's place. Gets the mapping, and a copy whose inner mappings have been
            replaced already, which it may change.
    """
    top = [tree]
    places: list[tuple[Any, Any]] = [(top, 0)]
    copies: list[tuple[Any, Any, Mapping[str, Any], dict[str, Any]]] = []
    while places:
        holder, place = places.pop()
        old = holder[place]
        if isinstance(old, Mapping):
            copy: Any = dict(old)
            copies.append((holder, place, old, copy))
            places.extend((copy, name) for name, value in old.items() if isinstance(value, (Mapping, list)))
        elif isinstance(old, list):
            copy = list(old)
            places.extend((copy, at) for at, value in enumerate(old) if isinstance(value, (Mapping, list)))
        else:
            continue
        holder[place] = copy
    # Backwards: what is inside a mapping was copied after it.
    for holder, place, old, copy in reversed(copies):
        holder[place] = change(old, copy)
    return top[0]


def alike(one: Any, other: Any, beside: str) -> bool:
    """Whether two trees are equal but for the entries of one name, which a mapping may have or not."""
    try:
        if one == other:
            return True
    except RecursionError:
        pass
    waiting = [(one, other)]
    while waiting:
        left, right = waiting.pop()
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            names = left.keys() - {beside}
            if names != right.keys() - {beside}:
                return False
            waiting.extend((left[name], right[name]) for name in names)
        elif isinstance(left, list) and isinstance(right, list):
            if len(left) != len(right):
                return False
            waiting.extend(zip(left, right, strict=True))
        elif isinstance(left, (Mapping, list)) or isinstance(right, (Mapping, list)) or left != right:
            return False
    return True
