"""Addresses and keys in settings and options, as HTTP clients can send them. Pure; no message repeats a secret.

In: texts as a person wrote them. Out: texts that can be sent as they are, or an error that says what is wrong.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from pydantic import SecretStr

_VISIBLE = re.compile(r"[!-~]+")
_NOT_IN_ADDRESSES = re.compile(r"[^!-~]|[\\^`{|}\"<>]")


def sendable_key(text: str) -> str:
    """A key without white space around it.

    Raises:
        ValueError: a header can't hold the key; the message repeats nothing of it.
    """
    key = text.strip()
    if not _VISIBLE.fullmatch(key):
        raise ValueError("has spaces or characters that a header can't hold; `openssl rand -hex 32` makes a good one")
    return key


def sendable_secret(secret: SecretStr) -> SecretStr:
    """`sendable_key` of a secret setting."""
    return SecretStr(sendable_key(secret.get_secret_value()))


def is_http_url(text: str) -> bool:
    """Whether a text is an http(s) address with a valid host and port; it may hold a user and a password."""
    try:
        parts = urlsplit(text)
        return text.isprintable() and parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def checked_origin(text: str) -> str:
    """The address of the query API, without a slash at its end; a path of a proxy may follow the origin.

    Raises:
        ValueError: the text is no such address. The message does not repeat the text, which may hold a password.
    """
    address = text.strip()
    if not is_http_url(address) or _NOT_IN_ADDRESSES.search(address):
        raise ValueError("must be an http(s) origin, such as https://analytics.example.com")
    parts = urlsplit(address)
    if parts.query or parts.fragment:
        raise ValueError("must be an http(s) origin without a query, such as https://analytics.example.com")
    if "@" in parts.netloc:
        raise ValueError("must be an origin without user and password, such as https://analytics.example.com")
    return address.rstrip("/")
