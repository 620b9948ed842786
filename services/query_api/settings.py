"""Settings of the query API, read once in `__main__`."""

from __future__ import annotations

import re

from pydantic import Field, SecretStr, field_validator

from services.platforms import checked_path
from services.runtime.settings import (
    ClickHouseSettings,
    HttpSettings,
    KafkaSettings,
    OperationsSettings,
    RegistrySettings,
    SecretKeysSettings,
)


class QueryApiSettings(
    KafkaSettings, RegistrySettings, ClickHouseSettings, SecretKeysSettings, HttpSettings, OperationsSettings
):
    """Where to listen, who may write the catalog, and how much one key may ask."""

    query_api_host: str = "127.0.0.1"
    query_api_port: int = Field(default=8080, ge=0, le=65535, description="0 takes a free port")
    query_api_workers: int = Field(default=1, ge=1, le=64, description="processes that answer on the one port")
    admin_key: SecretStr | None = Field(default=None, description="unset: the admin API is closed")
    rate_limit: int = Field(default=0, ge=0, description="requests per key and minute; 0 is no limit")
    live_deadline_seconds: float = Field(default=4.0, ge=1, le=30, description="for all of a live answer's pulls")
    poll_speed: float = Field(
        default=1.0, gt=0, le=1_000_000, description="the poller's, for when a target is next due"
    )
    answer_cache_bytes: int = Field(default=64 * 1024 * 1024, ge=0, description="for kept replies; 0 keeps none")
    platforms_path: str = Field(default="", description="folders of further platforms' files")

    @field_validator("admin_key")
    @classmethod
    def _can_be_sent(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.fullmatch(r"[!-~]+", value.get_secret_value()):
            raise ValueError(
                "has spaces or characters that a header can't hold; `openssl rand -hex 32` makes a good one"
            )
        return value

    _found_platforms = field_validator("platforms_path")(checked_path)
