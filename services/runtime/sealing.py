"""Signing secrets of webhooks: made, and sealed at rest for one webhook alone. Pure.

The query API makes and seals secrets, the notifier opens them to sign. A sealed text is bound to its webhook, so a
writer of the topic can't move it to another webhook. Nothing here stores, logs or sends a secret.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import SecretStr

from services.runtime.secrets import SecretsError, derived_key, usable_keys

SECRET_PREFIX: Final = "whsec_"
_SECRET_BYTES: Final = 32
_HEAD: Final = b"wh1."
_NONCE_BYTES: Final = 12
_PURPOSE: Final = b"tidemark webhook secrets"


@dataclass(frozen=True, slots=True)
class SigningSecrets:
    """A webhook's secrets in the clear, which must never be logged, published or stored.

    Attributes:
        previous: the secret before the last rotation; None before the first.
    """

    current: str = field(repr=False)
    previous: str | None = field(default=None, repr=False)


def new_secret() -> str:
    """Make a secret of 256 random bits, in the form of Standard Webhooks."""
    return SECRET_PREFIX + base64.b64encode(os.urandom(_SECRET_BYTES)).decode()


class WebhookCipher:
    """Seals with the newest key and opens with any key, so that a key is rotated by putting a new one first.

    Args:
        keys: TIDEMARK_SECRET_KEYS, newest first.

    Raises:
        SecretsError: there is no key, or a key is too short.
    """

    def __init__(self, keys: Sequence[SecretStr | str]) -> None:
        self.rekey(keys)

    def rekey(self, keys: Sequence[SecretStr | str]) -> None:
        """Go on with other keys, newest first.

        Raises:
            SecretsError: there is no key, or a key is too short; the keys stay as they were.
        """
        self._sealers = [AESGCM(derived_key(text, _PURPOSE)) for text in usable_keys(keys)]

    def seal(self, secrets: SigningSecrets, workspace_id: str, webhook_id: str) -> bytes:
        """Seal secrets for this webhook alone; the result differs at every call."""
        nonce = os.urandom(_NONCE_BYTES)
        plain = orjson.dumps([secrets.current, secrets.previous])
        return _HEAD + nonce + self._sealers[0].encrypt(nonce, plain, _associated(workspace_id, webhook_id))

    def is_newest(self, sealed: bytes, workspace_id: str, webhook_id: str) -> bool:
        """Whether the newest key opens a webhook's secrets, so that the older keys may go."""
        return self._opened_by(self._sealers[:1], sealed, workspace_id, webhook_id) is not None

    def open(self, sealed: bytes, workspace_id: str, webhook_id: str) -> SigningSecrets:
        """Open a webhook's secrets.

        Raises:
            SecretsError: no key opens them for this webhook.
        """
        found = self._opened_by(self._sealers, sealed, workspace_id, webhook_id)
        if found is None:
            raise SecretsError("none of TIDEMARK_SECRET_KEYS opens this webhook's secrets")
        return found

    @staticmethod
    def _opened_by(
        sealers: Sequence[AESGCM], sealed: bytes, workspace_id: str, webhook_id: str
    ) -> SigningSecrets | None:
        nonce, rest = sealed[len(_HEAD) :][:_NONCE_BYTES], sealed[len(_HEAD) + _NONCE_BYTES :]
        for sealer in sealers if sealed.startswith(_HEAD) else ():
            try:
                return SigningSecrets(*orjson.loads(sealer.decrypt(nonce, rest, _associated(workspace_id, webhook_id))))
            except (InvalidTag, ValueError, TypeError):
                continue  # another key's, another webhook's, or cut short
        return None


def _associated(workspace_id: str, webhook_id: str) -> bytes:
    return orjson.dumps(["catalog.webhooks", workspace_id, webhook_id])
