"""Tidemark's own API, under `/tidemark/v1`: all that is known, in the common columns and without a product's words.

One folder a subject, found by listing its `routes` module, which holds its `ENDPOINTS`, each an `Endpoint`: path, what
may be asked (a pydantic model), and an `answer` that is given the `Sources` and the `Request`. `serving` does the rest,
the same for all: key, scope, limit, parameters, existence, then the reply, kept, tagged, packed or streamed.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from importlib.util import find_spec

from services.query_api.tidemark.endpoint import Endpoint

TITLE = "Tidemark"
DESCRIPTION = "Every post, target and channel with all common columns, and where each figure comes from."


@cache
def all_endpoints() -> tuple[Endpoint, ...]:
    """Every endpoint, by folder name, then as the folder lists them."""
    return tuple(
        endpoint
        for folder in sorted(pkgutil.iter_modules(__path__), key=lambda entry: entry.name)
        if folder.ispkg and find_spec(f"{__name__}.{folder.name}.routes") is not None
        for endpoint in importlib.import_module(f"{__name__}.{folder.name}.routes").ENDPOINTS
    )
