"""Every API of the service: the products, Tidemark's own, and the admin API."""

from __future__ import annotations

from typing import Any

from services.query_api.admin.routes import API as ADMIN_API
from services.query_api.dialects import all_dialects
from services.query_api.serving.endpoint import Api
from services.query_api.tidemark import tidemark_api


def all_apis() -> tuple[Api[Any], ...]:
    """What is described, in the description's order."""
    return (*all_dialects(), tidemark_api(), ADMIN_API)
