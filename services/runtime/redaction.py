r"""Blanks values that look like tokens in texts and payloads, whoever wrote them. Pure; takes linear time.

The name before a value decides: `access_token=`, `"accessToken": "`, `api-key: `, plain, percent-encoded, as an HTML
entity or as JSON inside JSON; so does the word `Bearer`. Values of names that merely contain such a word
(`token_count`, `next_page_token`) stay. Most payloads contain none of the words, which is checked first, for all words
at once: seven searches one after the other took a fifteenth of the aggregator's time. Binary formats, which have
lengths before names and values, are the subject of `binary_secrets`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, MutableMapping
from functools import cache
from typing import Any

from ahocorasick_rs import BytesAhoCorasick, MatchKind

MASK = "***"
_MASK = MASK.encode()
# No real answer holds so many secrets; after this many, the rest of the payload is blanked.
_VALUES_MAX = 10_000
# Every name below holds one of these.
MARKS = (b"token", b"secret", b"jwt", b"passw", b"key", b"authorization", b"bearer")
# Leftmost-first searches look at many bytes at once; the standard kind is twenty times slower.
_ANY_MARK = BytesAhoCorasick(MARKS, matchkind=MatchKind.LeftmostFirst)
# A search returns all that it finds: of a payload made of nothing else, as many as a piece can hold.
_PIECE_BYTES = 64 * 1024
_PIECES_OVERLAP = max(map(len, MARKS)) - 1
_NAMES = frozenset({"token", "secret", "idtoken", "xtoken", "xsecret", "key", "authorization", "proxyauthorization"})
_ENDINGS = (
    "accesstoken", "refreshtoken", "oauthtoken", "authtoken", "exchangetoken", "bearertoken", "sessiontoken",
    "securitytoken", "inputtoken", "apitoken", "apptoken", "usertoken", "clienttoken", "devtoken", "developertoken",
    "clientsecret", "appsecret", "apisecret", "tokensecret", "consumersecret", "appsecretproof", "secretkey",
    "privatekey", "apikey", "accessjwt", "refreshjwt", "password", "passwd",
)  # fmt: skip
# A name may reach this many bytes to either side of its word.
_AROUND = 40
_BEFORE = re.compile(rb"[a-z0-9_-]*\Z")
# The letters of an escape that stands before a name: `%26token`, `\ntoken`, `\u0026token`.
_ESCAPE = re.compile(rb"(?:(?<=%)(?:25)*(?:5c(?:u[0-9a-f]{4}|[nrtbf])|[0-9a-f]{2})|(?<=\\)(?:u[0-9a-f]{4}|[nrtbf]))")
# After a name: its closing quote, the separator, and the opening quote of the value. Nothing is tried twice.
_ESCAPES = rb"(?:\\|%(?:25)*+5c)*+"
_SPACE = rb"(?:\s|%(?:25)*+20|\+|&nbsp;)*+"
_QUOTE = _ESCAPES + rb"(?:[\"']|%(?:25)*+2[27]|&(?:amp;)*+(?:quot|\#3[49]|\#x2[27]);)"
_SEPARATOR = re.compile(
    rb"(?P<closing>" + _QUOTE + rb")?+" + _ESCAPES + _SPACE + rb"(?P<sign>[=:]|%(?:25)*+3[ad])" + _SPACE
    + rb"(?P<opening>" + _QUOTE + rb")?+"
)  # fmt: skip
_SCHEME = re.compile(rb"(?:bearer|oauth|basic|dpop|token)(?:\s|%(?:25)*+20|\+)++")
_BARE = re.compile(rb"(?:(?!%(?:25)*+(?:2[267]|5c))[^\s\"'&\\}<>])*+")
_IN_QUOTES = {
    b'"': re.compile(rb'(?:[^"\\]|\\.)*+', re.DOTALL),
    b"'": re.compile(rb"(?:[^'\\]|\\.)*+", re.DOTALL),
}
_IN_ESCAPED_QUOTES = re.compile(rb"(?:(?!%(?:25)*+(?:2[27]|5c)|&(?:amp;)*+(?:quot|\#3[49]|\#x2[27]);)[^\"'\\])*+")
_BEARER_VALUE = re.compile(rb"[a-z0-9._~+/=%-]++")
_KEY_BEFORE = frozenset(b"?&;\"' \t\r\n%\\(")


def is_secret_name(name: str) -> bool:
    """Whether a parameter or JSON member of this name holds a secret."""
    plain = name.lower().replace("_", "").replace("-", "")
    return plain in _NAMES or plain.endswith(_ENDINGS)


def blank_secret_bytes(payload: bytes, mask: Callable[[int], bytes] | None = None) -> bytes:
    """A payload of any text encoding with its secrets blanked; the same object when there is no secret.

    Args:
        mask: makes the replacement for a secret of so many bytes; `***` by default.
    """
    lowered = payload.lower()
    if not has_mark(lowered):
        return payload
    return replace_spans(payload, _values(lowered, [mark for mark in MARKS if mark in lowered]), mask)


def has_mark(lowered: bytes) -> bool:
    """Whether a text in lower case has any word of a secret's name."""
    return any(
        _ANY_MARK.find_matches_as_indexes(lowered[begin : begin + _PIECE_BYTES + _PIECES_OVERLAP])
        for begin in range(0, len(lowered), _PIECE_BYTES)
    )


