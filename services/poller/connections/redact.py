"""Takes secrets out of what is about to be published; pure.

A platform may repeat a token in an answer: in an echo of the request, a paging link, an error. It may come as it is,
or with any of its characters JSON-escaped (also twice, as in JSON in a JSON string), percent-encoded or as an HTML
entity. Secrets are looked for as text, so whatever else is the same text goes too.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable
from urllib.parse import quote

MASK = "***"
# A shorter one would be found everywhere; no platform's is.
MIN_SECRET_CHARACTERS = 4
# Letters and digits are written as they are, so the longest run of them shows fast whether a secret can be there.
_RUN = re.compile(r"[A-Za-z0-9]+")


def pattern(secret: str) -> str:
    """A regular expression for all the ways in which a secret may be written."""
    # Escapes begin where their backslashes begin: tried at each of a long run of them, they would take its square.
    first = r"(?:(?<!\\)|(?!\\))" if secret else ""
    return first + "".join(_character(char) for char in secret)


def _character(char: str) -> str:
    if char.isascii() and char.isalnum():
        return char
    # Some escape with a backslash what needn't be, such as the slash; nested JSON has several of them.
    ways = [r"\\*" + re.escape(char), _percent(char), _unicode(char), rf"&(?:amp;)*\#(?:{ord(char)}|x{ord(char):x});"]
    if char == " ":
        ways.append(r"\+")
    escaped = json.dumps(char)[1:-1]
    if escaped.startswith("\\") and not escaped.startswith("\\u"):
        ways.append(r"\\+" + re.escape(escaped[1:]))
    entity = html.escape(char)
    if entity != char:
        ways.append("&(?:amp;)*" + re.escape(entity[1:]))
    return f"(?:{'|'.join(ways)})"


def _percent(char: str) -> str:
    encoded = quote(char, safe="")
    # `quote` leaves a few characters as they are; others don't.
    hexes = encoded.split("%")[1:] if encoded.startswith("%") else [f"{ord(char):02X}"]
    return "".join(f"%(?:25)*(?i:{pair})" for pair in hexes)


def _unicode(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(rf"\\+u(?i:{units[start : start + 4]})" for start in range(0, len(units), 4))


class Redactor:
    """Replaces secrets by `***`.

    Args:
        secrets: everything held for the channel and its app; very short ones are ignored.
    """

    __slots__ = ("_secrets",)

    def __init__(self, secrets: Iterable[str]) -> None:
        # Longest first: one may be a part of another.
        known = sorted({secret for secret in secrets if len(secret) >= MIN_SECRET_CHARACTERS}, key=len, reverse=True)
        # Patterns are made when a secret is there, which is rare: kept for each channel they would fill the memory.
        self._secrets = tuple((secret, max(_RUN.findall(secret) or [""], key=len)) for secret in known)

    def body(self, body: bytes) -> bytes:
        """A payload without the secrets."""
        for secret, run in self._secrets:
            # All runs, as one alone may be a common word; they are looked for only where the longest one is there.
            if run.encode() in body and all(part.encode() in body for part in _RUN.findall(secret)):
                body = re.sub(pattern(secret).encode("utf-8", "surrogatepass"), MASK.encode(), body)
        return body

    def text(self, text: str) -> str:
        """A text without the secrets."""
        for secret, run in self._secrets:
            if run in text and all(part in text for part in _RUN.findall(secret)):
                text = re.sub(pattern(secret), MASK, text)
        return text

    def texts(self, named: dict[str, str]) -> dict[str, str]:
        """A map's values without the secrets."""
        return {name: self.text(value) for name, value in named.items()}
