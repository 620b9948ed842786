"""Takes secrets out of what is about to be published; pure.

A platform may repeat a token in an answer: in an echo of the request, a paging link, an error. It may come as it is,
JSON-escaped or percent-encoded. Secrets are looked for as text, so whatever else is the same text goes too.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

MASK = "***"
# A shorter one would be found everywhere; no platform's is.
MIN_SECRET_CHARACTERS = 4
# Characters that some JSON writers escape although they needn't, so that the text is safe inside HTML.
_HTML_UNSAFE = "<>&='+/\u2028\u2029"


def _escaped(secret: str, upper: bool) -> str:
    pattern = "\\u%04X" if upper else "\\u%04x"
    return "".join(pattern % ord(char) if char in _HTML_UNSAFE else json.dumps(char)[1:-1] for char in secret)


def forms(secret: str) -> set[str]:
    """All the ways in which a secret may be written."""
    encoded = {
        quote(secret, safe=""),
        quote(secret, safe="/"),
        quote_plus(secret),
        quote(secret, safe="/:=+,;@!$&'()*"),
    }
    json_forms = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    found = {secret, html.escape(secret), *json_forms, *encoded}
    encoded.add("".join(quote(char, safe="") if char not in "-._~" else f"%{ord(char):02X}" for char in secret))
    found.update(encoded)
    found.update(_lower_escapes(form) for form in encoded)
    found.update(quote(form, safe="") for form in encoded)
    found.update(form.replace("/", "\\/") for form in tuple(found))
    found.update((_escaped(secret, upper=True), _escaped(secret, upper=False)))
    # JSON in a JSON string, as in Meta's batches.
    found.update(json.dumps(form)[1:-1] for form in tuple(found))
    return found


def _lower_escapes(text: str) -> str:
    parts = text.split("%")
    return "%".join([parts[0], *(part[:2].lower() + part[2:] for part in parts[1:])])


class Redactor:
    """Replaces secrets by `***`.

    Args:
        secrets: everything held for the channel and its app; very short ones are ignored.
    """

    __slots__ = ("_bytes", "_texts")

    def __init__(self, secrets: Iterable[str]) -> None:
        found: set[str] = set()
        for secret in secrets:
            if len(secret) >= MIN_SECRET_CHARACTERS:
                found |= forms(secret)
        # Longest first: a form may be a part of another.
        self._texts = sorted(found, key=len, reverse=True)
        self._bytes = [text.encode("utf-8", "surrogatepass") for text in self._texts]

    def body(self, body: bytes) -> bytes:
        """A payload without the secrets."""
        for secret in self._bytes:
            if secret in body:
                body = body.replace(secret, MASK.encode())
        return body

    def text(self, text: str) -> str:
        """A text without the secrets."""
        for secret in self._texts:
            if secret in text:
                text = text.replace(secret, MASK)
        return text

    def texts(self, named: dict[str, str]) -> dict[str, str]:
        """A map's values without the secrets."""
        return {name: self.text(value) for name, value in named.items()}