def replace_spans(
    payload: bytes, spans: Iterator[tuple[int, int]], mask: Callable[[int], bytes] | None = None
) -> bytes:
    """A payload with spans replaced; the same object when there is no span.

    After too many spans the rest of the payload is replaced as a whole.

    Args:
        spans: (begin, end), in the order of their beginnings; of a span that overlaps an earlier one only the rest
            is replaced.
    """
    pieces: list[bytes] = []
    copied = 0
    for begin, end in spans:
        start = max(begin, copied)
        if end <= start:
            continue
        pieces += (payload[copied:start], _MASK if mask is None else mask(end - start))
        copied = end
        if len(pieces) > 2 * _VALUES_MAX:
            return b"".join(pieces)
    if not pieces:
        return payload
    pieces.append(payload[copied:])
    return b"".join(pieces)


def blank_secrets(text: str) -> str:
    """A text with its secrets replaced by `***`; the same object when there is no secret."""
    data = text.encode("utf-8", "surrogatepass")
    blanked = blank_secret_bytes(data)
    return text if blanked is data else blanked.decode("utf-8", "surrogatepass")


def blank_log_event(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A processor of structlog that blanks secrets in an event's texts."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = blank_secrets(value)
    return event


def blank_request(request: dict[str, str]) -> dict[str, str]:
    """A request's parameters with secrets blanked, by name and inside values; the same object when there is none."""
    blanked = {
        name: MASK if held and held != MASK and is_secret_name(name) else blank_secrets(held)
        for name, held in request.items()
    }
    return request if all(blanked[name] is held for name, held in request.items()) else blanked


def _values(lowered: bytes, marks: list[bytes]) -> Iterator[tuple[int, int]]:
    """The spans of secrets' values, in order: (begin, end)."""
    has_scheme = b"bearer" in marks
    seen = 0
    for found in _places(tuple(marks)).finditer(lowered):
        at = found.start()
        if at < seen:
            continue
        if has_scheme and found["scheme"] is not None:
            value = _BEARER_VALUE.match(lowered, found.end())
            if value is not None:
                yield value.span()
                seen = value.end()
            continue
        before = _BEFORE.search(lowered, max(0, at - _AROUND), at)
        begin = before.start() if before is not None else at
        value_span = _value(lowered, begin, found.end("name"))
        if value_span is not None:
            yield value_span
            seen = value_span[1]


@cache
def _places(marks: tuple[bytes, ...]) -> re.Pattern[bytes]:
    """A pattern for texts that may be a secret's name, with the separator after it."""
    name = rb"(?P<name>(?:" + b"|".join(marks) + rb")[a-z0-9_-]{0,40}+)(?=" + _SEPARATOR.pattern + rb")"
    scheme = rb"(?P<scheme>bearer(?:\s|%(?:25)*+20|\+)++)"
    return re.compile(scheme + rb"|" + name if b"bearer" in marks else name)


def _value(lowered: bytes, begin: int, end: int) -> tuple[int, int] | None:
    """The span of the value after the name at a place; None when the name is no secret's."""
    escape = _ESCAPE.match(lowered, begin)
    names = [lowered[begin:end].decode()]
    if escape is not None:
        names.append(lowered[escape.end() : end].decode())
    if not any(is_secret_name(name) for name in names):
        return None
    after = _SEPARATOR.match(lowered, end)
    if after is None:
        return None
    is_equals = after["sign"] != b":" and after["sign"][-1:] != b"a"
    name = names[-1]
    if not is_equals and after["closing"] is None and name in _NAMES and lowered[begin - 1 : begin] in (b" ", b"\t"):
        return None  # "error validating token: the session has expired"
    if name == "key" and not (is_equals and (begin == 0 or lowered[begin - 1] in _KEY_BEFORE)):
        return None
    start, opening = after.end(), after["opening"]
    if name.endswith("authorization") and (scheme := _SCHEME.match(lowered, start)):
        start = scheme.end()
    if opening is not None:
        value = _IN_QUOTES.get(opening, _IN_ESCAPED_QUOTES).match(lowered, start)
    elif after["closing"] is not None and not is_equals:
        return None  # a number, null or an object in JSON
    else:
        value = _BARE.match(lowered, start)
    return value.span() if value is not None and value.end() > start else None
