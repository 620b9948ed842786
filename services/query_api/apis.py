"""Every API of the service: the products, Tidemark's own, and the admin API."""

from __future__ import annotations

from typing import Any

from services.query_api.admin.routes import API as ADMIN_API
from services.query_api.dialects import all_dialects
from services.query_api.reads.sources import Sources
from services.query_api.serving.endpoint import Api
from services.query_api.tidemark import tidemark_api


def product_apis() -> tuple[Api[Sources], ...]:
    """The products, by name."""
    return all_dialects()


def read_apis() -> tuple[Api[Sources], ...]:
    """The APIs that answer from the sources: the products, and Tidemark's own API."""
    return (*all_dialects(), tidemark_api())


def all_apis() -> tuple[Api[Any], ...]:
    """All APIs, in the order of the OpenAPI description."""
    return (*read_apis(), ADMIN_API)
