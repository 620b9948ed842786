"""Platform tokens at rest: pairs in, ciphertext out, and the other way round.

The query API encrypts what a PUT brought, the poller decrypts it to ask platforms and encrypts what a refresh brought.
Nothing here stores, logs or sends a token; a pair shows no token when printed.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr

# Shorter secrets can be guessed; a generated key has 43 characters or more.
MIN_KEY_CHARACTERS = 16
_FERNET_KEY_BYTES = 32
# Begins a ciphertext of this version; a Fernet token, which the earlier one wrote, begins with another character.
_BOUND = b"tm2."
_NONCE_BYTES = 12

Owner: TypeAlias = tuple[str, str]
"""The channel that tokens are of: workspace and channel id."""


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

    A ciphertext is bound to its channel: under any other channel's key it does not open. Those of earlier versions
    (Fernet) are not bound, so whoever can write to the topic can move one; they are read until the owner refuses them.

    A key is a Fernet key (32 bytes as URL-safe base64), or any other text of at least 16 characters, from which one
    is derived.

    Args:
        keys: TIDEMARK_SECRET_KEYS, newest first.
        accepts_unbound: whether ciphertexts of earlier versions are opened (TIDEMARK_UNBOUND_TOKENS).

    Raises:
        SecretsError: there is no key, or one is too short.
    """

    def __init__(self, keys: Sequence[SecretStr | str], *, accepts_unbound: bool = True) -> None:
        texts = [key.get_secret_value() if isinstance(key, SecretStr) else key for key in keys]
        if not texts:
            raise SecretsError("TIDEMARK_SECRET_KEYS is not set; it takes comma-separated keys, newest first")
        for position, text in enumerate(texts, start=1):
            if len(text) < MIN_KEY_CHARACTERS:
                raise SecretsError(
                    f"TIDEMARK_SECRET_KEYS: key {position} has {len(text)} characters, at least {MIN_KEY_CHARACTERS} "
                    "are needed; `openssl rand -base64 32` makes one"
                )
        self._accepts_unbound = accepts_unbound
        self._fernet = MultiFernet([Fernet(_fernet_key(text)) for text in texts])
        self._sealers = [AESGCM(_derive(text, b"tidemark token encryption 2")) for text in texts]
        self._token_keys = [_derive(text, b"tidemark put fingerprint") for text in texts]
        self._binding_keys = [_derive(text, b"tidemark put fingerprint 2") for text in texts]

    def encrypt(self, pair: TokenPair, owner: Owner) -> bytes:
        """The pair as ciphertext that opens for this channel alone; different at every call."""
        nonce = os.urandom(_NONCE_BYTES)
        plain = orjson.dumps({"access_token": pair.access_token, "refresh_token": pair.refresh_token})
        return _BOUND + nonce + self._sealers[0].encrypt(nonce, plain, _associated(owner))

    def decrypt(self, ciphertext: bytes, owner: Owner) -> TokenPair:
        """The pair of a channel's ciphertext.

        Raises:
            SecretsError: no key opens it for this channel, it holds no pair, or is not bound and so refused.
        """
        try:
            record = orjson.loads(self._opened(ciphertext, owner))
            return TokenPair(record["access_token"], record["refresh_token"])
        except InvalidToken:
            raise SecretsError("none of TIDEMARK_SECRET_KEYS opens this ciphertext for this channel") from None
        except (orjson.JSONDecodeError, KeyError, TypeError):
            raise SecretsError("the ciphertext opens, but holds no token pair") from None

    def fingerprint(self, token: str, owner: Owner) -> str:
        """Keyed hash of a token of a channel; the same token of another channel has another one.

        Returns:
            64 hex digits, of no use without the key.
        """
        return self.bind(_token_hash(self._token_keys[0], token), owner)

    def is_fingerprint_of(self, fingerprint: str, token: str, owner: Owner) -> bool:
        """Whether a fingerprint, made with any of the keys and bound or not, is of this token.

        Any key counts, so that the same PUT again after a rotation doesn't pass for a new pair and undo a refresh.
        """
        found = False
        for token_key in self._token_keys:
            plain = _token_hash(token_key, token)
            for candidate in (plain, *(_bound_hash(key, plain, owner) for key in self._binding_keys)):
                found |= hmac.compare_digest(candidate.encode(), fingerprint.encode())
        return found

    def bind(self, fingerprint: str, owner: Owner) -> str:
        """A fingerprint of an earlier version, which is the same for every channel, bound to its channel."""
        return _bound_hash(self._binding_keys[0], fingerprint, owner)

    def is_bound_form(self, bound: str, fingerprint: str, owner: Owner) -> bool:
        """Whether `bound` is what `bind` makes of a fingerprint, with any of the keys."""
        return any(
            hmac.compare_digest(bound.encode(), _bound_hash(key, fingerprint, owner).encode())
            for key in self._binding_keys
        )

    def _opened(self, ciphertext: bytes, owner: Owner) -> bytes:
        if not is_bound(ciphertext):
            if not self._accepts_unbound:
                raise SecretsError(
                    "the ciphertext is of an earlier version and not bound to its channel, which "
                    "TIDEMARK_UNBOUND_TOKENS=refuse forbids; PUT the channel's tokens again"
                )
            return self._fernet.decrypt(ciphertext)
        nonce, sealed = ciphertext[len(_BOUND) :][:_NONCE_BYTES], ciphertext[len(_BOUND) + _NONCE_BYTES :]
        for sealer in self._sealers:
            try:
                return sealer.decrypt(nonce, sealed, _associated(owner))
            except (InvalidTag, ValueError):
                continue  # another key's, another channel's, or cut short
        raise InvalidToken


def is_bound(ciphertext: bytes) -> bool:
    """Whether a ciphertext is bound to its channel; those of earlier versions are not."""
    return ciphertext.startswith(_BOUND)


def _associated(owner: Owner) -> bytes:
    return orjson.dumps(["catalog.tokens", *owner])


def _token_hash(key: bytes, token: str) -> str:
    return hmac.new(key, orjson.dumps([token, None]), "sha256").hexdigest()


def _bound_hash(key: bytes, fingerprint: str, owner: Owner) -> str:
    return hmac.new(key, orjson.dumps([*owner, fingerprint]), "sha256").hexdigest()


def _derive(text: str, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=_FERNET_KEY_BYTES, salt=None, info=purpose).derive(text.encode())


def _fernet_key(text: str) -> bytes:
    try:
        if len(base64.b64decode(text, altchars=b"-_", validate=True)) == _FERNET_KEY_BYTES:
            return text.encode()
    except (binascii.Error, ValueError):
        pass  # not a Fernet key: derive one
    return base64.urlsafe_b64encode(_derive(text, b"tidemark token encryption"))
