"""Platform tokens at rest: pairs in, ciphertext out, and the other way round.

The query API encrypts what a PUT brought, the poller decrypts it to ask platforms and encrypts what a refresh brought.
Nothing here stores, logs or sends a token; a pair shows no token when printed.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr

# Shorter secrets can be guessed; a generated key has 43 characters or more.
MIN_KEY_CHARACTERS = 16
_FERNET_KEY_BYTES = 32


class SecretsError(ValueError):
    """A ciphertext that none of the keys opens, or keys that can't be used; the message holds no secret."""


@dataclass(frozen=True, slots=True)
class TokenPair:
    """A channel's platform tokens in the clear; never logged, published or stored so."""

    access_token: str | None = field(default=None, repr=False)
    refresh_token: str | None = field(default=None, repr=False)

    def held(self) -> tuple[str, ...]:
        """The tokens there are."""
        return tuple(token for token in (self.access_token, self.refresh_token) if token)


class TokenCipher:
    """Encrypts with the newest key, decrypts with any, so that keys are rotated by prepending one.

    A key is a Fernet key (32 bytes as URL-safe base64), or any other text of at least 16 characters, from which one
    is derived.

    Args:
        keys: TIDEMARK_SECRET_KEYS, newest first.

    Raises:
        SecretsError: there is no key, or one is too short.
    """

    def __init__(self, keys: Sequence[SecretStr | str]) -> None:
        texts = [key.get_secret_value() if isinstance(key, SecretStr) else key for key in keys]
        if not texts:
            raise SecretsError("TIDEMARK_SECRET_KEYS is not set; it takes comma-separated keys, newest first")
        for position, text in enumerate(texts, start=1):
            if len(text) < MIN_KEY_CHARACTERS:
                raise SecretsError(
                    f"TIDEMARK_SECRET_KEYS: key {position} has {len(text)} characters, at least {MIN_KEY_CHARACTERS} "
                    "are needed; `openssl rand -base64 32` makes one"
                )
        self._fernet = MultiFernet([Fernet(_fernet_key(text)) for text in texts])
        # The oldest key, because prepending a newer one must not change a fingerprint: the same PUT again would then
        # pass for a new pair and undo a refresh. Dropping the oldest key changes fingerprints once.
        self._fingerprint_key = _derive(texts[-1], b"tidemark put fingerprint")

    def encrypt(self, pair: TokenPair) -> bytes:
        """The pair as ciphertext, different at every call."""
        return self._fernet.encrypt(
            orjson.dumps({"access_token": pair.access_token, "refresh_token": pair.refresh_token})
        )

    def decrypt(self, ciphertext: bytes) -> TokenPair:
        """The pair of a ciphertext.

        Raises:
            SecretsError: no key opens it, or it holds no pair.
        """
        try:
            record = orjson.loads(self._fernet.decrypt(ciphertext))
            return TokenPair(record["access_token"], record["refresh_token"])
        except InvalidToken:
            raise SecretsError("none of TIDEMARK_SECRET_KEYS opens this ciphertext") from None
        except (orjson.JSONDecodeError, KeyError, TypeError):
            raise SecretsError("the ciphertext opens, but holds no token pair") from None

    def fingerprint(self, pair: TokenPair) -> str:
        """Keyed hash of a pair: equal pairs have equal ones, also after a newer key was prepended.

        Returns:
            64 hex digits, of no use to whoever lacks the key.
        """
        plain = orjson.dumps([pair.access_token, pair.refresh_token])
        return hmac.new(self._fingerprint_key, plain, "sha256").hexdigest()


def _derive(text: str, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=_FERNET_KEY_BYTES, salt=None, info=purpose).derive(text.encode())


def _fernet_key(text: str) -> bytes:
    try:
        if len(base64.b64decode(text, altchars=b"-_", validate=True)) == _FERNET_KEY_BYTES:
            return text.encode()
    except (binascii.Error, ValueError):
        pass  # not a Fernet key: derive one
    return base64.urlsafe_b64encode(_derive(text, b"tidemark token encryption"))
