"""Tidemark's own API, under `/tidemark/v1`: all known figures in the common columns, independent of any product.

Each subject is a folder, which is found by its `routes` module with its `ENDPOINTS`. In each subject `parameters`
declares the parameters, `models` the replies and `routes` the endpoints; the other modules answer.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from importlib.util import find_spec

from services.query_api.reads.sources import Sources
from services.query_api.serving.endpoint import Api

PREFIX = "/tidemark/v1"


@cache
def tidemark_api() -> Api[Sources]:
    """Tidemark's own API: its endpoints ordered by folder name, then in the order of the folder's `ENDPOINTS`."""
    return Api(
        name="tidemark",
        title="Tidemark",
        description="Every post, target and channel with all common columns, and where each figure comes from.",
        endpoints=tuple(
            endpoint
            for folder in sorted(pkgutil.iter_modules(__path__), key=lambda entry: entry.name)
            if folder.ispkg and find_spec(f"{__name__}.{folder.name}.routes") is not None
            for endpoint in importlib.import_module(f"{__name__}.{folder.name}.routes").ENDPOINTS
        ),
    )
