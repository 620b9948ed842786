"""Settings of the query API, read once in `__main__`."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from services.platforms import checked_path
from services.runtime.sendable import sendable_secret
from services.runtime.settings import (
    ClickHouseSettings,
    HttpSettings,
    KafkaSettings,
    OperationsSettings,
    RegistrySettings,
    SecretKeysSettings,
    WebhookSettings,
)

# An origin in the form that browsers send.
_ORIGIN = re.compile(r"https?://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[1-9]\d{0,4})?")


class QueryApiSettings(
    KafkaSettings,
    RegistrySettings,
    ClickHouseSettings,
    SecretKeysSettings,
    HttpSettings,
    WebhookSettings,
    OperationsSettings,
):
    """Settings of the query API, from the environment (`TIDEMARK_*`)."""

    query_api_host: str = "127.0.0.1"
    query_api_port: int = Field(default=8080, ge=0, le=65535, description="0 takes a free port")
    query_api_workers: int = Field(default=1, ge=1, le=64, description="processes on the one port")
    admin_key: SecretStr | None = Field(default=None, description="unset: the admin API is closed")
    rate_limit: int = Field(default=0, ge=0, description="requests per key and minute; 0 is no limit")
    live_deadline_seconds: float = Field(default=4.0, ge=1, le=30, description="for all pulls of a live answer")
    poll_speed: float = Field(
        default=1.0, gt=0, le=1_000_000, description="the poller's speed; shifts when a target is next due"
    )
    answer_cache_bytes: int = Field(default=64 * 1024 * 1024, ge=0, description="for kept replies; 0 keeps none")
    store_dir: str = Field(default="", description="folder of the API's own store; empty: reads go to ClickHouse")
    store_memory_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="the part of the free memory that the store's file may take to be kept there; 0 keeps nothing",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="pages whose scripts may call the API: https://app.example.com, comma-separated, or *"
    )
    status_targets: str = Field(
        default="",
        description="operators' ports that the operator's page asks: poller=http://host:port, comma-separated",
    )
    platforms_path: str = Field(default="", description="folders of further platforms' files")

    @field_validator("admin_key")
    @classmethod
    def _can_be_sent(cls, value: SecretStr | None) -> SecretStr | None:
        return sendable_secret(value) if value is not None else None

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _origins(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        origins = tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))
        if "*" in origins and len(origins) > 1:
            raise ValueError("* allows every origin already; leave the others out, or *")
        for origin in origins:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"{origin!r} is no origin: scheme://host or scheme://host:port in lower case, without a path,"
                    " such as https://app.example.com; or * for all"
                )
        return origins

    _found_platforms = field_validator("platforms_path")(checked_path)
