"""Tokens as version 0 wrote them: Fernet ciphertexts and fingerprints, neither bound to a channel."""

from __future__ import annotations

import base64
import binascii
import hmac

import orjson
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from services.runtime.secrets import TokenPair


def unbound_ciphertext(pair: TokenPair, key: str) -> bytes:
    """What the earlier version encrypted a pair to."""
    plain = orjson.dumps({"access_token": pair.access_token, "refresh_token": pair.refresh_token})
    return Fernet(_fernet_key(key)).encrypt(plain)


def unbound_fingerprint(pair: TokenPair, oldest_key: str) -> str:
    """What the earlier version noted of a PUT's pair, with the oldest of its keys."""
    key = _derive(oldest_key, b"tidemark put fingerprint")
    return ".".join(
        "-" if token is None else hmac.new(key, orjson.dumps([token, None]), "sha256").hexdigest()
        for token in (pair.access_token, pair.refresh_token)
    )


def _derive(text: str, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(text.encode())


def _fernet_key(text: str) -> bytes:
    try:
        if len(base64.b64decode(text, altchars=b"-_", validate=True)) == 32:
            return text.encode()
    except binascii.Error:
        pass
    return base64.urlsafe_b64encode(_derive(text, b"tidemark token encryption"))
