"""Finds the endpoint of a request, by one regular expression over all path templates of a method. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

Endpoint = TypeVar("Endpoint")

_PLACEHOLDER = re.compile(r"\{(\w+)\}")


class PathTable(Generic[Endpoint]):
    """Finds endpoints by path.

    Matching nine templates in turn took a third of the time of a kept read; together they take one match.

    Args:
        endpoints: endpoints by template, such as `/v1/posts/{postId}/metrics`; a placeholder stands for one segment.
    """

    def __init__(self, endpoints: Mapping[str, Endpoint]) -> None:
        self._entries: dict[str, tuple[Endpoint, tuple[tuple[str, str], ...]]] = {}
        alternatives = []
        for number, (template, endpoint) in enumerate(endpoints.items()):
            names = _PLACEHOLDER.findall(template)
            groups = tuple((name, f"r{number}_{name}") for name in names)
            literals = _PLACEHOLDER.split(template)[::2]
            pattern = re.escape(literals[0])
            for (_, group), literal in zip(groups, literals[1:], strict=True):
                pattern += f"(?P<{group}>[^/]+)" + re.escape(literal)
            alternatives.append(f"(?P<r{number}>{pattern})")
            self._entries[f"r{number}"] = (endpoint, groups)
        self._pattern = re.compile("|".join(alternatives))

    def find(self, path: str) -> tuple[Endpoint, dict[str, str]] | None:
        """The endpoint of a path, with the path's parameters; None when no template matches."""
        match = self._pattern.fullmatch(path)
        if match is None or match.lastgroup is None:
            return None
        endpoint, groups = self._entries[match.lastgroup]
        return endpoint, {name: match[group] for name, group in groups}


class MethodTable(Generic[Endpoint]):
    """Finds endpoints by method and path; HEAD is served wherever GET is.

    Args:
        endpoints: (method, template, endpoint) of each endpoint.
    """

    def __init__(self, endpoints: Iterable[tuple[str, str, Endpoint]]) -> None:
        by_method: dict[str, dict[str, Endpoint]] = {}
        for method, template, endpoint in endpoints:
            by_method.setdefault(method, {})[template] = endpoint
            if method == "GET":
                by_method.setdefault("HEAD", {})[template] = endpoint
        self._tables = {method: PathTable(held) for method, held in by_method.items()}
        self.methods = frozenset(self._tables)

    def find(self, method: str, path: str) -> tuple[Endpoint, dict[str, str]] | None:
        """The endpoint of a method and path, with the path's parameters; None when no template matches."""
        table = self._tables.get(method)
        return None if table is None else table.find(path)

    def methods_of(self, path: str) -> dict[str, Endpoint]:
        """The endpoints of a path by method; empty when no template matches."""
        found = {method: table.find(path) for method, table in self._tables.items()}
        return {method: held[0] for method, held in found.items() if held is not None}


def path_of(path: str, raw_path: bytes) -> str:
    """The path without a slash at its end; a slash that was sent as `%2F` belongs to a name and stays.

    Args:
        path: the decoded path.
        raw_path: the path as it was sent; the query may follow.
    """
    if path == "/" or not path.endswith("/"):
        return path
    return path[:-1] if raw_path.partition(b"?")[0][-1:] == b"/" else path
