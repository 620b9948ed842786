"""Settings of `tidemark mcp`: the address of the query API, and the key of the workspace to read."""

from __future__ import annotations

from pydantic import SecretStr, field_validator

from services.runtime.sendable import checked_origin, sendable_secret
from services.runtime.settings import Settings


class McpSettings(Settings):
    """Settings of `tidemark mcp`, from the environment (`TIDEMARK_*`).

    Attributes:
        query_api_url: the origin of the query API.
        api_key: a key of the workspace to read, with the scope `analytics:read`.
    """

    query_api_url: str = "http://127.0.0.1:8080"
    api_key: SecretStr

    _origin = field_validator("query_api_url")(checked_origin)
    _can_be_sent = field_validator("api_key")(sendable_secret)
