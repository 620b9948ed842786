"""Encrypts and decrypts platform tokens at rest: a token pair becomes a ciphertext, and the other way round.

The query API encrypts the tokens of a PUT. The poller decrypts them to ask platforms, and encrypts refreshed tokens.
Nothing here stores, logs or sends a token, and a printed pair shows no token.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr

# A shorter key could be guessed; a generated key has 43 characters or more.
MIN_KEY_CHARACTERS = 16
_FERNET_KEY_BYTES = 32
# The beginning of this version's ciphertexts; the earlier version's Fernet tokens begin with another character.
_BOUND = b"tm2."
_NONCE_BYTES = 12

Unbound: TypeAlias = Literal["accept", "refuse", "keep"]
Owner: TypeAlias = tuple[str, str]
"""The channel that tokens belong to: workspace id and channel id."""


class SecretsError(ValueError):
    """No key opens a ciphertext, or a key can't be used; the message holds no secret."""


@dataclass(frozen=True, slots=True)
class TokenPair:
    """A channel's platform tokens in the clear, which must never be logged, published or stored."""

    access_token: str | None = field(default=None, repr=False)
    refresh_token: str | None = field(default=None, repr=False)

    def held(self) -> tuple[str, ...]:
        """The tokens of the pair that are set."""
        return tuple(token for token in (self.access_token, self.refresh_token) if token)


class TokenCipher:
    """Encrypts with the newest key and decrypts with any key, so that a key is rotated by putting a new one first.

    A ciphertext is bound to its channel and does not open for another channel. Ciphertexts of earlier versions (Fernet)
    are not bound, so a writer of the topic could move one to another channel; they are opened until the operator
    refuses them.

    A key is a Fernet key (32 bytes as URL-safe base64), or any other text of at least 16 characters, from which a
    Fernet key is derived.

    Args:
        keys: TIDEMARK_SECRET_KEYS, newest first.
        unbound: TIDEMARK_UNBOUND_TOKENS: `accept` opens ciphertexts of earlier versions, `refuse` does not, and `keep`
            writes such ciphertexts as well, so that an earlier version opens them while both run.

    Attributes:
        writes_unbound: whether ciphertexts are written as earlier versions read them.

    Raises:
        SecretsError: there is no key, or a key is too short.
    """

    def __init__(self, keys: Sequence[SecretStr | str], *, unbound: Unbound = "accept") -> None:
        self._accepts_unbound = unbound != "refuse"
        self.writes_unbound = unbound == "keep"
        self.rekey(keys)

    def rekey(self, keys: Sequence[SecretStr | str]) -> None:
        """Go on with other keys, newest first.

        Raises:
            SecretsError: there is no key, or a key is too short; the keys stay as they were.
        """
        texts = usable_keys(keys)
        self._fernet = MultiFernet([Fernet(_fernet_key(text)) for text in texts])
        self._sealers = [AESGCM(derived_key(text, b"tidemark token encryption 2")) for text in texts]
        self._token_keys = [derived_key(text, b"tidemark put fingerprint") for text in texts]
        self._binding_keys = [derived_key(text, b"tidemark put fingerprint 2") for text in texts]

    def encrypt(self, pair: TokenPair, owner: Owner) -> bytes:
        """Encrypt a pair, for this channel alone unless earlier versions read it; it differs at every call."""
        plain = orjson.dumps({"access_token": pair.access_token, "refresh_token": pair.refresh_token})
        if self.writes_unbound:
            return self._fernet.encrypt(plain)
        nonce = os.urandom(_NONCE_BYTES)
        return _BOUND + nonce + self._sealers[0].encrypt(nonce, plain, _associated(owner))

    def decrypt(self, ciphertext: bytes, owner: Owner) -> TokenPair:
        """Decrypt a channel's ciphertext.

        Raises:
            SecretsError: no key opens the ciphertext for this channel, it holds no pair, or it is not bound and the
                operator refuses such ciphertexts.
        """
        try:
            record = orjson.loads(self._opened(ciphertext, owner))
            return TokenPair(record["access_token"], record["refresh_token"])
        except InvalidToken:
            raise SecretsError("none of TIDEMARK_SECRET_KEYS opens this ciphertext for this channel") from None
        except (orjson.JSONDecodeError, KeyError, TypeError):
            raise SecretsError("the ciphertext opens, but holds no token pair") from None

    def is_newest(self, ciphertext: bytes, owner: Owner) -> bool:
        """Whether the newest key opens a ciphertext for this channel, so that the older keys may go."""
        return is_bound(ciphertext) and self._opened_by(self._sealers[:1], ciphertext, owner) is not None

    def fingerprint(self, token: str, owner: Owner) -> str:
        """A keyed hash of a channel's token; the same token in another channel has another hash.

        Returns:
            64 hex digits, which are useless without the key.
        """
        return self.bind(_token_hash(self._token_keys[0], token), owner)

    def is_fingerprint_of(self, fingerprint: str, token: str, owner: Owner) -> bool:
        """Whether a fingerprint belongs to this token; it may be made with any of the keys, bound or not.

        Any key counts, so that repeating a PUT after a rotation is not taken for a new pair, which would undo a
        refresh.
        """
        found = False
        for token_key in self._token_keys:
            plain = _token_hash(token_key, token)
            for candidate in (plain, *(_bound_hash(key, plain, owner) for key in self._binding_keys)):
                found |= hmac.compare_digest(candidate.encode(), fingerprint.encode())
        return found

    def bind(self, fingerprint: str, owner: Owner) -> str:
        """Bind an earlier version's fingerprint, which is the same for every channel, to its channel."""
        return _bound_hash(self._binding_keys[0], fingerprint, owner)

    def is_bound_form(self, bound: str, fingerprint: str, owner: Owner) -> bool:
        """Whether `bound` is the result of `bind` for a fingerprint, with any of the keys."""
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
        plain = self._opened_by(self._sealers, ciphertext, owner)
        if plain is None:
            raise InvalidToken
        return plain

    @staticmethod
    def _opened_by(sealers: Sequence[AESGCM], ciphertext: bytes, owner: Owner) -> bytes | None:
        nonce, sealed = ciphertext[len(_BOUND) :][:_NONCE_BYTES], ciphertext[len(_BOUND) + _NONCE_BYTES :]
        for sealer in sealers:
            try:
                return sealer.decrypt(nonce, sealed, _associated(owner))
            except (InvalidTag, ValueError):
                continue  # another key's, another channel's, or cut short
        return None


