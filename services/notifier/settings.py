"""Settings of the notifier, read once in `__main__`."""

from __future__ import annotations

from typing import Self

from pydantic import Field

from services.runtime.settings import (
    ClickHouseSettings,
    KafkaSettings,
    OperationsSettings,
    RegistrySettings,
    SecretKeysSettings,
    SettingsError,
    WebhookSettings,
)


class NotifierSettings(
    KafkaSettings, RegistrySettings, ClickHouseSettings, SecretKeysSettings, WebhookSettings, OperationsSettings
):
    """Settings of the notifier, from the environment (`TIDEMARK_*`).

    Attributes:
        notifier_group: consumer group, under the topic prefix; its processes share the webhooks.
        notifier_session_seconds: how long the group waits for a silent process before others take its webhooks over.
    """

    notifier_group: str = "tidemark-notifier"
    # Kafka's own least is 6 s by default.
    notifier_session_seconds: float = Field(default=6.0, ge=1, le=300)

    @classmethod
    def load(cls) -> Self:
        """Read the environment; see `Settings.load`."""
        settings = super().load()
        if not settings.secret_keys:
            raise SettingsError("TIDEMARK_SECRET_KEYS is not set; it opens the secrets that sign deliveries")
        return settings