def is_bound(ciphertext: bytes) -> bool:
    """Whether a ciphertext is bound to its channel; ciphertexts of earlier versions are not."""
    return ciphertext.startswith(_BOUND)


def _associated(owner: Owner) -> bytes:
    return orjson.dumps(["catalog.tokens", *owner])


def _token_hash(key: bytes, token: str) -> str:
    return hmac.new(key, orjson.dumps([token, None]), "sha256").hexdigest()


def _bound_hash(key: bytes, fingerprint: str, owner: Owner) -> str:
    return hmac.new(key, orjson.dumps([*owner, fingerprint]), "sha256").hexdigest()


def usable_keys(keys: Sequence[SecretStr | str]) -> list[str]:
    """The keys of TIDEMARK_SECRET_KEYS as texts, newest first.

    Raises:
        SecretsError: there is no key, or a key is too short.
    """
    texts = [key.get_secret_value() if isinstance(key, SecretStr) else key for key in keys]
    if not texts:
        raise SecretsError("TIDEMARK_SECRET_KEYS is not set; it takes comma-separated keys, newest first")
    for position, text in enumerate(texts, start=1):
        if len(text) < MIN_KEY_CHARACTERS:
            raise SecretsError(
                f"TIDEMARK_SECRET_KEYS: key {position} has {len(text)} characters, at least {MIN_KEY_CHARACTERS} "
                "are needed; `openssl rand -base64 32` makes one"
            )
    return texts


def derived_key(text: str, purpose: bytes) -> bytes:
    """A key of 32 bytes for one purpose; keys of different purposes tell nothing about each other."""
    return HKDF(algorithm=SHA256(), length=_FERNET_KEY_BYTES, salt=None, info=purpose).derive(text.encode())


def _fernet_key(text: str) -> bytes:
    try:
        if len(base64.b64decode(text, altchars=b"-_", validate=True)) == _FERNET_KEY_BYTES:
            return text.encode()
    except (binascii.Error, ValueError):
        pass  # not a Fernet key: derive one
    return base64.urlsafe_b64encode(derived_key(text, b"tidemark token encryption"))
